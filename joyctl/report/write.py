"""Writing the report's files into the campaign's folder."""

from __future__ import annotations

from pathlib import Path

from joyctl.report.jsonform import render_json
from joyctl.report.markdown import render_markdown
from joyctl.report.page.render import render_page
from joyctl.report.report import Report, report
from joyctl.store.files import write_json, write_text


def write_report(folder: Path, made: Report | None = None, page: str | None = None) -> list[Path]:
    """Write report/report.json, report.md and report.html of the campaign in `folder`, each atomically.

    `made` is its report and `page` its page, if they were computed already. Gives the paths. Raises as
    `joyctl.report.report.report` does.
    """
    made = report(folder) if made is None else made
    json_path, markdown_path, page_path = (folder / "report" / f"report.{ending}" for ending in ("json", "md", "html"))
    write_json(json_path, render_json(made))
    write_text(markdown_path, render_markdown(made))
    write_text(page_path, render_page(made, [folder]) if page is None else page)
    return [json_path, markdown_path, page_path]
