"""The report as a LaTeX table: plain pdflatex with booktabs sets it, whatever the names hold."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from report_campaign import put, same_as_golden
from report_states import STATES, half_finished, three_seeds, with_average

from joyctl.report.latex import escaped, render_latex
from joyctl.report.report import Report, report

HOSTILE = r"50 % of #1_{a}^2 & ~ \input{x} $x$ <|> -- 'q' “é ł Ž ñ ő ß” – … → ≥ 中 ▲ 🎉 \\ `"


def set_by_pdflatex(text: str, folder: Path) -> str:
    """The log of a document that holds the table; the test fails where pdflatex refuses it."""
    if shutil.which("pdflatex") is None:
        pytest.skip("needs pdflatex")
    packages = subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, check=False)
    if packages.returncode:
        pytest.skip("needs pdflatex with booktabs")
    (folder / "table.tex").write_text(text, encoding="utf-8")
    document = (
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\\listoftables\\input{table}\\end{document}"
    )
    (folder / "paper.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-3_000:]
    return (folder / "paper.log").read_text(errors="replace")


def test_text(tmp_path: Path) -> None:
    same_as_golden("report.tex", render_latex(report(half_finished(tmp_path / "tiny"))))


@pytest.mark.parametrize("state", STATES)
def test_every_state_of_a_campaign_is_set_within_the_text(tmp_path: Path, state: str) -> None:
    text = render_latex(report(STATES[state](tmp_path / "tiny")))
    assert "Overfull" not in set_by_pdflatex(text, tmp_path)


def test_names_that_mean_something_to_latex_are_set_as_they_stand(tmp_path: Path) -> None:
    made = report(three_seeds(tmp_path / "tiny"))
    columns = tuple(replace(column, label=HOSTILE[:12]) for column in made.columns)
    rows = tuple(replace(row, variant=f"{row.variant} {HOSTILE}") for row in made.rows)
    results = replace(made.results, campaign=HOSTILE)
    set_by_pdflatex(
        render_latex(replace(made, results=results, columns=columns, rows=rows, conclusion=HOSTILE)), tmp_path
    )


def test_text_is_ascii_and_holds_no_bare_command() -> None:
    found = escaped(HOSTILE)
    assert found.isascii()
    assert "\\input{x}" not in found and "\\textbackslash{}input\\{x\\}" in found
    assert escaped("a_b & 5 %") == r"a\_b \& 5 \%"
    assert escaped("é ł ï") == r"\'{e} \l{} \"{\i}"
    assert escaped("中") == "U+4E2D"
    assert escaped("--seeds") == "-{}-seeds"


def test_the_table_has_caption_label_and_rules(tmp_path: Path) -> None:
    made = report(three_seeds(tmp_path / "tiny"))
    text = render_latex(made)
    assert text.index(r"\caption[{tiny}]{tiny: ") < text.index(r"\label{tab:tiny}") < text.index(r"\toprule")
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert escaped(made.conclusion) in text
    assert set(re.findall(r"\\usepackage\{(\w+)\}", text)) == {"booktabs"}


def test_signs_say_what_verdicts_say(tmp_path: Path) -> None:
    made = report(three_seeds(tmp_path / "tiny"))
    text = render_latex(made)
    marks = {"▲": r"$^{\ast}$", "▼": r"$^{\dagger}$", "△": r"$^{(\ast)}$", "▽": r"$^{(\dagger)}$"}
    shown = [row.cells[column.key].delta for row in made.rows for column in made.columns]
    for mark, sign in marks.items():
        assert text.count(rf"\rlap{{{sign}}}") == sum(delta is not None and delta.mark == mark for delta in shown)
    assert r"$\ast$ better, $\dagger$ worse than its control after Holm" in text


def test_many_columns_stand_below_each_other(tmp_path: Path) -> None:
    made = report(with_average(tmp_path / "tiny"))
    wide = replace(made, columns=(*made.columns, *made.further_proxies, *made.categories))
    tables = render_latex(wide).split(r"\begin{tabular}")[1:]
    assert len(tables) == -(-len(wide.columns) // 5) > 1
    assert all("control" in table and "drop-math-20" in table for table in tables)
    assert "Overfull" not in set_by_pdflatex(render_latex(wide), tmp_path)


def test_a_control_that_is_not_scored_leaves_scores_alone(tmp_path: Path) -> None:
    text = render_latex(report(STATES["no_control"](tmp_path / "tiny")))
    assert "(alone)" in text and "alone: the score itself, since its control is not scored yet." in text
    assert r"$\pm$: one standard error." in text
    assert "after Holm over 4 comparisons" in text  # of what was dropped, whose own control is there


def test_a_label_is_one_that_latex_can_refer_to(tmp_path: Path) -> None:
    folder = three_seeds(tmp_path / "tiny")
    path = folder / "campaign.json"
    put(path, {**json.loads(path.read_text()), "campaign": "a_b + é"})
    made: Report = report(folder)
    assert r"\label{tab:a-b-e}" in render_latex(made)
