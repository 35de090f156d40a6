"""lm-eval's own tasks for the entries of a suite: found without indexing everything, fed from a local folder.

Task files are taken as they are. What may differ from the stock command line is where the data come from (the same
dataset below a folder instead of the hub) and who runs generated code (the sandbox instead of `evaluate`).
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cached_property
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from joyctl.evals import preload  # isort: skip - it sets the environment that the others read

import datasets
import huggingface_hub.constants
import lm_eval
from lm_eval.defaults import DEFAULT_OTHER_SEED
from lm_eval.tasks import TaskManager

from joyctl.campaign.spec import EvalSpec
from joyctl.errors import Missing, Problem, RecipeError
from joyctl.evals import known
from joyctl.evals.quick import USERS_CACHE
from joyctl.evals.sandbox import Verdict, pass_at_k, run_programs
from joyctl.recipe.suite import SuiteTask

HELDOUT = "heldout_"
_BUILT_IN = known.built_in()


class Loaded:
    """A suite's entry as lm-eval's tasks, prepared as its command line prepares them."""

    def __init__(self, entry: SuiteTask, found: Mapping[str, Any], spec: EvalSpec) -> None:
        self.entry = entry
        self.found: dict[str, Any] = dict(found)
        """lm-eval's own dictionary: `tasks`, `groups`, `group_map`."""
        self.limit = spec.limit
        self._spec = spec

    @property
    def name(self) -> str:
        """The entry's task or group."""
        return self.entry.task

    @property
    def leaves(self) -> dict[str, Any]:
        """Tasks by name, groups taken apart."""
        leaves: dict[str, Any] = self.found["tasks"]
        return leaves

    def docs(self, leaf: str) -> list[dict[str, Any]]:
        """The documents of a leaf task that are scored, in order."""
        return self._docs[leaf]

    @cached_property
    def _docs(self) -> dict[str, list[dict[str, Any]]]:
        return {name: [doc for _, doc in task.doc_iterator(limit=self.limit)] for name, task in self.leaves.items()}

    @property
    def items(self) -> int:
        """Documents over all leaf tasks."""
        return sum(map(len, self._docs.values()))

    def protocol(self) -> dict[str, object]:
        """All about the tasks that determines scores, given the model's side: settings, versions, documents."""
        leaves = sorted(self.leaves.items())
        return {
            "task": self.name,
            "versions": {name: str(task.VERSION) for name, task in leaves},
            "groups": {name: str((group.metadata or {}).get("version")) for name, group in self._groups()},
            "n_shot": {name: int(task.get_config("num_fewshot")) for name, task in leaves},
            "filters": sorted({each.name for _, task in leaves for each in task._filters}),
            "settings": {name: self._settings(task) for name, task in leaves},
            "documents": {name: self._documents(name, task) for name, task in leaves},
            "limit": self.limit,
            "gold": self.entry.gold,
            "lm_eval": lm_eval.__version__,
        }

    def _groups(self) -> list[tuple[str, Any]]:
        return sorted((self.found.get("groups") or {}).items())

    def _settings(self, task: Any) -> str:
        """Digest of a task's file with all it includes, and of the Python files whose functions it names.

        Places do not count: neither the task file's nor the data's.
        """
        config = {k: v for k, v in vars(task.config).items() if v is not None}
        modules: set[str] = set()
        text = json.dumps(config, sort_keys=True, default=lambda value: _described(value, modules))
        for folder in (self._spec.data_folder, self._spec.data):
            if folder not in ("", "hub"):
                text = text.replace(json.dumps(str(Path(folder).absolute()))[1:-1], "<data>")
        source = "".join(Path(module).read_text(encoding="utf-8") for module in sorted(modules))
        return hashlib.sha256((re.sub(r'"config_source": "[^"]*"', "", text) + source).encode()).hexdigest()

    def _documents(self, name: str, task: Any) -> str:
        """Digest of the documents that are scored and of those that examples are drawn from."""
        shots = list(task.sampler.df) if task.get_config("num_fewshot") and hasattr(task, "sampler") else []
        return hashlib.sha256(repr([self.docs(name), shots]).encode("utf-8", "surrogatepass")).hexdigest()


def _described(value: Any, modules: set[str]) -> str:
    """What stands for a value that JSON does not know; adds the file of a function to `modules`."""
    if isinstance(value, type) or callable(value):
        if file := inspect.getsourcefile(inspect.unwrap(value)):
            modules.add(file)
        return str(getattr(value, "__qualname__", type(value).__qualname__))
    return json.dumps(vars(value), sort_keys=True, default=lambda inner: _described(inner, modules))


