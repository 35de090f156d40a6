"""`joyctl report`: compare the runs of a campaign, or of several of one base run, in every format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from joyctl.cli.results import find_campaign
from joyctl.cli.words import DEFAULT_RESULTS, Json, Results, note

if TYPE_CHECKING:
    from joyctl.report.report import Report

Campaigns = Annotated[
    list[str] | None,
    typer.Argument(
        help="Names or folders (default: the campaign last worked on). Several must share their base run.",
        metavar="[CAMPAIGN ...]",
    ),
]
FORMATS = ("table", "md", "json", "csv", "latex", "svg", "html")
_WITH_PUBLISHED = ("table", "md", "json", "svg")


def report(
    campaigns: Campaigns = None,
    results: Results = DEFAULT_RESULTS,
    form: Annotated[
        str,
        typer.Option("--format", help="table, md, json, csv, latex, html (a page) or svg (a picture)."),
    ] = "table",
    output: Annotated[
        Path | None, typer.Option("--output", help="Write there instead of to the screen.", metavar="FILE")
    ] = None,
    proxies: Annotated[
        bool,
        typer.Option("--proxies", help="Show continuous companions of every accuracy, not only of those at chance."),
    ] = False,
    against: Annotated[
        str | None,
        typer.Option("--against", help="Lay published numbers of the recipe beside the measured ones.", metavar="NAME"),
    ] = None,
    figures: Annotated[
        bool, typer.Option("--figures", help="Also write the page's figures as SVG and PDF into report/figures/.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare the runs: scores, deltas to the matched control, mixes, what is missing.

    Also writes report/report.json, report/report.md and the page report/report.html into the campaign's folder. Several
    campaigns of one base run become one table, which is only shown.
    """
    form = "json" if as_json else form
    if form not in FORMATS:
        raise typer.BadParameter(f"'{form}' is no format; give {', '.join(FORMATS)}")
    if against is not None and form not in _WITH_PUBLISHED:
        raise typer.BadParameter(f"--against has no place in {form}; give {', '.join(_WITH_PUBLISHED)}")
    named = [find_campaign(name, results) for name in campaigns] if campaigns else [find_campaign(None, results)]
    folders = list(dict.fromkeys(named))
    if figures and len(folders) > 1:
        raise typer.BadParameter("--figures goes into a campaign's folder; give one campaign")
    made = _report(folders)
    text = _rendered(made, folders, form, proxies=proxies, against=against)
    written: list[Path] = []
    if len(folders) == 1:
        from joyctl.report.write import write_report

        written = write_report(folders[0], made, page=text if form == "html" else None)
        written += _figures(made, folders[0]) if figures else []
    if output is not None:
        from joyctl.store.files import write_text

        write_text(output, text)
        note(f"wrote {output}")
        return
    typer.echo(text, nl=False)
    if len(folders) > 1:
        note("several campaigns: nothing was written into their folders; --output FILE keeps this")
    elif form == "table" or figures:
        note("wrote " + ", ".join(str(path) for path in written))


def _report(folders: Sequence[Path]) -> Report:
    """The report of one campaign, or of several of one base run together."""
    from joyctl.report.merge import merge
    from joyctl.report.report import of_results, report
    from joyctl.report.results import read_campaign

    if len(folders) == 1:
        return report(folders[0])
    return of_results(merge([read_campaign(folder) for folder in folders]))


def _rendered(made: Report, folders: Sequence[Path], form: str, *, proxies: bool, against: str | None) -> str:
    from joyctl.report.published import chosen

    beside = chosen(made.published, against, made.results.campaign) if against is not None else None
    if form == "json":
        from joyctl.report.jsonform import render_json

        return json.dumps(render_json(made), indent=1) + "\n"
    if form == "md":
        from joyctl.report.markdown import render_markdown

        return render_markdown(made, beside)
    if form == "csv":
        from joyctl.report.csvform import render_csv

        return render_csv(made)
    if form == "latex":
        from joyctl.report.latex import render_latex

        return render_latex(made)
    if form == "html":
        from joyctl.report.page.render import render_page

        return render_page(made, folders)
    import io
    import re

    from rich.console import Console, Group

    from joyctl.report.publishedtable import render_published
    from joyctl.report.tables import render_table

    screen = Group(render_table(made, proxies=proxies), *([render_published(beside)] if beside else []))
    if form == "svg":
        console = Console(highlight=False, record=True, width=100, file=io.StringIO(), force_terminal=True)
        console.print(screen)
        drawn = console.export_svg(title=f"joyctl report {made.results.campaign}")
        return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)  # they would be fetched from the net
    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(screen)
    return captured.get()


def _figures(made: Report, folder: Path) -> list[Path]:
    from joyctl.report.page.figures import write_figures

    return write_figures(made, folder, folder / "report" / "figures")
