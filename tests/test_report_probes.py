"""Probes in the report: what every added dataset is worth, in order of its effect."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from report_campaign import BASE, arm, write_campaign
from rich.console import Console

from joyctl.report.findings import rank_lines
from joyctl.report.jsonform import render_json
from joyctl.report.jsonschema import report_schema
from joyctl.report.markdown import render_markdown
from joyctl.report.report import Report, report
from joyctl.report.tables import render_table

CONTROL = arm("control", 0.0, None, 0.45, 0.28, 0.50, 1.561, mix=BASE)


def probe(source: str, mc: float, math_: float, code: float, **more: Any):
    """30 % of the last fifth on a new source beside the base mix."""
    mix = {name: share * 0.7 for name, share in BASE.items()} | {source: 0.3}
    values: dict[str, Any] = {"added": source, "share": 0.3, "mix": mix, **more}
    return arm(f"add-{source}-30-20", 0.2, "control", mc, math_, code, 1.561, **values)


PROBES = (
    CONTROL,
    probe("pubmed", 0.62, 0.28, 0.50),
    probe("arxiv", 0.46, 0.60, 0.20),
    probe("noise", 0.45, 0.285, 0.505),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report(write_campaign(tmp_path_factory.mktemp("probes") / "tiny", PROBES))


def test_added_datasets_stand_in_the_order_of_their_effect_by_benchmark(made: Report) -> None:
    assert made.probes is not None and made.datasets is None and made.curve is None
    found = {label: [set(cell.split(", ")) for cell in cells] for label, *cells in rank_lines(made.probes)}
    assert found == {
        "mc": [{"pubmed"}, {"arxiv", "noise"}, {"–"}],
        "math": [{"arxiv"}, {"noise", "pubmed"}, {"–"}],
        "code": [{"–"}, {"noise", "pubmed"}, {"arxiv"}],
        "web loss": [{"–"}, {"arxiv", "noise", "pubmed"}, {"–"}],
    }


def test_those_not_detectably_different_share_a_place(made: Report) -> None:
    assert made.probes is not None
    key = next(column.key for column in made.columns if column.label == "math")
    places = {one.variant: one.place for one in made.probes.ranks[key]}
    assert places == {"add-arxiv-30-20": 1, "add-pubmed-30-20": 2, "add-noise-30-20": 2}


def test_the_conclusion_covers_a_campaign_of_probes_alone(made: Report) -> None:
    assert made.conclusion.startswith("Adding pubmed (30 % of the phase) gains ")
    assert "adding arxiv (30 % of the phase) loses " in made.conclusion
    assert "adding noise (30 % of the phase) makes no detectable difference on any benchmark." in made.conclusion
    assert "psampling" not in made.conclusion


def test_every_output_has_them(made: Report, tmp_path: Path) -> None:
    from joyctl.report.page.render import render_page

    value = json.loads(json.dumps(render_json(made)))
    jsonschema.validate(value, report_schema())
    first = value["probes"]["arms"][0]
    assert (first["added"], first["share"], first["beside"], first["against"]) == ("pubmed", 0.3, None, "control")
    assert {run["added"] for run in value["runs"]} == {None, "pubmed", "arxiv", "noise"}
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(render_table(made))
    group = "30 % of the phase, the rest the base mix, at 20 %, against control"
    assert f"what adding a dataset does: {group}" in console.export_text()
    written = render_markdown(made)
    assert "## Probes" in written and f"Added: {group}" in written and "better with" in written
    page = render_page(made, [write_campaign(tmp_path / "tiny", PROBES, scored=False)])
    assert "What adding a dataset does" in page and "Added datasets in order" in page


def test_a_probe_beside_web_is_compared_with_web_alone_and_ranked_apart(tmp_path: Path) -> None:
    web = arm("only-web-20", 0.2, "control", 0.45, 0.28, 0.50, 1.540, mix={"web": 1.0})
    half = arm(
        "add-pubmed-50-web-20", 0.2, "only-web-20", 0.70, 0.28, 0.50, 1.561,
        added="pubmed", share=0.5, beside="web", mix={"web": 0.5, "pubmed": 0.5},
    )  # fmt: skip
    made = report(write_campaign(tmp_path / "tiny", (*PROBES, web, half)))
    assert made.probes is not None
    beside = made.probes.arm("add-pubmed-50-web-20")
    assert (beside.against, beside.beside, beside.share) == ("only-web-20", "web", 0.5)
    assert all(one.variant != beside.variant for ranked in made.probes.ranks.values() for one in ranked)
    assert "adding pubmed (50 % of the phase) beside web gains" in made.conclusion
    assert made.curve is None  # web alone is no upsampling
    assert "50 % pubmed, the rest web, against only-web-20" in render_markdown(made)


def test_a_single_probe_has_a_line_and_no_order(tmp_path: Path) -> None:
    made = report(write_campaign(tmp_path / "tiny", PROBES[:2]))
    assert made.probes is not None and made.probes.ranks == {}
    written = render_markdown(made)
    assert "| pubmed | 20 % | 30.0 | base mix | control |" in written.replace("---:", "")
    assert "Added:" not in written
