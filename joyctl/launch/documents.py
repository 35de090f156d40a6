"""The audit's word on whether the documents of a row are kept apart."""

from __future__ import annotations

from collections.abc import Iterator

from joyctl.campaign.audit import Verdict
from joyctl.campaign.documents import attention_words, sources_of
from joyctl.data.documents import untold
from joyctl.launch.prepare import Prepared


def check_documents(prepared: Prepared) -> Iterator[tuple[str, Verdict, str]]:
    """(check, outcome, what it is about), where recipes want documents apart: sources that do not tell, and bases."""
    apart = [spec for spec in prepared.plan.segments if spec.training.documents == "apart"]
    folder = prepared.data.path
    if folder.is_dir():
        used = {name for spec in apart for name in sources_of(spec)} & set(prepared.data.sources)
        if unknown := untold(folder, used):
            remedy = "Tokenise anew with a token that ends documents, or set training.documents=joined for all alike."
            yield "documents", ("warning", attention_words(unknown), remedy), "all"
    for spec in apart:
        if spec.base is not None and spec.parent is None:
            said = "kept apart from here on, as the recipe says; whether the base had them apart cannot be seen"
            yield "documents", ("ok", said, None), spec.id
