"""Which model a reference is, and where its files lie: a folder, or a model of the hub in this machine's cache."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from joyctl.campaign.spec import ReferenceSpec
from joyctl.data.remote import failures
from joyctl.errors import Missing, Refused
from joyctl.evals.protocol import tokenizer_digest
from joyctl.recipe.references import is_folder
from joyctl.recipe.types import Reference
from joyctl.store.digest import MODEL_FILES, folder_digest

_WEIGHTS = ("*.safetensors", "*.bin")
_WHOLE = ("model.safetensors", "pytorch_model.bin")
_HINT = "Give a folder with config.json, tokenizer and weights, as save_pretrained writes it, or org/name on the hub."
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def identify(references: Mapping[str, Reference]) -> dict[str, ReferenceSpec]:
    """Every reference with what says which model it is; nothing is downloaded. Raises as identify_model does."""
    return {name: identify_model(f"references.{name}", reference) for name, reference in references.items()}


def identify_model(key: str, reference: Reference) -> ReferenceSpec:
    """What says which model the one under recipe key `key` is; nothing is downloaded.

    A model of the hub is taken from the cache without a look at the network. For one that is not there the hub is
    asked for its commit, unless HF_HUB_OFFLINE forbids it. Raises Missing for a folder that is no whole model, and for
    a model that is not cached while the hub is not reached or does not have it.
    """
    if is_folder(reference.model):
        folder = Path(reference.model)
        if not folder.is_dir():
            raise Missing(f"{key}: {folder} is no folder", hint=_HINT)
        if lack := _lack(folder):
            raise Missing(f"{key}: {folder} has {lack}", hint=_HINT)
        sha256 = folder_digest(folder)
        return ReferenceSpec(model=reference.model, about=reference.about, folder=str(folder), sha256=sha256)
    cached = _cached(key, reference)
    return ReferenceSpec(
        model=reference.model,
        revision=reference.revision,
        about=reference.about,
        folder=str(cached.folder) if cached else None,
        commit=cached.commit if cached else _commit(key, reference),
    )


def fetch(reference: ReferenceSpec, what: str = "reference") -> ReferenceSpec:
    """A reference with its files on this machine: downloaded where they are not. Raises Missing where that fails."""
    if reference.folder is not None:
        return reference
    from huggingface_hub import snapshot_download

    lack: str | None = None
    for patterns in (
        [name for name in MODEL_FILES if name != "*.bin"],
        [*MODEL_FILES],
    ):  # many have their weights in both forms
        try:
            folder = snapshot_download(reference.model, revision=reference.commit, allow_patterns=patterns)
        except failures() as error:
            raise _not_reached(f"{what} {reference.model}", reference.model, error) from error
        lack = _lack(Path(folder))
        if lack is None:
            return reference.model_copy(update={"folder": folder})
    raise Missing(f"{what} {reference.model}: the model on the hub has {lack}", hint=_HINT)


def folder_of(reference: ReferenceSpec) -> Path:
    """The files of a reference, for the job that scores it.

    Raises Missing when they are not there, and Refused when they are of another model than was planned.
    """
    if reference.folder is None or not Path(reference.folder).is_dir():
        raise Missing(f"no model: {reference.folder or reference.model} is no folder here", hint=_HINT)
    folder = Path(reference.folder)
    if reference.sha256 is not None and folder_digest(folder) != reference.sha256:
        hint = "Repeat the command: it compares what is there with what was scored."
        raise Refused(f"the model in {folder} has changed since it was planned", hint=hint)
    return folder


@dataclass(frozen=True)
class _Cached:
    folder: Path
    commit: str


def _cached(key: str, reference: Reference) -> _Cached | None:
    """A whole model in the cache of the hub; None when there is none."""
    from huggingface_hub import snapshot_download

    if not _HUB_NAME.fullmatch(reference.model):
        raise Missing(f"{key}: {reference.model} is no folder, and no name on the hub", hint=_HINT)
    try:
        folder = Path(snapshot_download(reference.model, revision=reference.revision, local_files_only=True))
    except (OSError, ValueError):
        return None
    return None if _lack(folder) else _Cached(folder, folder.name)


def _commit(key: str, reference: Reference) -> str:
    """The commit that the hub has under a revision."""
    from huggingface_hub import model_info

    what = f"{key}: {reference.model}"
    try:
        commit = model_info(reference.model, revision=reference.revision).sha
    except failures() as error:
        raise _not_reached(what, reference.model, error) from error
    if commit is None:
        raise Missing(f"{what}: the hub names no commit", hint=_HINT)
    return commit


def _not_reached(what: str, model: str, error: Exception) -> Missing:
    why = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return Missing(
        f"{what} is no folder, it is not whole in this machine's cache, and the hub did not give it: {why}",
        hint=f"Load it once where there is a network (hf download {model}), or give a folder.",
    )


def _lack(folder: Path) -> str | None:
    """What a folder lacks to be a model, in words; None when it is one."""
    if not (folder / "config.json").is_file():
        return "no config.json"
    try:
        tokenizer_digest(folder)
    except Missing:
        return "no tokenizer"
    if not any(path.is_file() for pattern in _WEIGHTS for path in folder.glob(pattern)):
        return "no weights (*.safetensors or *.bin)"
    # In several files, as after a download that was stopped; one form that is whole does.
    absent = [_absent(index) for index in sorted(folder.glob("*.index.json"))]
    if absent and all(absent) and not any((folder / name).is_file() for name in _WHOLE):
        return f"only a part of its weights: {absent[0][0]} is not there"
    return None


def _absent(index: Path) -> list[str]:
    """The files that an index of weights names and that are not there."""
    try:
        named = set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        return [index.name]
    return sorted(name for name in named if not (index.parent / name).is_file())
