"""What a checkpoint of torchtitan's says of itself without its tensors: whole, of which step, model and optimizer."""

from __future__ import annotations

import math
import pickle
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata, TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from joyctl.campaign.findings import Finding
from joyctl.campaign.schedule import segment_lr
from joyctl.campaign.spec import BaseSpec, SegmentSpec
from joyctl.errors import Refused
from joyctl.recipe.types import Model, Optimizer
from joyctl.train.model import model_spec

_STEP = "train_state.step"
_GROUP, _STATE = "optimizer.param_groups.", "optimizer.state."
_LR_TOLERANCE = 1e-6
"""Relative: torchtitan computes its LR in another order of roundings."""
_TORN = (
    EOFError, pickle.UnpicklingError, ValueError, KeyError, IndexError, AttributeError, ImportError, TypeError,
    OverflowError, RuntimeError,
)  # fmt: skip
"""What unpickling raises where bytes are missing or wrong; memory and the disk raise others."""
_COPY = "Copy or save it again."
_AS_IT_HAD = "set schedule and training.tokens as the base run had them"
_FULL = (
    "Save it with last_save_model_only=False; or convert its weights to a Hugging Face folder and give that as "
    "base.hf: the optimizer then starts anew."
)


def dcp_step(folder: Path) -> int:
    """The step a checkpoint says it was taken at. Raises Refused, with what to do, where it cannot be read."""
    metadata, found = _whole(folder)
    parts = [] if metadata is None else [_parts(metadata)]
    for finding in (*found, *parts):
        if not finding.ok:
            raise Refused(f"{folder} cannot be gone on from: {finding.said}", hint=finding.remedy)
    return int(_entries(folder, metadata, [_STEP])[_STEP]) if metadata else 0


def inspect_dcp(base: BaseSpec, segment: SegmentSpec) -> Iterator[Finding]:
    """Findings on a checkpoint that `segment` is to go on from, the broken ones first."""
    try:
        yield from _inspect(base, segment)
    except Refused as error:  # of entries that cannot be read
        yield Finding("base contents", False, error.message, error.hint)


def _inspect(base: BaseSpec, segment: SegmentSpec) -> Iterator[Finding]:
    folder = Path(base.path)
    metadata, found = _whole(folder)
    yield from found
    if metadata is None or not all(finding.ok for finding in found):
        return
    parts = _parts(metadata)
    yield parts
    yield _shapes(metadata, segment.model)
    if not parts.ok:
        return
    step = int(_entries(folder, metadata, [_STEP])[_STEP])
    if step != base.step:
        remedy = "Plan the campaign again: the checkpoint is another one."
        yield Finding("base step", False, f"{step:,}, planned for {base.step:,}", remedy)
        return
    yield Finding("base step", True, f"{step:,}")
    kind = _optimizer_kind(metadata, segment.model, segment.optimizer)
    yield kind
    if kind.ok:
        yield from _settings(folder, metadata, base, segment)


def _whole(folder: Path) -> tuple[Metadata | None, list[Finding]]:
    """The checkpoint's metadata, if it can be read, and whether all that it names is there."""
    if not (folder / ".metadata").is_file():
        said = f"{folder} has no .metadata: it is no checkpoint of torchtitan's, or writing it was cut short"
        return None, [
            Finding("base checkpoint", False, said, "Give an earlier one, .../checkpoint/step-N, or save it again.")
        ]
    try:
        metadata = FileSystemReader(folder).read_metadata()
        needed: dict[str, int] = {}
        for info in metadata.storage_data.values():
            needed[info.relative_path] = max(needed.get(info.relative_path, 0), info.offset + info.length)
        sizes = {name: _size(folder / name) for name in needed}
    except _TORN as error:
        said = f"{folder / '.metadata'} is torn or of another kind: {type(error).__name__}"
        return None, [Finding("base checkpoint", False, said, _COPY)]
    absent = sorted(name for name, size in sizes.items() if size is None)
    if absent:
        said = f"{len(absent)} of {len(needed)} files are missing: {_some(absent)}"
        return metadata, [Finding("base checkpoint", False, said, _COPY)]
    short = sorted(name for name, size in sizes.items() if size is not None and size < needed[name])
    if short:
        first = short[0]
        bytes_there = f"{first} has {sizes[first]:,} of {needed[first]:,} bytes"
        said = f"{len(short)} of {len(needed)} files are cut short: {bytes_there}"
        return metadata, [Finding("base checkpoint", False, said, _COPY)]
    return metadata, [Finding("base checkpoint", True, f"complete: {len(needed)} files, as its metadata names them")]