def names_of(spec: EvalSpec) -> list[SuiteTask]:
    """The suite's entries, held-out losses included.

    Raises Missing when the suite wants held-out losses of a data folder that has none.
    """
    entries = list(spec.tasks)
    if spec.heldout and spec.data_folder:
        folder = Path(spec.data_folder) / "tasks"
        found = sorted(path.stem for path in folder.glob(f"{HELDOUT}*.yaml"))
        if not found:
            raise Missing(f"no held-out task files in {folder}", hint="`joyctl data build` writes them.")
        entries += [SuiteTask(task=name) for name in found]
    return entries


def load(entry: SuiteTask, spec: EvalSpec) -> Loaded:
    """The lm-eval tasks of one entry with their data.

    Raises RecipeError for an unknown task and for settings it does not take, Missing for data that are not there.
    """
    manager = _manager(entry.task, spec)
    with _local_data(spec.data, entry.task), _sandboxed_code_eval():
        try:
            found = manager.load([entry.task])
        except (Missing, RecipeError):
            raise
        except Exception as error:
            raise Missing(
                f"task {entry.task} does not load: {first_line(error)}",
                hint="Check that its dataset has the columns and splits that lm-eval's task file names.",
            ) from error
    for name, task in found["tasks"].items():
        _configure(entry, name, task)
    return Loaded(entry, found, spec)


def first_line(error: BaseException) -> str:
    """What kind of error it is, and the first line of what it says."""
    return f"{type(error).__name__}: {error}".strip().splitlines()[0]


def _configure(entry: SuiteTask, name: str, task: Any) -> None:
    """Set examples and limits as lm-eval's `simple_evaluate` does."""
    own = task.get_config("num_fewshot")
    if entry.n_shot is None:
        if own is None:
            task.set_config(key="num_fewshot", value=0)
    elif own == 0 and entry.n_shot:
        raise _refused(entry.task, f"n_shot is {entry.n_shot}, but lm-eval fixes task {name} at no examples")
    elif own != 0:
        task.set_config(key="num_fewshot", value=entry.n_shot)
    task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
    if entry.max_gen_toks is not None and task.OUTPUT_TYPE == "generate_until":
        limits = {"max_gen_toks": entry.max_gen_toks}
        task.set_config(key="generation_kwargs", value=limits, update=True)
    if getattr(task, "UNSAFE_CODE", False) and not entry.runs_code:
        raise _refused(entry.task, f"task {name} executes generated code; say so with 'runs_code: true'")
    if getattr(task, "MULTIMODAL", False):
        raise _refused(entry.task, f"task {name} needs images or sound, which joyctl does not score")


def _refused(task: str, message: str) -> RecipeError:
    return RecipeError([Problem(f"suite, task {task}", "", message)])


def _manager(name: str, spec: EvalSpec) -> TaskManager:
    """A manager that knows `name` and all it is made of: of as few folders as hold them.

    Raises RecipeError when no task file has that name.
    """
    own = [Path(folder) for folder in spec.include_path]
    if spec.data_folder:
        own.append(Path(spec.data_folder) / "tasks")
    for folder in own:
        if not folder.is_dir():
            raise Missing(f"no task files: {folder} is no folder", hint="`joyctl data build` writes them.")
    for folders in _places(name, own):
        manager = TaskManager(include_defaults=False, include_path=[str(folder) for folder in folders])
        if not _unknown(name, manager.task_index):
            return manager
    places = ", ".join(map(str, own)) or "no folder of its own"
    message = f"unknown task '{name}': neither lm-eval {lm_eval.__version__} nor the suite ({places}) has it"
    raise RecipeError([Problem("suite", "tasks", message)])


def _places(name: str, own: Sequence[Path]) -> Iterator[list[Path]]:
    """Ever more folders to look for task files in: the suite's own, the built-in task's, all."""
    if own:
        yield [*own]
    for root in (*known.likely(name), _BUILT_IN):
        holders = sorted({file.parent for file in root.rglob("*.yaml") if name in known.names(file, listed=False)})
        if holders:
            yield [*holders, *own]
            yield [*{_BUILT_IN / folder.relative_to(_BUILT_IN).parts[0] for folder in holders}, *own]
            break
    else:
        return
    yield [_BUILT_IN, *own]


def _unknown(name: str, index: Mapping[str, Any]) -> bool:
    """Whether a task or a part of a group is not in the index."""
    if name not in index:
        return True
    parts = (index[name].cfg or {}).get("task")
    return isinstance(parts, list) and any(_unknown_part(part, index) for part in parts)


