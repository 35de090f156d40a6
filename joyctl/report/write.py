"""Writing the report's files into the campaign's folder."""

from __future__ import annotations

from pathlib import Path

from joyctl.report.jsonform import render_json
from joyctl.report.markdown import render_markdown
from joyctl.report.page.render import render_page
from joyctl.report.report import report
from joyctl.store.files import write_json, write_text


def write_report(folder: Path) -> list[Path]:
    """Write report/report.json, report.md and report.html of the campaign in `folder`, each atomically.

    Gives their paths. Raises as `joyctl.report.report.report` does.
    """
    made = report(folder)
    json_path, markdown_path, page_path = (folder / "report" / f"report.{ending}" for ending in ("json", "md", "html"))
    write_json(json_path, render_json(made))
    write_text(markdown_path, render_markdown(made))
    write_text(page_path, render_page(made, folder))
    return [json_path, markdown_path, page_path]
