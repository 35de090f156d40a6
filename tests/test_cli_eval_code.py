"""`joyctl eval-code`: samples in, pass@k and a results file out; one message for every wrong input."""

from __future__ import annotations

import gzip
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from joyctl.evals.sandbox import probe

WHY_NOT = probe()
needs_sandbox = pytest.mark.skipif(WHY_NOT is not None, reason=f"needs sandbox: {WHY_NOT}")
needs_bench = pytest.mark.skipif(
    not os.environ.get("JOYCTL_BENCH_DATA"),
    reason="needs bench data: set JOYCTL_BENCH_DATA to the folder that holds bench/",
)
PROBLEMS = [
    {
        "task_id": f"T/{name}",
        "prompt": f'def {name}(a, b):\n    """{name} of a and b"""\n',
        "test": f"def check(candidate):\n    assert candidate(7, 3) == {expected}\n",
        "entry_point": name,
    }
    for name, expected in (("add", 10), ("sub", 4), ("mul", 21))
]
RIGHT = {"T/add": "    return a + b\n", "T/sub": "    return a - b\n", "T/mul": "    return a * b\n"}
WRONG = "    return None\n"


def lines(rows: Sequence[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def sample(task: str, completion: str, **more: object) -> dict[str, object]:
    return {"task_id": task, "completion": completion, **more}


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "joyctl", "eval-code", *map(str, words)]


def run(folder: Path, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*words), cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "problems.jsonl").write_text(lines(PROBLEMS))
    samples = [sample(task, text, temperature=0.2) for task, right in RIGHT.items() for text in (right, WRONG)]
    samples[-1] = sample("T/mul", RIGHT["T/mul"])
    (tmp_path / "samples.jsonl").write_text(lines(samples))
    return tmp_path


SAMPLES = ("samples.jsonl", "--problems", "problems.jsonl")


