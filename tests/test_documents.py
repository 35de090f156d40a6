"""Where documents begin inside a row, and what is said where nothing tells."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import training as world

from joyctl.campaign.documents import APART, JOINED, sources_of
from joyctl.campaign.spec import BaseSpec
from joyctl.data.documents import attention_of, keeps_apart, tells_documents, told
from joyctl.data.shards import Boundary, SourceTokens, open_source
from joyctl.launch.documents import check_documents
from joyctl.recipe.types import Training

BEGINS = Boundary(0, begins=True)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return world.make_data(tmp_path / "data")


def change_sidecar(data: Path, name: str, **changes: object) -> None:
    path = data / "sources" / name / "source.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_with_a_token_that_divides_documents_every_source_tells(data: Path) -> None:
    spec = world.segment(data, 0, 4)
    assert keeps_apart(spec) and attention_of(spec) == APART


def test_where_nothing_tells_it_says_of_which_sources(data: Path) -> None:
    change_sidecar(data, "math", boundary=None)
    spec = world.segment(data, 0, 4)
    assert not tells_documents(data, "math") and keeps_apart(spec)
    assert attention_of(spec) == "documents see each other: in math nothing tells where they begin"
    with pytest.raises(ValueError):
        open_source(data, "math").document_starts(0, 1)
    for name in ("code", "web"):
        change_sidecar(data, name, boundary=None)
    assert not keeps_apart(spec)
    assert attention_of(spec) == "documents see each other: in code, math, web nothing tells where they begin"


def test_a_source_that_no_mix_has_is_not_spoken_of(data: Path) -> None:
    change_sidecar(data, "code", boundary=None)
    spec = world.segment(data, 0, 4)
    order = spec.order.model_copy(update={"phases": (spec.order.phases[0].model_copy(update={"weights": {"web": 1}}),)})
    spec = spec.model_copy(update={"order": order})
    assert sources_of(spec) == ("web",) and attention_of(spec) == APART


def test_without_a_boundary_the_tokenizer_tells(data: Path) -> None:
    change_sidecar(data, "web", boundary=None)
    (data / "tokenizer").mkdir()
    world.make_tokenizer(data / "tokenizer")  # its first token of a text has the id 26
    assert tells_documents(data, "web")
    source = open_source(data, "web")
    expected = np.flatnonzero(source.read(1, len(source)) == 26) + 1
    assert source.document_starts(1, len(source)).tolist() == expected.tolist()


def test_joined_is_what_the_recipe_says_and_changes_no_fingerprint(data: Path) -> None:
    apart = world.segment(data, 0, 4)
    size = {"tokens": apart.training.tokens, "seq_len": world.SEQ, "batch_size": world.BATCH}
    joined = world.segment(data, 0, 4, training=Training(**size, documents="joined"))
    assert not keeps_apart(joined) and attention_of(joined) == JOINED
    assert "documents" not in joined.identity()["training"]
    assert apart.identity()["training"] == {**joined.identity()["training"], "documents": "apart"}


def checked(data: Path, *, documents: str = "apart", base: BaseSpec | None = None) -> list[tuple[str, str, str]]:
    spec = world.segment(data, 0, 4)
    training = spec.training.model_copy(update={"documents": documents})
    spec = spec.model_copy(update={"training": training, "base": base})
    prepared = SimpleNamespace(
        plan=SimpleNamespace(segments=(spec,)), data=SimpleNamespace(path=data, sources=dict.fromkeys(world.SIZES))
    )
    return [(check, verdict[0], verdict[1]) for check, verdict, _ in check_documents(prepared)]


def test_the_audit_warns_of_sources_that_do_not_tell(data: Path) -> None:
    assert checked(data) == []
    change_sidecar(data, "math", boundary=None)
    said = "documents see each other: in math nothing tells where they begin"
    assert checked(data) == [("documents", "warning", said)]
    assert checked(data, documents="joined") == []


def test_the_audit_says_that_a_base_does_not_tell(data: Path) -> None:
    base = BaseSpec(kind="hf", path="/models/base", step=0, sha256="0")
    ((check, level, said),) = checked(data, base=base)
    assert (check, level) == ("documents", "ok") and "whether the base had them apart cannot be seen" in said
    assert checked(data, documents="joined", base=base) == []


def test_a_source_that_does_not_tell_is_taken_as_one_document() -> None:
    ids = np.array([0, 65_535, 0, 7, 0, 8], np.uint16)
    source = told(SourceTokens([ids[:4], ids[4:]]))
    assert source.read(2, 6).tolist() == [0, 7, 0, 8]
    assert source.document_starts(0, 6).tolist() == [0] and source.document_starts(3, 6).tolist() == []
    divided = SourceTokens([ids], boundary=BEGINS)
    assert told(divided) is divided
