"""The scores of one model as a person reads them."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

PROXIES = ("gold_bits_per_byte", "correct_prob", "norm_correct_prob", "margin")
"""Metrics that move long before accuracy does; they stand below a task's own."""
_FRACTIONS = ("acc", "acc_norm", "exact_match", "f1", "correct_prob", "norm_correct_prob", "margin")


def print_scores(model: Path, out: Path, found: Sequence[Mapping[str, Any]]) -> None:
    """Print results (each the contents of a results.json) to stdout, a line a score, a task's own metrics first."""
    console = Console(highlight=False, file=sys.stdout)
    console.print(Text.assemble((model.resolve().name, "bold"), f" · {model}\n"), soft_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("task", "metric,filter"):
        table.add_column(name)
    for name in ("score", "", "n"):
        table.add_column(name, justify="right")
    for result in found:
        _add(table, result)
    console.print(table)
    for line in _remarks(found, out):
        console.print(Text(line), soft_wrap=True)


def _add(table: Table, result: Mapping[str, Any]) -> None:
    if result["status"] != "ok":
        table.add_row(Text(result["task"], style="bold"), Text(f"not run: {result['reason']}"))
        return
    own = [score for score in result["scores"] if score["metric"] not in PROXIES]
    others = [score for score in result["scores"] if score["metric"] in PROXIES]
    for i, score in enumerate([*own, *others]):
        value, error = shown(score["metric"], score["value"], score["stderr"])
        metric = score["metric"] if score["filter"] == "none" else f"{score['metric']},{score['filter']}"
        style = "" if i < len(own) else "dim"
        name = Text(result["task"] if i == 0 else "", style="bold")
        table.add_row(name, *(Text(text, style=style) for text in (metric, value, error, f"{score['n']:,}")))


def shown(metric: str, value: float | None, stderr: float | None) -> tuple[str, str]:
    """A score and its standard error as text: shares of one in percent, all else as it is.

    As many digits as give the error two that count, but at least one after the point, three where it is no percentage.
    """
    if value is None:
        return "not finite", ""
    share = metric in _FRACTIONS or metric.startswith("pass@")
    scale, digits, unit = (100, 1, " %") if share else (1, 3, "")
    if stderr:
        digits = min(6, max(digits, 1 - math.floor(math.log10(scale * stderr))))
    error = "" if stderr is None else f"± {scale * stderr:.{digits}f}"
    return f"{scale * value:.{digits}f}{unit}", error


def _remarks(found: Sequence[Mapping[str, Any]], out: Path) -> list[str]:
    seconds = sum(result.get("seconds") or 0.0 for result in found)
    lines = ["", "± one standard error" + (" · bits per byte: lower is better" if _has_bits(found) else "")]
    cut = {result["task"]: result["truncated_prompts"] for result in found if result.get("truncated_prompts")}
    if cut:
        told = ", ".join(f"{count:,} of {task}" for task, count in cut.items())
        lines.append(f"prompts longer than the model accepts lost their beginning: {told}")
    if any(result.get("sandbox") == "none" for result in found):
        lines.append("generated programs ran without a sandbox")
    return [*lines, f"{seconds:,.0f} s of work, items and lm-eval's own files in {out}/"]


def _has_bits(found: Sequence[Mapping[str, Any]]) -> bool:
    return any(score["metric"].endswith("bits_per_byte") for result in found for score in result["scores"])
