"""What lm-eval does on the way that changes no score: put right while scoring, put back afterwards.

- It compiles a task's prompt templates anew for every document (a third of all time on small models).
- `datasets` keeps a copy of every task file in the user's home; here it goes to a folder that is removed again.
- It draws progress bars; a campaign draws its own.
"""

from __future__ import annotations

import functools
import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from joyctl.evals import preload  # noqa: F401  isort: skip - it sets the environment that the others read

import datasets
import lm_eval.api.task
import lm_eval.utils
import torch
from transformers.utils import logging as transformers_logging

USERS_CACHE = datasets.config.HF_DATASETS_CACHE
"""Where `datasets` keeps what it has from the hub, whatever is changed below."""


@contextmanager
def quick_and_quiet(threads: int) -> Iterator[None]:
    """Inside this block lm-eval leaves out the above, and torch computes with so many threads."""
    torch.set_num_threads(threads)
    logs = [logging.getLogger(name) for name in ("lm_eval", "huggingface_hub", "datasets")]
    levels = [log.level for log in logs]
    cache, bar = datasets.config.HF_DATASETS_CACHE, lm_eval.api.task.tqdm
    bars_shown = not datasets.are_progress_bars_disabled()
    weights_bar_shown = transformers_logging.is_progress_bar_enabled()
    with tempfile.TemporaryDirectory(prefix="joyctl-datasets-") as folder:
        try:
            for log in logs:
                log.setLevel(logging.ERROR)
            datasets.config.HF_DATASETS_CACHE = Path(folder)
            datasets.disable_progress_bars()
            transformers_logging.disable_progress_bar()
            lm_eval.api.task.tqdm = _no_bar
            lm_eval.utils.env.from_string = functools.lru_cache(None)(lm_eval.utils.env.from_string)
            yield
        finally:
            del lm_eval.utils.env.from_string  # the method of the class shows again
            lm_eval.api.task.tqdm = bar
            if weights_bar_shown:
                transformers_logging.enable_progress_bar()
            if bars_shown:
                datasets.enable_progress_bars()
            datasets.config.HF_DATASETS_CACHE = cache
            for log, level in zip(logs, levels, strict=True):
                log.setLevel(level)


def quiet() -> None:
    """No progress bars and no warnings of lm-eval's, for a process that does nothing but score."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()


def _no_bar(items: Iterable[Any], **_: object) -> Iterable[Any]:
    return items
