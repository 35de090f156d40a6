"""Breaks a training at a step, in processes that have this folder on PYTHONPATH.

JOYCTL_TEST_FAULTS names a JSON file: {segment id: {"at": step, "do": what, "times": n}}. Python imports this at its
start; the trainer is patched when something imports it.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import json
import os
import signal
import sys
import time
from pathlib import Path

FAULTS = Path(os.environ.get("JOYCTL_TEST_FAULTS", "/nowhere"))
MEGABYTES = 4000


def before_step(segment: str, step: int) -> None:
    if not FAULTS.exists():
        return
    fault = json.loads(FAULTS.read_text()).get(segment)
    if fault is None or step < fault["at"]:
        return
    if fault["do"] == "slow":  # until somebody says go
        end = time.monotonic() + fault.get("seconds", 0.5)
        while time.monotonic() < end and not FAULTS.with_suffix(".go").exists():
            time.sleep(0.05)
        return
    if step != fault["at"] or not first_times(segment, fault.get("times", 1)):
        return
    if fault["do"] == "raise":
        raise ValueError("the test broke this step")
    if fault["do"] == "memory":
        held = [b"x" * 1_000_000 for _ in range(MEGABYTES)]
        time.sleep(20)
        del held
    os.kill(os.getpid(), getattr(signal, fault["do"]))


def first_times(segment: str, times: int) -> bool:
    """Whether this fault has happened less than so often, over all processes."""
    for n in range(times):
        try:
            os.close(os.open(FAULTS.with_name(f"{segment.replace('/', '_')}.{n}"), os.O_CREAT | os.O_EXCL))
            return True
        except FileExistsError:
            continue
    return False


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):  # type: ignore[no-untyped-def]
        if name != "joyctl.train.trainer":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.loader is not None
        execute = spec.loader.exec_module

        def and_patch(module):  # type: ignore[no-untyped-def]
            execute(module)
            step = module.SegmentTrainer._step

            def faulty(self, batches):  # type: ignore[no-untyped-def]
                before_step(self.segment.id, self.step)
                step(self, batches)

            module.SegmentTrainer._step = faulty

        spec.loader.exec_module = and_patch  # type: ignore[method-assign]
        return spec


if FAULTS.exists():
    sys.meta_path.insert(0, Finder())
