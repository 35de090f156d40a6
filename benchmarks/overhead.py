"""What a campaign costs beside its bare work: the demo campaign's wall time against bare training and scoring.

Runs the campaign of `make demo` in a folder of its own, then measures on the same machine, imports not counted:
- bare training: torchtitan's model in a plain loop (forward, backward, clip, fused AdamW), in steps a second, as one
  process with two threads and as two processes at once with one thread each;
- bare scoring: joyctl's scorer, and lm-eval's own `simple_evaluate`, on one of the campaign's models, two at once.
Bare time: the trunk up to the first branch point at the two-thread speed (nothing else can run before it), all other
steps and all scores spread over two cores with no waiting.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CORES = 2
WARM_STEPS, STEPS = 20, 200
COMMAND = ["sweep", "tiny", "--drop", "math", "--drop", "code", "--at", "20", "--json"]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        subprocess.run([sys.executable, "-m", "joyctl", "data", "build", "tiny"], cwd=place, check=True)
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "joyctl", *COMMAND], cwd=place, check=True, stdout=subprocess.PIPE)
        wall = time.perf_counter() - start
        campaign = place / "results" / "tiny"
        jobs = json.loads(done.stdout)["jobs"]
        steps = sum(
            spec["end_step"] - spec["start_step"]
            for spec in (json.loads(p.read_text()) for p in campaign.rglob("segment.json"))
        )
        runs = sum(job["stage"] == "eval" for job in jobs)
        first = json.loads(next(campaign.glob("trunk/s0/0-*/segment.json")).read_text())["end_step"]
        alone = _side_by_side(_train, [(campaign, CORES)])[0]
        together = sum(_side_by_side(_train, [(campaign, 1)] * CORES))
        own = max(_side_by_side(_score_here, [campaign] * CORES))
        stock = max(_side_by_side(_score_stock, [campaign] * CORES))
    bare = first / alone + (steps - first) / together + runs * own / CORES
    unordered = steps / together + runs * own / CORES
    print(f"campaign {wall:.0f} s: {steps:,} steps and {runs} runs scored, command and imports included")
    print(
        f"bare     {bare:.0f} s: {first:,} steps at {alone:.1f}/s, the others at {together:.1f}/s, {own:.1f} s a score"
    )
    print(
        f"ratio    {wall / bare:.2f} (at most 1.3); {wall / unordered:.2f} if the trunk could be split over the cores"
    )
    print(f"scoring  {stock:.1f} s a run by lm-eval's simple_evaluate, {stock / own:.1f} times as long")


def _side_by_side(work: Callable[[Any], float], arguments: list[Any]) -> list[float]:
    with multiprocessing.get_context("spawn").Pool(len(arguments)) as pool:
        return pool.map(work, arguments, chunksize=1)


def _train(task: tuple[Path, int]) -> float:
    """Steps a second of a plain loop with that many threads."""
    campaign, threads = task
    from joyctl.train import device

    device.prepare()
    import numpy as np
    import torch

    from joyctl.campaign.spec import SegmentSpec
    from joyctl.data.folder import tokens
    from joyctl.train.model import model_spec

    torch.set_num_threads(threads)
    spec = SegmentSpec.model_validate_json(next(campaign.glob("trunk/s0/0-*/segment.json")).read_bytes())
    torch.manual_seed(0)
    model = model_spec(spec.model).model.build()
    model.to_empty(device="cpu")
    model.init_weights(buffer_device=None)
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.optimizer.lr, fused=True)
    length, rows = spec.training.seq_len, spec.training.batch_size
    data = torch.from_numpy(tokens(Path(spec.data_folder), "web")[: 64 * rows * length + 1].astype(np.int64))
    start = 0.0
    for step in range(WARM_STEPS + STEPS):
        if step == WARM_STEPS:
            start = time.perf_counter()
        at = step % 63 * rows * length
        x, y = (data[at + i : at + i + rows * length].view(rows, length) for i in (0, 1))
        loss = torch.nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), spec.optimizer.grad_clip)
        optimizer.step()
        optimizer.zero_grad()
    return STEPS / (time.perf_counter() - start)


def _score_here(campaign: Path) -> float:
    """Seconds of joyctl's scoring of one run."""
    from joyctl.campaign.spec import RunSpec
    from joyctl.evals import preload  # noqa: F401 - the imports are not what is measured
    from joyctl.evals.harness import evaluate, execute

    folder = campaign / "runs/upsample-20/s0"
    spec = RunSpec.model_validate_json((folder / "run.json").read_bytes()).eval
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        evaluate(folder / "hf", spec, Path(out), prompts=campaign / "prompts")
        execute(spec, Path(out))
        return time.perf_counter() - start


def _score_stock(campaign: Path) -> float:
    """Seconds of lm-eval's own evaluation of one run."""
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    import lm_eval
    import torch
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    torch.set_num_threads(1)
    run = json.loads((campaign / "runs/upsample-20/s0/run.json").read_text())
    tasks_folder = Path(run["eval"]["data_folder"]) / "tasks"
    tasks = [p.parent.name for p in campaign.glob("runs/upsample-20/s0/eval/*/results.json")]
    start = time.perf_counter()
    model = HFLM(
        pretrained=str(campaign / "runs/upsample-20/s0/hf"), device="cpu", batch_size=run["eval"]["batch_size"]
    )
    manager = TaskManager(include_defaults=False, include_path=str(tasks_folder))
    lm_eval.simple_evaluate(model=model, tasks=sorted(tasks), task_manager=manager, bootstrap_iters=0)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
