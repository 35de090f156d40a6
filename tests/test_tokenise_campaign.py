"""A campaign on one's own texts from the command line: planned without data, built by the first sweep, scored."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from texts import documents, text_recipe, write_lines, write_tokenizer

from joyctl.cli.building import plain_lines
from joyctl.cli.main import main
from joyctl.data.build import data_folder_for
from joyctl.data.tokenise.inputs import plan_source
from joyctl.data.work import Reached
from joyctl.recipe.load import load_recipe

RECIPE = """\
hypothesis: does more of b lower its loss?
data:
  tokenizer: tokenizer
  heldout: {{share: {share}, documents: 4}}
sources:
  a: {{category: large_cc, text: {{files: texts/a.jsonl}}{a}}}
  b: {{category: domain, text: {{files: "texts/b*.jsonl"}}{b}}}
mixes: {{base: {{a: 0.8, b: 0.2}}, upsampled: {{a: 0.2, b: 0.8}}}}
model: {{dim: 32, n_layers: 1, n_heads: 2, n_kv_heads: 2, ffn_hidden: 64, vocab_size: 258, max_seq_len: 64}}
training: {{tokens: 1280, seq_len: 32, batch_size: 4, documents: joined}}
optimizer: {{lr: 5e-3}}
phase: {{durations: [0.3]}}
eval: {{suite: short, limit: 2, batch_size: 4}}
"""
SUITE = "include_path: [.]\nheldout: true\ntasks: [{task: short}]\n"
TASK = """\
task: short
dataset_path: json
dataset_kwargs: {{data_files: {{test: {items}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
num_fewshot: 0
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""


def write(folder: Path, share: float = 0.1, **said: str) -> Path:
    write_tokenizer(folder / "tokenizer")
    for seed, name in enumerate(("a", "b1", "b2")):
        write_lines(folder / "texts" / f"{name}.jsonl", [text[:40] for text in documents(80, seed)])
    suites = folder / "suites"
    suites.mkdir()
    items = [{"question": "a", "choices": ["b", "c"], "answer": i} for i in (0, 1)]
    (suites / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (suites / "task.yaml").write_text(TASK.format(items=suites / "items.jsonl"))
    (suites / "short.yaml").write_text(SUITE)
    recipe = folder / "own.yaml"
    recipe.write_text(RECIPE.format(share=share, **{"a": "", "b": "", **said}))
    return recipe


def joyctl(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", "joyctl", *words],
        cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def test_paths_are_found_beside_the_recipe_then_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, here = tmp_path / "recipes", tmp_path / "here"
    recipe = write(beside)
    write_lines(here / "texts" / "only-here.jsonl", ["x"])
    monkeypatch.chdir(here)
    loaded = load_recipe(
        str(recipe), ["sources.a.text.files=[texts/only-here.jsonl,s3://bucket/a*.jsonl,texts/no.txt]"]
    )
    a, b = loaded.sources["a"].text, loaded.sources["b"].text
    assert a is not None and b is not None and loaded.data.tokenizer == str(beside / "tokenizer")
    assert b.files == (str(beside / "texts" / "b*.jsonl"),)
    assert a.files == (str(here / "texts/only-here.jsonl"), "s3://bucket/a*.jsonl", str(beside / "texts/no.txt"))
    hub = load_recipe(
        str(recipe), ["data.tokenizer=org/name", "sources.a.text.files=null", "+sources.a.text.dataset=org/set"]
    )
    assert hub.data.tokenizer == "org/name" and hub.sources["a"].text is not None
    assert hub.sources["a"].text.dataset == "org/set"
    assert load_recipe("tiny") == load_recipe("tiny", ["data.world.seed=1"])  # nothing to place, nothing changed


def test_signs_of_a_glob_in_the_name_of_a_folder_or_file_are_letters(tmp_path: Path) -> None:
    place = tmp_path / "web [1]"
    recipe = write(place)
    np.arange(100, dtype="<u2").tofile(place / "ids[0].bin")
    write_lines(place / "texts" / "a[2].jsonl", ["x"])
    values = ["sources.a.text=null", "+sources.a.tokenised={files: 'ids[0].bin', dtype: uint16}"]
    for files in ("texts/b*.jsonl", "texts/b[12].jsonl", "texts/a[2].jsonl"):
        loaded = load_recipe(str(recipe), [*values, f"sources.b.text.files=['{files}']"])
        a, b = loaded.sources["a"], loaded.sources["b"]
        assert len(plan_source("a", a, "")) == 1
        found = [Path(piece.path).name for part in plan_source("b", b, "") for piece in part.pieces]
        assert found == (["a[2].jsonl"] if "a[2]" in files else ["b1.jsonl", "b2.jsonl"])


def test_planning_goes_by_the_recipes_words_until_the_data_is_built(tmp_path: Path) -> None:
    recipe = write(tmp_path, b=", tokens: 5000")
    told = joyctl(tmp_path, "plan", recipe.name)
    assert told.returncode == 6 and "how large a is" in told.stderr
    assert "joyctl data build" in told.stderr and "sources.a.tokens" in told.stderr
    told = joyctl(tmp_path, "plan", recipe.name, "+sources.a.tokens=9000", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["data"]["stated"] is True
    assert not (tmp_path / "data").exists()


def test_a_sweep_builds_what_is_not_there_and_scores_held_out_losses(tmp_path: Path) -> None:
    recipe = write(tmp_path)
    told = joyctl(tmp_path, "sweep", recipe.name)
    assert told.returncode == 0, told.stderr
    assert "tokenising: 100%" in told.stderr and "documents" in told.stderr
    report = json.loads(joyctl(tmp_path, "report", "own", "--format", "json").stdout)
    losses = {(s["run"], s["task"]) for s in report["scores"] if s["metric"] == "bits_per_byte"}
    assert losses == {(f"{run}/s0", f"heldout_{source}") for run in ("control", "upsample-30") for source in "ab"}
    built = joyctl(tmp_path, "data", "build", recipe.name, "--json")
    folder = data_folder_for(load_recipe(str(recipe)), tmp_path / "data")
    assert json.loads(built.stdout)["path"] == str(folder) and "tokenising" not in built.stderr
    listed = json.loads(joyctl(tmp_path, "data", "list", recipe.name, "--json").stdout)
    assert json.loads(built.stdout)["tokens"] == {n: s["tokens"] for n, s in listed["sources"].items()}


def test_where_nothing_is_held_out_no_loss_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from joyctl.campaign.grid import Grid, Point
    from joyctl.data.build import build
    from joyctl.launch.prepare import prepare
    from joyctl.recipe.load import load_recipe_grid

    for share in (0.1, 0):
        (point,) = load_recipe_grid(str(write(tmp_path / str(share), share=share)), [])
        build(point.recipe, tmp_path, processes=1)
        grid = Grid(durations=(0.3,), drops=(), drop_at=(), policy="renormalise", trunk_seeds=1, phase_seeds=1)
        made = prepare(
            point.recipe,
            [Point(point.recipe, {}, point.suite, "hub")],
            grid,
            results=tmp_path / "results",
            data_root=tmp_path,
            notify=lambda _: None,
            sandbox=True,
        )
        assert {run.eval.heldout for run in made.plan.runs} == {share > 0}


def test_a_cluster_is_not_where_a_sweep_builds(tmp_path: Path) -> None:
    recipe = write(tmp_path)
    told = joyctl(tmp_path, "sweep", recipe.name, "--cluster", "test-slurm")
    assert told.returncode == 6, told.stderr
    assert "is not built" in told.stderr and "joyctl data build RECIPE --cluster test-slurm" in told.stderr
    assert not (tmp_path / "data").exists()


def test_a_bad_text_is_one_message(tmp_path: Path) -> None:
    recipe = write(tmp_path)
    (tmp_path / "texts" / "b2.jsonl").write_text("{}\n")
    told = joyctl(tmp_path, "data", "build", recipe.name)
    assert told.returncode == 6 and "Traceback" not in told.stderr
    assert f"{tmp_path}/texts/b2.jsonl: line 1 has no 'text', only nothing; set text.column" in told.stderr


def test_a_folder_that_may_not_be_written_to_is_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def denied(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    recipe = write(tmp_path)
    monkeypatch.setattr(Path, "mkdir", denied)
    monkeypatch.setattr(sys, "argv", ["joyctl", "data", "build", str(recipe), "--data", "/shared/data"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 6 and "/shared/data cannot be used: Permission denied\n" in capsys.readouterr().err


def test_changed_texts_of_a_finished_folder_are_told_of(tmp_path: Path) -> None:
    recipe = write(tmp_path)
    before = joyctl(tmp_path, "data", "build", recipe.name)
    assert before.returncode == 0 and "are not what they were" not in before.stderr
    write_lines(tmp_path / "texts" / "b3.jsonl", documents(5))
    told = joyctl(tmp_path, "data", "build", recipe.name)
    assert told.returncode == 0 and told.stdout == before.stdout
    assert told.stderr.startswith("b: the size or time of its files, ") and "a: " not in told.stderr


def test_ctrl_c_ends_it_with_what_to_do_and_leaves_no_process(tmp_path: Path) -> None:
    recipe = write(tmp_path)
    script = (
        "import sys; sys.argv[1:] = ['data', 'build', sys.argv[1], '--processes', '2']\n"
        "from joyctl.cli import building, main\n"
        "def told(reached):\n"
        "    if reached.tokens: print('at work', flush=True); import time; time.sleep(600)\n"
        "building.plain_lines = lambda say: told\n"
        "if __name__ == '__main__': main.main()\n"
    )
    (tmp_path / "watched.py").write_text(script)
    path = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "watched.py", recipe.name],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "at work\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the processes it started as well
    said = process.communicate()[1]
    assert process.returncode == 130 and "The same command goes on from the parts that are done." in said
    assert "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        for _ in range(600):  # multiprocessing's own tracker ends a moment later
            os.killpg(process.pid, 0)
            time.sleep(0.1)


def test_a_source_too_small_to_hold_any_document_out_is_named(tmp_path: Path) -> None:
    recipe = text_recipe(
        write_tokenizer(tmp_path / "tokenizer"),
        {"a": str(write_lines(tmp_path / "a.jsonl", documents(3)))},
        heldout={"share": 1e-9},
    )
    from joyctl.data.build import build

    said: list[str] = []
    build(recipe, tmp_path, said.append, processes=1)
    assert said[0] == "a: no document is held out, so it has no held-out loss (data.heldout.share is 1e-09)"


def test_without_a_terminal_progress_is_a_line_now_and_then() -> None:
    said: list[str] = []
    watch = plain_lines(said.append, every=0)
    watch(Reached(4, 1, 0.25, 0.25))
    watch(Reached(4, 2, 0.5, 0.25, tokens=1_234_567, documents=1000))
    assert said[0].startswith("tokenising:  25% · 1 of 4 parts") and "left" not in said[0]
    assert re.search(r" 50% · 1\.23 M tokens at .*/s · about .* left · 1,000 documents · 2 of 4 parts$", said[1])
    quiet = plain_lines(said.append, every=3600)
    quiet(Reached(4, 2, 0.5, 0.25, tokens=5))
    quiet(Reached(4, 4, 1.0, 0.25, tokens=9))
    assert len(said) == 3 and said[2].startswith("tokenising: 100% · ")