@needs_sandbox
def test_json_and_the_results_file(folder: Path) -> None:
    done = run(folder, *SAMPLES, "-k", "1,2", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    # add and sub: 1 of 2 passes; mul: 2 of 2
    assert answer["pass@1"] == pytest.approx(2 / 3)
    assert answer["pass@2"] == 1
    assert (answer["n"], answer["passed"], answer["problems"], answer["of_problems"]) == (6, 4, 3, 3)
    assert answer["sandbox"] == "bubblewrap"
    assert [item["passed"] for item in answer["items"]] == [True, False, True, False, True, True]
    assert answer["items"][1] == {"task_id": "T/add", "passed": False, "reason": "AssertionError"}
    written = [json.loads(line) for line in (folder / "samples.jsonl_results.jsonl").read_text().splitlines()]
    assert written[0] == sample("T/add", RIGHT["T/add"], temperature=0.2, passed=True, result="passed")
    assert [row["passed"] for row in written] == [item["passed"] for item in answer["items"]]
    assert written[1]["result"] == "AssertionError"


@needs_sandbox
def test_table(folder: Path) -> None:
    done = run(folder, *SAMPLES)
    assert (done.returncode, done.stderr) == (0, "")
    words = [line.split() for line in done.stdout.splitlines()]
    assert "samples.jsonl · 3 problems, 6 samples, 4 passed" in done.stdout
    assert ["pass@1", "66.7", "%"] in words
    assert ["AssertionError", "2"] in words
    assert "pass@10" not in done.stdout  # of the usual ones, only those that can be given
    assert "samples.jsonl_results.jsonl" in done.stdout


@needs_sandbox
def test_compressed_files_and_blank_lines(folder: Path) -> None:
    for name in ("problems.jsonl", "samples.jsonl"):
        (folder / f"{name}.gz").write_bytes(gzip.compress(b"\n" + (folder / name).read_bytes() + b"\n\n"))
    done = run(folder, "samples.jsonl.gz", "--problems", "problems.jsonl.gz", "--json")
    assert json.loads(done.stdout)["passed"] == 4
    assert (folder / "samples.jsonl.gz_results.jsonl").exists()


@needs_sandbox
def test_a_k_above_some_problems_samples_is_left_out_and_said(folder: Path) -> None:
    done = run(folder, *SAMPLES, "-k", "2,3", "--json")
    assert done.returncode == 0
    assert done.stderr == "pass@3 left out: T/add has 2 samples\n"
    assert [key for key in json.loads(done.stdout) if key.startswith("pass@")] == ["pass@2"]


@needs_sandbox
def test_the_clock_stops_a_program(folder: Path) -> None:
    (folder / "s.jsonl").write_text(lines([sample("T/add", "    while True: pass\n")]))
    done = run(folder, "s.jsonl", "--problems", "problems.jsonl", "--partial", "--timeout", "0.5", "--json")
    assert json.loads(done.stdout)["items"][0]["reason"] == "timed out after 0.5 s"


@needs_sandbox
def test_some_problems_without_samples(folder: Path) -> None:
    (folder / "s.jsonl").write_text(lines([sample("T/sub", RIGHT["T/sub"])]))
    refused = run(folder, "s.jsonl", "--problems", "problems.jsonl")
    assert refused.returncode == 3
    assert "1 of 3 problems have samples; the first without: T/add" in refused.stderr
    assert "--partial" in refused.stderr and not refused.stdout
    done = run(folder, "s.jsonl", "--problems", "problems.jsonl", "--partial", "--json")
    assert "1 of 3 problems have samples" in done.stderr
    answer = json.loads(done.stdout)
    assert (answer["pass@1"], answer["problems"], answer["of_problems"]) == (1, 1, 3)


GOOD = json.dumps(sample("T/add", WRONG))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f'{GOOD}\n{{"task_id": "T/add", "compl', "s.jsonl:2 no JSON: Unterminated string"),
        (f"{GOOD}\n{GOOD[:30]}", "the file ends here: is it whole?"),
        (f'{GOOD}\n\n{{"task_id": "T/add"}}\n', "s.jsonl:3 no field 'completion'"),
        ('{"completion": ""}\n', "s.jsonl:1 no field 'task_id'"),
        ('{"task_id": "T/add", "completion": ["x"]}\n', "s.jsonl:1 'completion' is no text"),
        ('{"task_id": "T/div", "completion": ""}\n', "s.jsonl:1 task_id: T/div: no problem has this name"),
        ("[1]\n", "s.jsonl:1 no JSON object"),
        ("", "s.jsonl no samples in this file"),
        ("\n \n", "s.jsonl no samples in this file"),
        ("[" * 100_000 + "\n", "s.jsonl:1 no JSON"),
    ],
)
def test_wrong_samples_are_one_message_with_the_line(folder: Path, text: str, message: str) -> None:
    (folder / "s.jsonl").write_text(text)
    wrong(run(folder, "s.jsonl", "--problems", "problems.jsonl"), message)
    assert not list(folder.glob("*_results.jsonl")) and not list(folder.glob(".*"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.jsonl", None, "s.jsonl No such file"),
        ("s.jsonl", b'{"task_id": "\xff"}\n', "s.jsonl:1 no JSON: 'utf-8' codec can't decode"),
        ("s.jsonl.gz", b"no gzip", "Not a gzipped file"),
        ("s.jsonl.gz", gzip.compress(os.urandom(64))[:40], "s.jsonl.gz"),
    ],
)
def test_files_that_cannot_be_read(folder: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (folder / name).write_bytes(content)
    wrong(run(folder, name, "--problems", "problems.jsonl"), message)


@pytest.mark.parametrize(
    ("problems", "message"),
    [
        ([], "p.jsonl no problems in this file"),
        ([sample("T/add", "")], "p.jsonl:1 no field 'prompt'; is this a file of problems?"),
        ([*PROBLEMS, PROBLEMS[0]], "p.jsonl:4 task_id: T/add stands in this file twice"),
        ([{**PROBLEMS[0], "entry_point": "f); f("}], "p.jsonl:1 entry_point: 'f); f(' is no name of a function"),
    ],
)
def test_wrong_problems(folder: Path, problems: list[object], message: str) -> None:
    (folder / "p.jsonl").write_text(lines(problems))
    wrong(run(folder, "samples.jsonl", "--problems", "p.jsonl"), message)


@pytest.mark.parametrize("k", ["0", "1,x", "", "-1", "1,,2", "1.5"])
def test_a_wrong_k(folder: Path, k: str) -> None:
    wrong(run(folder, *SAMPLES, "-k", k), "is no number of samples")


def test_a_k_that_no_problem_has_samples_for(folder: Path) -> None:
    wrong(run(folder, *SAMPLES, "-k", "3,10"), "samples.jsonl too few samples for pass@3: T/add has 2 samples")


def test_many_wrong_lines_are_counted(folder: Path) -> None:
    (folder / "s.jsonl").write_text("{}\n" * 50)
    done = run(folder, "s.jsonl", "--problems", "problems.jsonl")
    wrong(done, "30 more are not shown.")
    assert len(done.stderr.splitlines()) == 22


def wrong(done: subprocess.CompletedProcess[str], message: str) -> None:
    assert (done.returncode, done.stdout) == (3, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_no_sandbox_is_refused_and_unsafe_code_runs_without(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    nothing = str(tmp_path_factory.mktemp("empty"))
    refused = run(folder, *SAMPLES, PATH=nothing)
    assert (refused.returncode, refused.stdout) == (6, "")
    assert "bubblewrap is not installed" in refused.stderr and "--unsafe-code" in refused.stderr
    assert not (folder / "samples.jsonl_results.jsonl").exists()
    done = run(folder, *SAMPLES, "--unsafe-code", "--json", PATH=nothing)
    assert done.returncode == 0
    assert done.stderr == "no sandbox: the programs run with your permissions\n"
    answer = json.loads(done.stdout)
    assert (answer["passed"], answer["sandbox"]) == (4, "none")


def test_without_problems_at_hand_the_remedy_is_named(folder: Path) -> None:
    done = run(folder, "samples.jsonl", JOYCTL_BENCH_DATA=str(folder))
    assert done.returncode == 6 and "--problems FILE" in done.stderr
    offline = run(folder, "samples.jsonl", JOYCTL_BENCH_DATA="", HF_HUB_OFFLINE="1", HF_HOME=str(folder / "hf"))
    assert offline.returncode == 6 and "--problems FILE" in offline.stderr and "Traceback" not in offline.stderr


@needs_sandbox
@needs_bench
def test_humaneval_is_what_samples_are_for_unless_told(folder: Path) -> None:
    (folder / "s.jsonl").write_text(lines([sample("HumanEval/53", "    return x + y\n")]))
    done = run(folder, "s.jsonl", "--partial", "--json")
    answer = json.loads(done.stdout)
    assert (answer["pass@1"], answer["of_problems"]) == (1, 164)


@needs_sandbox
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_writes_nothing(folder: Path, how: signal.Signals) -> None:
    endless = "    while True: pass\n"
    (folder / "s.jsonl").write_text(lines([sample("T/add", endless)] * 40))
    words = command("s.jsonl", "--problems", "problems.jsonl", "--partial", "--timeout", "1")
    process = subprocess.Popen(words, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None and "1 of 3" in process.stderr.readline()
    time.sleep(1)
    process.send_signal(how)
    out, error = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "")
    assert error == "stopped\nNothing was written.\n"
    assert {path.name for path in folder.iterdir()} == {"problems.jsonl", "samples.jsonl", "s.jsonl"}


@needs_sandbox
def test_progress_is_shown_on_a_terminal(folder: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            command(*SAMPLES, "--json"), cwd=folder, stderr=theirs, stdout=subprocess.PIPE, check=True
        )
        os.close(theirs)
        seen = b""
        try:
            while part := os.read(ours, 65536):
                seen += part
        except OSError:  # the terminal has no other end any more
            pass
    finally:
        os.close(ours)
    assert b"programs" in seen and b"6/6" in seen
    assert json.loads(done.stdout)["n"] == 6


def test_help_names_every_option() -> None:
    done = subprocess.run(command("--help"), capture_output=True, text=True, check=False)
    assert done.returncode == 0
    for option in ("--problems", "-k", "--workers", "--timeout", "--unsafe-code", "--partial", "--json"):
        assert option in done.stdout
