"""The branch audit as a person reads it, as JSON, and as the gate before anything is queued or trained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from joyctl.campaign.audit import Checked, Level, branches
from joyctl.cli.words import note
from joyctl.errors import Refused
from joyctl.launch.audit import audit_campaign, damaged
from joyctl.launch.disk import set_aside
from joyctl.launch.prepare import Prepared, drifted, replace_drifted

_SIGNS: dict[Level, str] = {"ok": "✓", "warning": "!", "failure": "✗"}
_STYLES: dict[Level, str] = {"ok": "green", "warning": "yellow", "failure": "red bold"}
_SEVERITY: dict[Level, int] = {"ok": 0, "warning": 1, "failure": 2}
_NAMED = 3
"""So many runs are named; of more, their number."""


def audit_or_refuse(prepared: Prepared) -> None:
    """Audit a campaign and say so in one line; sizes of files only, so that it takes no time.

    Raises Refused, with every failure and its remedy, where anything failed.
    """
    for said in prepared.shared.damaged:
        note(said)
    if not prepared.work.jobs:
        return  # nothing begins, so nothing can begin wrongly
    checked = audit_campaign(prepared, digests=False)
    failures = [each for each in checked if each.level == "failure"]
    if failures:
        raise refusal(prepared, checked)
    note(summary(prepared, checked))
    warnings: dict[str, list[Checked]] = {}
    for each in checked:
        if each.level == "warning":
            warnings.setdefault(each.check, []).append(each)
    for check, found in warnings.items():  # the first of each check; the plan's audit lists all
        more = sum(len(each.subjects) for each in found[1:])
        note(f"  ! {check}: {_whom(found[0])}{found[0].said}{f'; {more:,} more like it' if more else ''}")


def set_aside_unfit(prepared: Prepared) -> None:
    """Set aside what other settings made and what is damaged, so that it is done anew."""
    if drifted(prepared):
        note(f"set aside in {replace_drifted(prepared)}")
    if broken := damaged(audit_campaign(prepared, digests=False)):
        note(f"set aside in {set_aside(prepared.folder, broken)}: {', '.join(broken)}")


def refusal(prepared: Prepared, checked: tuple[Checked, ...]) -> Refused:
    """The error for an audit that found something wrong."""
    failures = [each for each in checked if each.level == "failure"]
    lines = [f"  ✗ {each.check}: {_whom(each)}{each.said}\n    {each.remedy or ''}".rstrip() for each in failures]
    aside = " What is damaged on disk, --rerun sets aside and trains again." if damaged(checked) else ""
    return Refused(
        f"refused: {summary(prepared, checked)}\n" + "\n".join(lines),
        hint=f"Nothing was queued or trained.{aside} All checks, with checksums: joyctl plan ... --audit",
    )


def summary(prepared: Prepared, checked: Sequence[Checked]) -> str:
    """`audit: 9 branches, 63 checks passed, 1 failed`."""
    count = {level: sum(len(c.subjects) for c in checked if c.level == level) for level in _SIGNS}
    n = branches(prepared.plan)
    said = f"audit: {n:,} {'branch' if n == 1 else 'branches'}, {count['ok']:,} checks passed"
    if count["warning"]:
        said += f", {count['warning']:,} with a warning"
    return said + (f", {count['failure']:,} failed" if count["failure"] else "")


def print_audit(prepared: Prepared, checked: Sequence[Checked], console: Console | None = None) -> None:
    """Print the audit to stdout: a line a check, then all that did not pass, with what to do."""
    out = console or Console(highlight=False)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for check in dict.fromkeys(each.check for each in checked):
        of = [each for each in checked if each.check == check]
        worst = max((each.level for each in of), key=lambda level: _SEVERITY[level])
        total = sum(len(each.subjects) for each in of)
        good = sum(len(each.subjects) for each in of if each.level == "ok")
        table.add_row(Text(f" {_SIGNS[worst]}", style=_STYLES[worst]), check, f"{good:,} of {total:,}", _outcome(of))
    out.print(Text(f"\n{summary(prepared, checked)}", style="bold"))
    out.print(table)
    unsound = [each for each in checked if each.level != "ok"]
    for each, after in zip_longest(unsound, unsound[1:]):
        text = f" {_SIGNS[each.level]} {each.check}: {_whom(each)}{each.said}"
        out.print(Text(text, style=_STYLES[each.level]), soft_wrap=True)
        if each.remedy and (after is None or (after.check, after.remedy) != (each.check, each.remedy)):
            out.print(f"   {each.remedy}", soft_wrap=True, markup=False)


def audit_json(checked: Sequence[Checked]) -> list[dict[str, Any]]:
    """The audit as the documented JSON: every check of everything."""
    return [
        {"check": c.check, "run": subject, "level": c.level, "said": c.said, "remedy": c.remedy}
        for c in checked
        for subject in c.subjects
    ]


def _outcome(of: Sequence[Checked]) -> str:
    """What is said of a check: of those that passed, of the first where they differ in numbers only."""
    passed = [each.said for each in of if each.level == "ok"]
    return f"{passed[0]}{' ...' if len(passed) > 1 else ''}" if passed else ""


def _whom(each: Checked) -> str:
    if len(each.subjects) <= _NAMED:
        return f"{', '.join(each.subjects)}: "
    return f"{', '.join(each.subjects[:_NAMED])} and {len(each.subjects) - _NAMED:,} more: "
