"""What two outputs of lm-eval say of how they were scored, and where that differs (PURE)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joyctl.errors import Refused
from joyctl.report.lmeval_files import Side
from joyctl.store.fingerprint import changed_keys

_NOT_SETTINGS = {
    # Names.
    *("task", "task_alias", "tag", "group", "group_alias"),
    # Where the documents come from: their hashes say whether they are the same.
    *("dataset_path", "dataset_name", "dataset_kwargs", "custom_dataset"),
    # Holds the model's arguments beside the version, which is compared for itself; so is the number of examples.
    *("metadata", "num_fewshot"),
    # Leave to run code, which determines no score.
    "unsafe_code",
}
"""Keys of a task's `configs` that are not compared."""
_MODEL = frozenset(("pretrained", "peft", "delta", "model", "path", "engine", "tokenizer", "revision", "base_url"))
"""Model arguments that say which model it is."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_WIDTH = 60
_MANY = 12
"""Differences that a message lists."""


@dataclass(frozen=True)
class Change:
    """One key that differs."""

    key: str
    before: str
    after: str

    def __str__(self) -> str:
        before, after = _short(self.before), _short(self.after)
        return f"{self.key}  {before} → {after}" if before != after else f"{self.key}  {before}, differing further on"


def require_one_protocol(a: Side, b: Side, units: Mapping[str, Sequence[str]]) -> None:
    """Raise Refused, with every key that differs and both values, unless all `units` were scored in one way.

    `units` are tasks and groups with their leaf tasks. Compared are version, number of examples and all settings of
    every leaf task, and of the whole run chat template, system instruction, turns and settings of generation.
    """
    whole = _of_the_run(a, b, {leaf for leaves in units.values() for leaf in leaves})
    by_leaf = {leaf: _of_task(a, b, leaf) for leaf in dict.fromkeys(x for leaves in units.values() for x in leaves)}
    by_unit = {
        unit: [*_version(a, b, unit), *(c for leaf in leaves if leaf != unit for c in by_leaf[leaf])]
        if tuple(leaves) != (unit,)
        else by_leaf[unit]
        for unit, leaves in units.items()
    }
    if not whole and not any(by_unit.values()):
        return
    where: dict[Change, list[str]] = {}
    for name, changes in {**by_leaf, **{unit: _version(a, b, unit) for unit in units if unit not in by_leaf}}.items():
        for change in changes:
            where.setdefault(change, []).append(name)
    lines = [f"  {change}" for change in whole]
    lines += [f"  {_several(names)}: {change}" for change, names in where.items()]
    left = f"\n  and {len(lines) - _MANY} more" if len(lines) > _MANY else ""
    alike = [unit for unit, changes in by_unit.items() if not changes] if not whole else []
    rest = f" Or compare what agrees: --tasks {','.join(alike)}" if alike else ""
    raise Refused(
        "A and B were scored under different protocols\n" + "\n".join(lines[:_MANY]) + left,
        hint=f"Score one of them again, as the other was.{rest}",
    )


def harmless_changes(a: Side, b: Side) -> list[str]:
    """What differs and may move scores a little, though the same was asked: a line each."""
    keys = ("lm_eval_version", "transformers_version", "max_length")
    pairs = {key: (a.results.get(key), b.results.get(key)) for key in keys}
    ours, theirs = _config(a), _config(b)
    for key in ("model_dtype", "batch_size", "device", "random_seed", "numpy_seed", "torch_seed"):
        pairs[key] = ours.get(key), theirs.get(key)
    if "limit" in ours and "limit" in theirs:  # the same items all the same, or only those that both have
        pairs["limit"] = _word(ours["limit"]), _word(theirs["limit"])
    mine, others = _arguments(a), _arguments(b)
    for key in sorted(mine.keys() | others.keys()):
        if key not in pairs and key != "dtype":
            pairs[f"model_args.{key}"] = mine.get(key, "not given"), others.get(key, "not given")
    found = [
        f"{key} {_short(str(before))} → {_short(str(after))}"
        for key, (before, after) in pairs.items()
        if None not in (before, after) and str(before) != str(after)
    ]
    return [f"differs, but is no part of what was asked: {', '.join(found)}"] if found else []


def unsaid(a: Side, b: Side) -> list[str]:
    """Which outputs do not say what the other does, so that it could not be compared: a line each."""
    found = []
    for name, side, other in (("A", a, b), ("B", b, a)):
        lacking = [
            key for key in ("chat_template", "system_instruction") if key in other.results and key not in side.results
        ]
        if "config" not in side.results and "config" in other.results:
            lacking.append("config")
        if lacking:
            found.append(f"{name} does not say {', '.join(lacking)}: compared by the hashes of the prompts alone")
    return found


def _of_the_run(a: Side, b: Side, leaves: Iterable[str]) -> list[Change]:
    pairs: dict[str, tuple[Any, Any]] = {}
    for key in ("chat_template", "system_instruction"):
        if all(key in side.results for side in (a, b)):
            pairs[key] = a.results[key] or None, b.results[key] or None
    if all("fewshot_as_multiturn" in side.results for side in (a, b)):
        pairs["fewshot_as_multiturn"] = bool(a.results["fewshot_as_multiturn"]), bool(b.results["fewshot_as_multiturn"])
    generates = any((a.part("configs", leaf) or {}).get("output_type") == "generate_until" for leaf in leaves)
    if generates and all("gen_kwargs" in _config(side) for side in (a, b)):
        pairs["gen_kwargs"] = _config(a)["gen_kwargs"] or None, _config(b)["gen_kwargs"] or None
    return [Change(key, _word(before), _word(after)) for key, (before, after) in pairs.items() if before != after]


def _of_task(a: Side, b: Side, leaf: str) -> list[Change]:
    return [*_version(a, b, leaf), *_examples(a, b, leaf), *_settings(a, b, leaf)]


def _version(a: Side, b: Side, task: str) -> list[Change]:
    before, after = a.part("versions", task), b.part("versions", task)
    if before is None or after is None or str(before) == str(after):
        return []
    return [Change("version", str(before), str(after))]


def _examples(a: Side, b: Side, leaf: str) -> list[Change]:
    before, after = a.part("n-shot", leaf), b.part("n-shot", leaf)
    if before is None or after is None or str(before) == str(after):
        return []
    return [Change("num_fewshot", str(before), str(after))]


def _settings(a: Side, b: Side, leaf: str) -> Iterator[Change]:
    configs = [side.part("configs", leaf) for side in (a, b)]
    if not all(isinstance(config, Mapping) for config in configs):
        return
    before, after = ({k: v for k, v in config.items() if k not in _NOT_SETTINGS} for config in configs)
    if a.lm_eval != b.lm_eval:
        before, after = _of_both(before, after), _of_both(after, before)
    for key, old, new in changed_keys(before, after):
        old, new = _ADDRESS.sub("", old), _ADDRESS.sub("", new)
        if old != new:
            yield Change(key, old, new)


def _of_both(mine: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that both have: another version of lm-eval writes more keys or fewer, with their defaults.

    What the examples look like stands in the prompts' hashes as well.
    """
    found = {key: value for key, value in mine.items() if key in other}
    examples = "fewshot_config"
    if isinstance(mine.get(examples), Mapping) and isinstance(other.get(examples), Mapping):
        found[examples] = {key: value for key, value in mine[examples].items() if key in other[examples]}
    return found


def _config(side: Side) -> Mapping[str, Any]:
    found = side.results.get("config")
    return found if isinstance(found, Mapping) else {}


def _arguments(side: Side) -> dict[str, str]:
    """The model's arguments but for those that name it; lm-eval writes them as an object or as `key=value,...`."""
    given = _config(side).get("model_args")
    if isinstance(given, str):
        given = dict(word.split("=", 1) for word in given.split(",") if "=" in word)
    if not isinstance(given, Mapping):
        return {}
    return {str(key): str(value) for key, value in given.items() if key not in _MODEL}


def _several(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _word(value: Any) -> str:
    return "none" if value is None else str(value)


def _short(text: str) -> str:
    """On one line of at most 60 characters."""
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"