def _unknown_part(part: Any, index: Mapping[str, Any]) -> bool:
    if isinstance(part, str):
        return _unknown(part, index)
    if isinstance(part.get("task"), list):  # a group written out in place
        return any(_unknown_part(inner, index) for inner in part["task"])
    return _unknown(str(part.get("group") or part["task"]), index)


@contextmanager
def _local_data(data: str, task: str) -> Iterator[None]:
    """While tasks load, datasets come from below the folder `data`, by the name that they have on the hub."""
    load_dataset: Callable[..., Any] = datasets.load_dataset

    def from_folder(path: str, *args: Any, **kwargs: Any) -> Any:
        if path in _FORMATS or Path(path).is_dir():  # a task file's own files
            return load_dataset(path, *args, **kwargs)
        if data == "hub":
            return _from_hub(load_dataset, task, path, *args, **kwargs)
        folder = Path(data) / path
        if not folder.is_dir():
            raise Missing(
                f"no data for task {task}: {folder} is no folder",
                hint=f"Put the dataset {path} there as the hub has it, or set eval.data to hub.",
            )
        return load_dataset(str(folder), *args, **kwargs)

    datasets.load_dataset = from_folder
    try:
        yield
    finally:
        datasets.load_dataset = load_dataset


_FORMATS = ("json", "csv", "parquet", "text", "arrow")


def _from_hub(load_dataset: Callable[..., Any], task: str, path: str, *args: Any, **kwargs: Any) -> Any:
    """From the user's cache without a look at the network, else from the hub, unless HF_HUB_OFFLINE forbids it."""
    kwargs.setdefault("cache_dir", str(USERS_CACHE))
    try:
        return load_dataset(path, *args, **kwargs)
    except (OSError, ValueError) as error:
        why: Exception = error
    if not preload.KEPT_OFFLINE:
        with _online():
            try:
                return load_dataset(path, *args, **kwargs)
            except (OSError, ValueError) as error:
                why = error
    raise Missing(
        f"no data for task {task}: dataset {path} is not in this machine's cache, and the hub was not reached",
        hint=f"Load it once where there is a network (joyctl eval HF_DIR), or put it below a folder as {path} and set "
        "eval.data to that folder.",
    ) from why


@contextmanager
def _online() -> Iterator[None]:
    """While this block runs, datasets may come over the network; both libraries look at these at every request."""
    places: tuple[Any, ...] = (datasets.config, huggingface_hub.constants)
    before = [place.HF_HUB_OFFLINE for place in places]
    for place in places:
        place.HF_HUB_OFFLINE = False
    try:
        yield
    finally:
        for place, value in zip(places, before, strict=True):
            place.HF_HUB_OFFLINE = value


@contextmanager
def _sandboxed_code_eval() -> Iterator[None]:
    """While tasks load, `evaluate` is a stand-in whose `code_eval` runs programs in the sandbox.

    lm-eval's task files of HumanEval and MBPP take that metric from the hub when they are read, and it executes
    programs in the process that evaluates. The real library is imported for any other metric.
    """
    real = sys.modules.pop("evaluate", None)

    def load_metric(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "code_eval":
            return SimpleNamespace(compute=_code_eval)
        sys.modules.pop("evaluate", None)
        import evaluate  # type: ignore[import-untyped]

        return evaluate.load(name, *args, **kwargs)

    stand_in = ModuleType("evaluate")
    stand_in.load = load_metric  # type: ignore[attr-defined]
    sys.modules["evaluate"] = stand_in
    try:
        yield
    finally:
        sys.modules.pop("evaluate", None)
        if real is not None:
            sys.modules["evaluate"] = real


_Judge = Callable[[Sequence[tuple[str, str]]], Sequence[Verdict]]
_judge: ContextVar[_Judge] = ContextVar("_judge", default=run_programs)


@contextmanager
def executing_with(judge: _Judge) -> Iterator[None]:
    """While this block runs, metrics that execute programs have `judge` judge the (program, test) pairs."""
    before = _judge.set(judge)
    try:
        yield
    finally:
        _judge.reset(before)


def _code_eval(
    references: Sequence[str], predictions: Sequence[Sequence[str]], k: Iterable[int] = (1,), **_: object
) -> tuple[dict[str, float], dict[int, Any]]:
    """`evaluate`'s metric of that name: (pass@k, results); the results are not used by any task file."""
    programs = [list(each) for each in predictions]
    return pass_at_k(list(references), programs, list(k), run=_judge.get()), {}
