"""The options of the commands that plan and run campaigns, and of those that work on data."""

from __future__ import annotations

from typing import Annotated

import typer

Durations = Annotated[
    str | None, typer.Option("--durations", help="Percent of all steps, such as 5,10,20 (the recipe's).")
]
Seeds = Annotated[int | None, typer.Option("--seeds", min=1, help="Data orders of the phase in each trunk.")]
TrunkSeeds = Annotated[int | None, typer.Option("--trunk-seeds", min=1, help="Base runs, a seed each.")]
Drop = Annotated[list[str] | None, typer.Option("--drop", help="Leave a source out; A+B leaves both out. Repeatable.")]
Each = Annotated[bool, typer.Option("--each", help="Leave out each source of the upsampled mix in turn.")]
Category = Annotated[
    list[str] | None,
    typer.Option("--category", help="With --each: only sources of this category. Repeatable.", metavar="NAME"),
]
At = Annotated[str | None, typer.Option("--at", help="Percent of all steps at which to drop (the recipe's).")]
Policy = Annotated[
    str | None,
    typer.Option("--policy", help="The dropped share: renormalise | renormalise-category | replace:SOURCE | shrink."),
]
Add = Annotated[
    list[str] | None, typer.Option("--add", help="The dataset to probe, a source. Repeatable.", metavar="SOURCE")
]
ProbeShare = Annotated[
    str, typer.Option("--share", help="Percent of the phase that it takes, such as 30 or 10,30.", metavar="PERCENT")
]
Beside = Annotated[
    str, typer.Option("--beside", help="What has the rest: the base mix, or one source, such as web at --share 50.")
]
ProbeAt = Annotated[str | None, typer.Option("--at", help="Percent of all steps of the phase (the recipe's drop_at).")]
ClusterName = Annotated[str, typer.Option("--cluster", help="Where to run: a cluster's name or file.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would run; train nothing.")]
Every = Annotated[bool, typer.Option("--all", help="List every run, however many.")]
Rerun = Annotated[
    bool, typer.Option("--rerun", help="Set aside and redo what other settings made, or what is damaged.")
]
Audit = Annotated[
    bool, typer.Option("--audit", help="Check every branch, and the SHA-256 of all it goes on from; exit code 4.")
]
UnsafeCode = Annotated[
    bool,
    typer.Option("--unsafe-code", help="Execute generated code without a sandbox: it can do what you can."),
]
NoOverlap = Annotated[bool, typer.Option("--no-overlap", help="Do not look for test items in the sources first.")]
Wait = Annotated[
    bool, typer.Option("--wait", help="On a cluster: follow the jobs until it is finished. Ctrl-C leaves them.")
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", min=1, help="On a cluster: how many jobs share the work (by its bytes).")
]
