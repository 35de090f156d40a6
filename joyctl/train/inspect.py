"""What can be known of a base before it is trained on: whether it is whole, and whether it fits the recipe.

Nothing of the size of a model is read. Of a checkpoint of torchtitan's that is its metadata and the small entries
(settings, step, LR), of a Hugging Face folder its JSON files and the headers of its weights.
"""

from __future__ import annotations

import json
from pathlib import Path

from joyctl.campaign.findings import Finding
from joyctl.campaign.spec import BaseSpec, SegmentSpec
from joyctl.errors import Missing, Refused
from joyctl.store.digest import CHECKPOINT_FILES, MODEL_FILES, folder_digest
from joyctl.train.inspect_dcp import inspect_dcp
from joyctl.train.inspect_hf import inspect_hf

TOKENIZER = "tokenizer.json"


def inspect_base(base: BaseSpec, segment: SegmentSpec, data_folder: Path) -> tuple[Finding, ...]:
    """All that is to be said of `base` for `segment`, the first that goes on from it, trained on `data_folder`.

    What cannot be looked at, because something before it is broken, has no finding.
    """
    folder = Path(base.path)
    if base.hub is not None and not folder.is_absolute():
        return (Finding("base", True, f"{base.hub} is not downloaded yet: looked at before it is trained on"),)
    if not folder.is_dir():
        return (Finding("base", False, f"{folder} is no folder here", "Put it there, or correct the recipe's base."),)
    looked = inspect_dcp(base, segment) if base.kind == "dcp" else inspect_hf(folder, segment)
    return (*looked, _tokenizer(base, data_folder))


def require_base(base: BaseSpec, segment: SegmentSpec) -> None:
    """Raise Refused, with what to do, unless `base` is the one that was planned and fits `segment`.

    Raises Missing for a model of the hub that nobody has downloaded.
    """
    if not Path(base.path).is_absolute():
        raise Missing(f"{base.path} is not downloaded", hint="Repeat the command: it downloads the base first.")
    failed = [finding for finding in inspect_base(base, segment, Path(segment.data_folder)) if not finding.ok]
    if failed:
        said = "\n".join(f"{finding.check}: {finding.said}" for finding in failed)
        raise Refused(f"{segment.id} cannot go on from {base.path}\n{said}", hint=failed[0].remedy)
    patterns = CHECKPOINT_FILES if base.kind == "dcp" else MODEL_FILES
    if base.hub is None and folder_digest(Path(base.path), patterns) != base.sha256:
        hint = "Repeat the command: it compares what is there with what was trained."
        raise Refused(f"the base in {base.path} has changed since it was planned", hint=hint)


def _tokenizer(base: BaseSpec, data_folder: Path) -> Finding:
    """Whether the base's tokens are the data's: vocabulary, merges and added tokens, however they are written."""
    check, mine = "base tokenizer", data_folder / "tokenizer" / TOKENIZER
    folder = base.tokenizer or (base.path if base.kind == "hf" else None)
    if folder is None:
        return Finding(check, True, "not compared: the recipe has no base.tokenizer, a checkpoint no tokenizer")
    its = Path(folder) / TOKENIZER
    for path, remedy in (
        (its, "Give the folder that has it as base.tokenizer."),
        (mine, "Make it: joyctl data build RECIPE"),
    ):
        if not path.is_file():
            return Finding(check, False, f"{path} does not exist", remedy)
    try:
        theirs, ours = _tokens(its), _tokens(mine)
    except (ValueError, KeyError, TypeError) as error:
        return Finding(check, False, f"{its} or {mine} is no tokenizer: {error!r}", "Give a whole tokenizer.json.")
    differing = [part for part in ours if ours[part] != theirs[part]]
    if differing:
        said = f"{its} differs from the data's in its {' and '.join(differing)}"
        return Finding(check, False, said, "Tokenise the data with the base's tokenizer, and give that as data.folder.")
    return Finding(check, True, f"that of the data: {len(ours['vocabulary']):,} tokens")


def _tokens(path: Path) -> dict[str, dict[str, int] | list[tuple[str, ...]]]:
    """What decides which token has which id. Merges are written as pairs or, before tokenizers 0.20, as `a b`."""
    whole = json.loads(path.read_bytes())
    vocabulary = whole["model"]["vocab"]
    ids = dict(vocabulary) if isinstance(vocabulary, dict) else {piece: i for i, (piece, _) in enumerate(vocabulary)}
    ids |= {token["content"]: token["id"] for token in whole.get("added_tokens", [])}
    merges = [tuple(m.split(" ") if isinstance(m, str) else m) for m in whole["model"].get("merges", [])]
    return {"vocabulary": ids, "merges": merges}