def _parts(metadata: Metadata) -> Finding:
    keys = metadata.state_dict_metadata
    needed = {_STATE: "optimizer state", _GROUP: "optimizer settings", _STEP: "step"}
    lacking = [what for prefix, what in needed.items() if not any(key.startswith(prefix) for key in keys)]
    if not lacking:
        return Finding("base contents", True, "model, optimizer and step")
    return Finding("base contents", False, f"it has the model alone: no {', no '.join(lacking)}", _FULL)


def _shapes(metadata: Metadata, model: Model) -> Finding:
    check, keys = "base model", metadata.state_dict_metadata
    wanted = {name: tuple(value.shape) for name, value in _on_meta(model).state_dict().items()}
    found = {key: tuple(value.size) for key, value in keys.items() if isinstance(value, TensorStorageMetadata)}
    # Entries of the optimizer and the like have a first part of their own.
    others = sorted(key for key in found if not key.startswith(("optimizer.", "dataloader.")) and key not in wanted)
    wrong = [f"{k} is {found[k]} there, {v} in the recipe" for k, v in wanted.items() if found.get(k, v) != v]
    lacking = [key for key in wanted if key not in found]
    said = [*wrong[:2]]
    if lacking:
        said.append(f"it lacks {_some(lacking)}")
    if others:
        said.append(f"the recipe's model has no {_some(others)}")
    if said:
        return Finding(check, False, "; ".join(said), "Set the recipe's model to the sizes of the base run's.")
    return Finding(check, True, f"{len(wanted)} tensors of the recipe's shapes; positions (rope_theta) are not in it")


def _optimizer_kind(metadata: Metadata, model: Model, optimizer: Optimizer) -> Finding:
    check, keys = "base optimizer", metadata.state_dict_metadata
    has_second = any(key.startswith(_STATE) and key.endswith(".exp_avg_sq") for key in keys)
    its = "adamw" if has_second else "lionw"
    if its != optimizer.name:
        what = "two moments, as Adam" if has_second else "one moment, as Lion"
        said = f"its state has {what}; the recipe's optimizer.name is {optimizer.name}"
        return Finding(check, False, said, f"Set optimizer.name: {its}, with the base run's settings.")
    moments = ("exp_avg", "exp_avg_sq") if has_second else ("exp_avg",)
    names = [name for name, _ in _on_meta(model).named_parameters()]
    lacking = [name for name in names for moment in moments if f"{_STATE}{name}.{moment}" not in keys]
    if not lacking:
        return Finding(check, True, f"state of {its} for all {len(names)} parameters")
    if any(re.search(r"\.wqkv\.weight$", name) for name in lacking) and any(
        key.startswith(_STATE) and ".qkv_linear.wq.weight." in key for key in keys
    ):
        said = "its state is of separate wq, wk and wv; joyctl trains the fused wqkv of torchtitan's own llama3"
    else:
        said = f"it has no state of {_some(lacking)}"
    return Finding(check, False, said, "Convert the weights to a Hugging Face folder and give that as base.hf.")


