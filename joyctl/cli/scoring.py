"""`joyctl eval`: score any Hugging Face folder on a suite, outside campaigns."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from joyctl.cli.words import Json, interruptible, note
from joyctl.errors import Missing, Problem, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from joyctl.campaign.spec import EvalSpec

_ABOUT = "eval.json"
"""In the folder of scores: whose they are."""


def evaluate(
    model: Annotated[Path, typer.Argument(help="A folder with config.json, weights and tokenizer.", metavar="HF_DIR")],
    suite: Annotated[
        str, typer.Option("--suite", help="A suite's name or file; core+general is both.", metavar="NAME")
    ] = "core",
    data: Annotated[
        str, typer.Option("--data", help="Where datasets come from: hub, or DIR/cais/mmlu and so on.", metavar="DIR")
    ] = "hub",
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Prompts scored at once.", metavar="N")] = 64,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Only the first items of every task.", metavar="N")
    ] = None,
    backend: Annotated[str, typer.Option("--backend", help="What generates text: hf or vllm.", metavar="NAME")] = "hf",
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Share the items (one a GPU, or one).", metavar="N")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder of the scores (./eval-<HF_DIR's name>).", metavar="DIR")
    ] = None,
    unsafe: Annotated[
        bool, typer.Option("--unsafe-code", help="Run generated code without a sandbox: it can do what you can.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Score a Hugging Face folder with lm-eval's tasks; the same command again goes on where it stopped.

    Writes scores and items by task, and results and samples as the lm_eval command does.
    """
    if backend not in ("hf", "vllm"):
        raise typer.BadParameter(f"'{backend}' generates nothing; give hf or vllm", param_hint="--backend")
    spec = _spec(suite, data, batch_size, limit, "vllm" if backend == "vllm" else "hf")
    out = output if output is not None else Path(f"eval-{model.resolve().name}")
    _check(model, spec, out, unsafe)
    _score(model, spec, out, processes, unsafe)
    found = _results(spec, out)
    if as_json:
        typer.echo(json.dumps(_answer(model, found), indent=1))
    else:
        from joyctl.cli.scoretable import print_scores

        print_scores(model, out, found)


def _spec(suite: str, data: str, batch_size: int, limit: int | None, backend: Literal["hf", "vllm"]) -> EvalSpec:
    """What to score on. Raises RecipeError for a suite or task there is not, Missing for data that are not there."""
    from joyctl.campaign.spec import EvalSpec
    from joyctl.evals.known import require_known
    from joyctl.recipe.suite import bench_data, load_suite, require_datasets

    found = load_suite(suite, None, lambda message: Problem(f"--suite {suite}:", "", message))
    require_known(suite, (task.task for task in found.tasks), [Path(folder) for folder in found.include_path])
    place = bench_data(data)
    require_datasets(found, place, "--data")
    return EvalSpec(
        suite=suite,
        tasks=found.tasks,
        aggregate=found.aggregate,
        heldout=False,
        include_path=found.include_path,
        batch_size=batch_size,
        backend=backend,
        limit=limit,
        data=place,
        data_folder="",
        data_sha256="",
        runs_code=found.runs_code,
    )


def _check(model: Path, spec: EvalSpec, out: Path, unsafe: bool) -> None:
    """What can be known before the model is loaded.

    Raises Missing for a folder that is no model's, or without a sandbox, Refused for scores of another model in `out`.
    """
    from joyctl.evals.sandbox import probe

    if not (model / "config.json").is_file():
        lacking = "it has no config.json" if model.is_dir() else "it is no folder"
        raise Missing(
            f"no model in {model}: {lacking}", hint="Give a folder as transformers' save_pretrained writes it."
        )
    if spec.runs_code and not unsafe and (why := probe()):
        hint = "Or leave tasks that run code out (--suite FILE), or, if you trust the model's code: --unsafe-code"
        raise Missing(f"no sandbox for the code that {spec.suite} generates: {why}", hint=hint)
    if unsafe and spec.runs_code:
        note("no sandbox: generated programs run with your permissions")
    try:
        about = json.loads((out / _ABOUT).read_bytes())
    except (OSError, ValueError):
        about = None
    if about is not None and about.get("model") != str(model.resolve()):
        raise Refused(f"{out} holds scores of {about.get('model')}", hint="Give another folder: --output DIR")


def _score(model: Path, spec: EvalSpec, out: Path, processes: int | None, unsafe: bool) -> None:
    """Evaluate the model, then execute what it generated, showing how far it is."""
    from joyctl.evals import harness
    from joyctl.store.files import write_json

    with interruptible("The same command goes on from there."), _progress() as tell:
        try:
            harness.evaluate(
                model,
                spec,
                out,
                prompts=_cache() / "prompts",
                processes=processes or _gpus(),
                on_progress=tell,
                lm_eval_files=True,
            )
        finally:
            if out.is_dir():  # something was begun
                write_json(out / _ABOUT, {"model": str(model.resolve()), "suite": spec.suite})
        if spec.runs_code:
            cores = len(os.sched_getaffinity(0))
            harness.execute(spec, out, threads=cores, unsafe=unsafe, on_progress=tell, lm_eval_files=True)


def _cache() -> Path:
    """The user's cache of joyctl (XDG Base Directory Specification: only an absolute path counts)."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "joyctl"


def _gpus() -> int:
    """GPUs that this process may use; 1 where there are none."""
    import torch

    return max(1, torch.cuda.device_count())


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None] | None]:
    """What shows (task, items done, items) on the terminal; None where there is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars: dict[str, TaskID] = {}
    with Progress(*columns, console=console, transient=True) as screen:

        def tell(task: str, done: int, total: int) -> None:
            if task not in bars:
                bars[task] = screen.add_task(task, total=total)
            screen.update(bars[task], completed=done, total=total)

        yield tell


def _results(spec: EvalSpec, out: Path) -> list[dict[str, Any]]:
    """The results of every task of the suite, as `results.json` holds them."""
    return [json.loads((out / entry.task / "results.json").read_bytes()) for entry in spec.tasks]


def _answer(model: Path, found: list[dict[str, Any]]) -> dict[str, Any]:
    keys = ("metric", "filter", "value", "stderr", "n")
    scores = [
        {"task": result["task"], **{key: score[key] for key in keys}, "protocol": result["protocol"]}
        for result in found
        for score in result["scores"]
    ]
    return {"model": str(model), "scores": scores}
