"""The report as a page, as a real browser draws it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from report_campaign import ARMS, Arm, arm, put, write_campaign
from report_findings import with_findings, write_training
from typer.testing import CliRunner

from joyctl.cli.main import app
from joyctl.report.page.bundle import javascript
from joyctl.report.page.figures import write_figures
from joyctl.report.page.render import render_page
from joyctl.report.report import Report, report

DURATIONS = (0.05, 0.1, 0.2, 0.3)
MOST = 2 * 1024 * 1024


def arms(*durations: float) -> tuple[Arm, ...]:
    """The control, upsampling at these durations, and math left out at 20 %."""
    long = [arm(f"upsample-{d * 100:g}", d, "control", 0.45 + d, 0.28 + d, 0.5 + d, 1.561 + d / 2) for d in durations]
    return ARMS[0], *long, ARMS[-1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = write_campaign(tmp_path_factory.mktemp("page") / "tiny", arms(*DURATIONS))
    write_training(found)
    return found


@pytest.fixture(scope="module")
def made(folder: Path) -> Report:
    return with_findings(report(folder))


@pytest.fixture(scope="module")
def file(made: Report, folder: Path) -> Path:
    return written(made, folder)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs chromium: not installed; apt-get install chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield found
        found.close()


def written(made: Report, folder: Path) -> Path:
    path = folder.parent / "page.html"
    path.write_text(render_page(made, [folder]), encoding="utf-8")
    return path


@contextmanager
def opened(browser: Browser, file: Path, width: int = 1200, **options: Any) -> Iterator[Page]:
    """The page with all its charts drawn. Afterwards: nothing was complained of, and nothing else was asked for."""
    complaints: list[str] = []
    asked: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: asked.append(request.url))
    page.route("**/*", lambda route: route.continue_() if route.request.url == file.as_uri() else route.abort())
    page.goto(file.as_uri())
    page.wait_for_function("document.documentElement.dataset.drawn !== undefined")
    yield page
    context.close()
    assert complaints == []
    assert {url for url in asked if not url.startswith("data:")} == {file.as_uri()}


def count(page: Page, selector: str) -> int:
    return page.locator(selector).count()


def column(page: Page, table: str, number: int) -> list[str]:
    """A column of a table as it is read, line by line of the cell joined."""
    cells = page.locator(f"{table} tbody tr > :nth-child({number})").all_inner_texts()
    return [cell.split("\n")[0] for cell in cells]


def numbers(texts: list[str]) -> list[float]:
    """The first number of each text that holds a difference."""
    found = [re.match(r"[+−]\d+\.\d+", text) for text in texts]
    return [float(match[0].replace("−", "-")) for match in found if match]


def test_a_page_opens_offline_without_a_complaint(browser: Browser, file: Path) -> None:
    with opened(browser, file) as page:
        assert page.title() == "tiny · joyctl report"
        assert page.locator("h1").text_content() == "does upsampling math, code and facts at the end pay?"


def test_the_browser_itself_is_told_to_load_nothing(browser: Browser, file: Path) -> None:
    page = browser.new_page()
    asked: list[str] = []
    page.goto(file.as_uri())
    page.on("request", lambda request: asked.append(request.url))
    assert page.evaluate("fetch('https://example.org/').then(() => 'loaded', () => 'refused')") == "refused"
    page.close()
    assert asked == []


def test_every_chart_draws_marks(browser: Browser, file: Path) -> None:
    with opened(browser, file) as page:
        charts = page.locator(".chart")
        assert charts.count() == int(page.locator("html").get_attribute("data-drawn") or 0) >= 10
        for i in range(charts.count()):
            marks = "[class*='mark-'][class*='role-mark'] :is(path, line, text)"
            drawn = (
                charts.nth(i)
                .locator(marks)
                .evaluate_all("found => found.filter(f => f.getBBox().width > 0 || f.getBBox().height > 0).length")
            )
            assert drawn > 0, charts.nth(i).get_attribute("id")


def test_charts_show_what_the_report_holds(browser: Browser, file: Path, made: Report) -> None:
    assert made.curve is not None and made.datasets is not None
    with opened(browser, file) as page:
        for drawing in ("#chart-duration-gain", "#chart-duration-loss"):
            assert count(page, f"{drawing} .mark-symbol path") == len(made.curve.points) == 1 + len(DURATIONS)
        cells = len(made.datasets.arms) * len(made.datasets.columns)
        assert count(page, "#chart-datasets .mark-rect path") == cells == 4
        shown = page.locator("#chart-datasets .mark-text text").all_text_contents()
        assert numbers(shown) == [
            round(arm.deltas[c.key].delta * 100, 1) if c.percent else round(arm.deltas[c.key].delta, 3)
            for arm in made.datasets.arms
            for c in made.datasets.columns
        ]
        assert count(page, "#chart-difference-0 .mark-symbol path") == len(DURATIONS) + 1
        assert count(page, "#chart-learning-rate .mark-symbol path") == len(DURATIONS) + 1
        assert count(page, "#chart-learning-rate .mark-line path") == len(DURATIONS) + 2
        assert count(page, "#chart-mixes .mark-rect path") == 4 + 4 + 3


def test_hovering_says_interval_items_and_counts(browser: Browser, file: Path, made: Report) -> None:
    delta = next(d for d in made.averages if d.run == "upsample-5" and d.task == "micro_mc")
    scores = {s.run: s for s in made.results.scores if s.task == "micro_mc"}
    with opened(browser, file) as page:
        page.locator("#chart-difference-0 .mark-symbol path").first.hover()
        tip = page.locator("#vg-tooltip-element")
        tip.wait_for(state="visible")
        said = tip.inner_text()
        number = page.locator("#chart-datasets .mark-text text").first
        number.scroll_into_view_if_needed()
        box = number.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)  # over the number in the cell
        page.locator("#vg-tooltip-element tr:has-text('left out')").wait_for()
        assert "math" in tip.inner_text() and "place" in tip.inner_text()
    right = round(scores["upsample-5/s0"].value * 400)
    assert f"{right} of 400" in said and "400 items in 4 clusters" in said
    assert f"[{delta.low * 100:+.1f}, {delta.high * 100:+.1f}]".replace("-", "−") in said


@pytest.mark.parametrize("key", ["click", "Enter"])
def test_a_head_sorts_its_column_by_number_both_ways(browser: Browser, file: Path, key: str) -> None:
    table = "#differences table >> nth=0"
    with opened(browser, file) as page:
        head = page.locator("#differences table").first.locator("thead th").nth(1)

        def press() -> list[float]:
            head.locator("button").click() if key == "click" else head.locator("button").press(key)
            return numbers(
                page.locator("#differences table").first.locator("tbody tr > :nth-child(2)").all_inner_texts()
            )

        before = numbers(page.locator("#differences table").first.locator("tbody tr > :nth-child(2)").all_inner_texts())
        assert head.get_attribute("aria-sort") == "none"
        down = press()
        assert head.get_attribute("aria-sort") == "descending"
        assert down == sorted(before, reverse=True) != before
        assert press() == sorted(before)
        assert head.get_attribute("aria-sort") == "ascending"
        names = page.locator("#differences table").first.locator("tbody tr > :first-child").all_inner_texts()
        assert names[-1].startswith("control")  # a score is no difference: last, whichever way
        assert page.locator(table).locator("thead [aria-sort=none]").count() == 4


def test_names_are_sorted_as_people_read_them(browser: Browser, file: Path) -> None:
    with opened(browser, file) as page:
        table = page.locator("#differences table").first
        table.locator("thead button").first.click()
        names = [text.split("\n")[0].split("\xa0")[0] for text in table.locator("tbody th").all_inner_texts()]
    assert names == ["control", "drop-math-20", "upsample-5", "upsample-10", "upsample-20", "upsample-30"]


def test_both_schemes_recolour_paper_and_charts(browser: Browser, file: Path) -> None:
    with opened(browser, file, color_scheme="light") as page:

        def colours() -> tuple[str, str, str]:
            found = page.evaluate(
                """() => [['html', 'backgroundColor'], ['#chart-datasets .mark-text text', 'fill'],
                ['#chart-duration-gain .mark-line path', 'stroke']].map(([place, what]) =>
                getComputedStyle(document.querySelector(place))[what])"""
            )
            return found[0], found[1], found[2]

        light = colours()
        page.emulate_media(color_scheme="dark")
        dark = colours()
        assert all(a != b for a, b in zip(light, dark, strict=True))
        button = page.locator("#scheme")
        button.click()  # light, whatever the system says
        assert colours() == light
        button.click()
        page.emulate_media(color_scheme="light")
        assert colours() == dark
        page.emulate_media(media="print")
        assert colours() == light  # paper is light
        page.emulate_media(media="screen")
        page.reload()
        page.wait_for_function("document.documentElement.dataset.drawn !== undefined")
        assert colours() == dark  # the choice is kept
        button.click()
        assert colours() == light and button.inner_text() == "Auto"


@pytest.mark.parametrize("width", [320, 400, 1600])
def test_nothing_makes_the_page_scroll_sideways(browser: Browser, file: Path, width: int) -> None:
    with opened(browser, file, width) as page:
        page.locator("details").evaluate_all("found => found.forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = page.evaluate(
            """() => [...document.querySelectorAll('.chart')].filter(one => !one.style.minWidth).filter(one =>
            one.querySelector('svg').getBoundingClientRect().right > innerWidth).map(one => one.id)"""
        )
        assert outside == []


def test_charts_follow_the_window(browser: Browser, file: Path) -> None:
    with opened(browser, file, 1200) as page:
        wide = page.locator("#chart-mixes svg").bounding_box()
        page.set_viewport_size({"width": 500, "height": 900})
        page.wait_for_function("document.querySelector('#chart-mixes svg').getAttribute('width') < 500")
        narrow = page.locator("#chart-mixes svg").bounding_box()
    assert wide is not None and narrow is not None
    assert narrow["width"] < 500 < wide["width"]


def test_a_page_prints_whole(browser: Browser, file: Path) -> None:
    with opened(browser, file, color_scheme="dark") as page:
        pdf = page.pdf(format="A4")
        assert page.locator("details").get_attribute("open") is not None  # nothing is folded on paper
    assert pdf.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 3


def test_it_is_read_without_seeing_it(browser: Browser, file: Path) -> None:
    with opened(browser, file) as page:
        assert page.locator("html").get_attribute("lang") == "en"
        assert count(page, "h1") == 1 and count(page, "main") == 1 and count(page, "header") == 1
        assert count(page, "figure") == count(page, "figure > figcaption")
        assert count(page, "table") == count(page, "table > caption") == count(page, "[role=region] > table")
        assert count(page, "tbody tr") == count(page, "tbody tr > th[scope=row]:first-child")
        spoken = [one.get_attribute("aria-label") or "" for one in page.locator(".chart").all()]
        assert all(len(text) > 20 for text in spoken) and len(set(spoken)) == len(spoken)
        for link in page.locator("nav a").all():
            assert count(page, link.get_attribute("href") or "") == 1
        ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
        assert len(ids) == len(set(ids))


def test_colours_say_nothing_that_signs_do_not(browser: Browser, file: Path) -> None:
    signs = {"better": "▲", "worse": "▼", "leans-better": "△", "leans-worse": "▽", "none": "·"}
    with opened(browser, file) as page:
        for tone, sign in signs.items():
            assert set(page.locator(f"td.{tone} .mark").all_text_contents()) <= {sign}
        assert count(page, "td.better .mark") > 0 and count(page, "td.worse .mark") > 0


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}&amp;\"'"


def test_text_of_others_stays_text(browser: Browser, made: Report, tmp_path: Path) -> None:
    folder = write_campaign(tmp_path / "tiny", arms(0.1))
    write_training(folder)
    campaign = json.loads((folder / "campaign.json").read_text())
    put(folder / "campaign.json", {**campaign, "campaign": HOSTILE, "hypothesis": HOSTILE, "commands": [HOSTILE]})
    spec = json.loads((folder / "runs/upsample-10/s0/run.json").read_text())
    put(folder / "runs/upsample-10/s0/run.json", {**spec, "mix": {HOSTILE: 1.0}})
    found = with_findings(report(folder))
    renamed = tuple(replace(row, variant=row.variant + HOSTILE) for row in found.rows)
    with opened(browser, written(replace(found, rows=renamed), folder)) as page:
        assert page.locator("h1").text_content() == HOSTILE
        assert page.title().split() == f"{HOSTILE} · joyctl report".split()
        assert page.locator("pre").inner_text().strip() == HOSTILE
        assert count(page, "img") == 0 and count(page, "script") == 3
        assert HOSTILE[:24] in (page.locator("#chart-mixes .role-legend").text_content() or "")
        assert HOSTILE in (page.locator("#chart-mixes").get_attribute("aria-label") or "")
        page.locator("#chart-mixes .mark-rect path").last.hover()
        page.locator("#vg-tooltip-element.visible").wait_for()
        assert HOSTILE in page.locator("#vg-tooltip-element").inner_text()


def only(folder: Path, *runs: str) -> None:
    """Leave only these runs in campaign.json and on disk."""
    campaign = json.loads((folder / "campaign.json").read_text())
    for gone in set(campaign["runs"]) - set(runs):
        shutil.rmtree(folder / "runs" / gone)
    put(folder / "campaign.json", {**campaign, "runs": list(runs)})


def sparse(kind: str, folder: Path) -> Path:
    """A campaign that lacks something."""
    if kind == "nothing scored":
        write_training(write_campaign(folder, arms(0.1, 0.2), scored=False))
    elif kind == "nothing begun":
        write_campaign(folder, scored=False)
        shutil.rmtree(folder / "runs")
    elif kind == "one run":
        only(write_campaign(folder), "control/s0")
    elif kind == "nothing left out":
        write_training(write_campaign(folder, arms(0.1, 0.2)[:-1]))
    elif kind == "three seeds":
        write_training(write_campaign(folder, arms(0.1, 0.2), seeds=3))
    elif kind == "half finished":
        write_training(write_campaign(folder, arms(0.1, 0.2, 0.3)))
        shutil.rmtree(folder / "runs/upsample-30/s0")
        (folder / "runs/upsample-20/s0/eval/micro_mc/results.json").write_text("{")
        (folder / "runs/upsample-10/s0/metrics.jsonl").write_text('{"step": 901, "loss": NaN, "lr": 1e-4}\n{"st')
    else:
        name = "upsample-with-a-name-" + "as-long-as-any-grid-can-make-it-" * 4
        one = arm(name, 0.1, "control", 0.5, 0.3, 0.5, 1.6, mix={f"source_{i}_{'x' * 30}": 0.05 for i in range(20)})
        write_training(write_campaign(folder, (ARMS[0], one)))
    return folder


SHOWN = {
    "nothing scored": {"training", "missing", "commands"},
    "nothing begun": {"missing"},
    "one run": {"differences", "training"},
    "nothing left out": {"answer", "differences", "training"},
    "three seeds": {"answer", "differences", "training"},
    "half finished": {"answer", "differences", "training", "missing"},
    "huge names": {"answer", "differences", "training"},
}


@pytest.mark.parametrize("kind", SHOWN)
def test_a_page_shows_what_there_is(browser: Browser, tmp_path: Path, kind: str) -> None:
    folder = sparse(kind, tmp_path / "tiny")
    with opened(browser, written(with_findings(report(folder)), folder), 400) as page:
        there = {one.get_attribute("id") for one in page.locator("section").all()}
        assert there >= SHOWN[kind]
        assert count(page, "section:not(:has(figure, table, dl, ul, pre))") == 0
        assert count(page, ".failed") == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        assert (count(page, "#chart-datasets") == 1) == (kind in ("three seeds", "half finished"))


def test_sixty_runs_and_a_long_trunk_weigh_two_megabytes_at_most(browser: Browser, tmp_path: Path) -> None:
    folder = write_campaign(tmp_path / "tiny", arms(*(i / 100 for i in range(1, 59))))
    write_training(folder, steps=20_000)
    file = written(with_findings(report(folder)), folder)
    assert file.stat().st_size <= MOST
    with opened(browser, file) as page:
        assert count(page, "#chart-learning-rate .mark-line path") == 60
        assert count(page, "#chart-difference-0 .mark-symbol path") == 59


def test_a_page_is_the_same_every_time(made: Report, folder: Path) -> None:
    assert render_page(made, [folder]) == render_page(made, [folder])


def test_figures_are_files_of_their_own(made: Report, folder: Path, tmp_path: Path) -> None:
    paths = write_figures(made, folder, tmp_path / "figures")
    names = ["duration-curve", "dataset-map", "differences", "mixes", "learning-rate", "loss", "savings"]
    assert [path.name for path in paths] == [f"{name}.{ending}" for name in names for ending in ("svg", "pdf")]
    for path in paths:
        if path.suffix == ".svg":
            drawn = ElementTree.fromstring(path.read_text(encoding="utf-8"))
            assert len(list(drawn.iter("{http://www.w3.org/2000/svg}path"))) > 5
            assert "var(" not in path.read_text(encoding="utf-8")
        else:
            assert path.read_bytes().startswith(b"%PDF")


def test_the_command_writes_page_and_figures(folder: Path, tmp_path: Path) -> None:
    page, here = tmp_path / "page.html", str(folder)
    done = CliRunner().invoke(app, ["report", here, "--format", "html", "--output", str(page)], catch_exceptions=False)
    assert done.exit_code == 0
    assert page.read_text(encoding="utf-8") == (folder / "report/report.html").read_text(encoding="utf-8")
    done = CliRunner().invoke(app, ["report", here, "--figures"], catch_exceptions=False)
    assert done.exit_code == 0
    assert {path.suffix for path in (folder / "report/figures").iterdir()} == {".svg", ".pdf"}


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    script = javascript()
    (kept,) = (tmp_path / "cache/joyctl").iterdir()
    assert kept.read_text(encoding="utf-8") == script and "vegaEmbed" in script
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert javascript() == script