def _settings(folder: Path, metadata: Metadata, base: BaseSpec, segment: SegmentSpec) -> Iterator[Finding]:
    """Settings that torchtitan would take from the checkpoint without a word, whatever the recipe says."""
    keys, optimizer = metadata.state_dict_metadata, segment.optimizer
    names = sorted({key[len(_GROUP) : -len(".lr")] for key in keys if key.startswith(_GROUP) and key.endswith(".lr")})
    wanted: dict[str, Any] = {"weight_decay": optimizer.weight_decay, "betas": optimizer.betas}
    if optimizer.name == "adamw":
        wanted |= {"eps": optimizer.eps, "amsgrad": False, "maximize": False}
    entries = [f"{_GROUP}{name}.{key}" for name in names for key in (*wanted, "lr", "initial_lr")]
    held = _entries(folder, metadata, [entry for entry in entries if entry in keys])
    said, remedies = [], []
    for key, ours in wanted.items():
        theirs = {_plain(held[e]) for name in names if (e := f"{_GROUP}{name}.{key}") in held}
        other = sorted(value for value in theirs if not _equal(value, _plain(ours)))
        if other:
            many = " for some parameters" if len(theirs) > 1 else ""
            said.append(f"{key} {_shown(other[0])} in the checkpoint{many}, {_shown(_plain(ours))} in the recipe")
            if key in ("amsgrad", "maximize"):
                remedies.append(f"joyctl trains without {key}: give the weights as base.hf")
            elif len(theirs) > 1:
                remedies.append(f"joyctl has one {key} for all parameters: give the weights as base.hf")
            else:
                remedies.append(f"set optimizer.{key}={_shown(other[0])}")
    ok = not said
    yield Finding("base settings", ok, "; ".join(said) or "the recipe's", None if ok else _sentence(remedies))
    yield _lr(base, segment, [float(held[e]) for name in names if (e := f"{_GROUP}{name}.lr") in held],
              [float(held[e]) for name in names if (e := f"{_GROUP}{name}.initial_lr") in held])  # fmt: skip


def _lr(base: BaseSpec, segment: SegmentSpec, rates: list[float], peaks: list[float]) -> Finding:
    """Whether the optimizer would go on at the LR that the schedule has next."""
    step = base.step + 1
    due = segment_lr(segment, step)
    wrong = [rate for rate in rates if not lr_agrees(rate, due)]
    if not wrong:
        return Finding("base LR", True, f"{due:.6g} at step {step:,}, as the schedule has it")
    said = f"it would go on with LR {wrong[0]:.9g} at step {step:,}, the recipe's schedule has {due:.9g}"
    # Stock optimizers keep their peak; joyctl's keep 1.
    peak = peaks[0] if peaks and peaks[0] != 1.0 else None
    if peak is not None and not lr_agrees(peak, segment.optimizer.lr):
        remedy = f"Set optimizer.lr={peak:.9g}, the checkpoint's peak; {_AS_IT_HAD}."
    else:
        scaled = f"{segment.optimizer.lr * wrong[0] / due:.9g}" if due else "its peak"
        remedy = f"{_AS_IT_HAD[0].upper()}{_AS_IT_HAD[1:]}; with these, optimizer.lr={scaled} would do."
    return Finding("base LR", False, said, remedy)


def lr_agrees(found: float, due: float) -> bool:
    """Whether two LRs are one but for rounding."""
    return math.isclose(found, due, rel_tol=_LR_TOLERANCE, abs_tol=0.0)


def _on_meta(model: Model) -> torch.nn.Module:
    with torch.device("meta"):
        built: torch.nn.Module = model_spec(model).model.build()
    return built


def _entries(folder: Path, metadata: Metadata, keys: Iterable[str]) -> dict[str, Any]:
    """Small entries of a checkpoint, loaded alone. Raises Refused where files of the right size hold something else."""
    state: dict[str, Any] = {}
    for key in keys:
        entry = metadata.state_dict_metadata[key]
        state[key] = (
            None if isinstance(entry, BytesStorageMetadata) else torch.empty(entry.size, dtype=entry.properties.dtype)
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
        try:
            load(state, checkpoint_id=folder, no_dist=True)
        except CheckpointException as error:
            why = next((type(cause).__name__ for cause, _ in error.failures.values()), "unreadable")
            raise Refused(f"{folder} is damaged: {', '.join(state)[:60]} cannot be read ({why})", hint=_COPY) from None
    return state


def _plain(value: Any) -> tuple[float, ...]:
    """A setting as numbers."""
    return tuple(map(float, value)) if isinstance(value, list | tuple) else (float(value),)


def _equal(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return len(a) == len(b) and all(math.isclose(x, y, rel_tol=1e-9) for x, y in zip(a, b, strict=True))


def _shown(value: tuple[float, ...]) -> str:
    numbers = ",".join(f"{part:g}" for part in value)
    return f"[{numbers}]" if len(value) > 1 else numbers


def _sentence(parts: list[str]) -> str:
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _some(names: list[str]) -> str:
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")
