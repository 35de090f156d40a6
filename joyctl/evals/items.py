"""The texts of a suite's test items for the overlap check: what of them could stand in training data.

`gathered` has a process of its own do it, since lm-eval brings torch and what it needs changes the environment.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import signal
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from joyctl.campaign.spec import EvalSpec
from joyctl.data.overlap.items import Item, TaskItems, write_items
from joyctl.data.work import start_deaf
from joyctl.errors import JoyctlError, Missing
from joyctl.store.fingerprint import fingerprint

if TYPE_CHECKING:
    from joyctl.recipe.suite import SuiteTask

VERSION = 1
_QUESTIONS = ("question", "problem", "query")
"""Fields of a document that hold its question, without what a prompt puts around it."""


def name_of(specs: Sequence[EvalSpec]) -> str:
    """Name of the file of a suite's items: from all that determines them, without reading a benchmark.

    A benchmark in a folder counts by names, sizes and times of change; one of the hub by its name.
    """
    asked = []
    for spec in specs:
        places = [Path(folder) for folder in spec.include_path]
        if spec.data != "hub":
            places.append(Path(spec.data))
        files = [_file(path) for place in places for path in sorted(place.rglob("*")) if path.is_file()]
        tasks = [[task.task, task.gold] for task in spec.tasks]
        asked.append({"tasks": tasks, "data": spec.data, "data_sha256": spec.data_sha256, "files": files})
    versions = {"version": VERSION, "lm_eval": version("lm_eval")}
    return f"{fingerprint({**versions, 'asked': asked})[:16]}.json"


def _file(path: Path) -> list[object]:
    found = path.stat()
    return [str(path), found.st_size, str(found.st_mtime_ns)]


def gathered(specs: Sequence[EvalSpec], folder: Path, start: Literal["spawn", "forkserver"] = "spawn") -> str:
    """Name of the file with the items of these suites in `folder`, made there if need be.

    With `forkserver` by a fork of the server that has lm-eval imported. Raises RecipeError for an unknown task and
    Missing for data that are not there, as scoring would.
    """
    name = name_of(specs)
    if (folder / name).is_file():
        return name
    folder.mkdir(parents=True, exist_ok=True)
    spawn, fork = multiprocessing.get_context("spawn"), multiprocessing.get_context("forkserver")
    context: SpawnContext | ForkServerContext = spawn if start == "spawn" else fork
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_make, args=([*specs], folder / name, theirs), daemon=True)
    if start == "spawn":
        start_deaf(process)
    else:  # what the server forks has the server's own ears
        process.start()
    theirs.close()
    try:
        said = ours.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 0
        if code >= 0:
            raise RuntimeError(f"gathering test items ended with exit code {code}; see above") from None
        message = f"the process that gathers test items was killed ({signal.Signals(-code).name})"
        raise Missing(message, hint="It may have run out of memory. The same command tries again.") from None
    finally:
        ours.close()
    process.join()
    if said is not None:
        raise said
    return name


def _make(specs: Sequence[EvalSpec], path: Path, outcome: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it hears Ctrl-C too, and ends it
    found: dict[str, TaskItems] = {}
    said: Exception | None = None
    try:
        for spec in specs:
            found |= gather(spec)
        write_items(path, found)
    except (JoyctlError, OSError) as error:
        said = error
    with suppress(BrokenPipeError):  # who started it is gone: the items are kept for the next time
        outcome.send(said)


def gather(spec: EvalSpec) -> dict[str, TaskItems]:
    """The items of all tasks of a suite but held-out losses, by leaf task; `limit` does not count."""
    from joyctl.evals.quick import quick_and_quiet
    from joyctl.evals.tasks import load

    found: dict[str, TaskItems] = {}
    with quick_and_quiet(1):
        for entry in spec.tasks:
            loaded = load(entry, spec.model_copy(update={"limit": None}))
            for name, task in loaded.leaves.items():
                test = tuple(_scored(name, i, task, doc, entry) for i, doc in enumerate(loaded.docs(name)))
                train = tuple(_trained_on(task, doc, entry) for doc in _training_docs(task))
                digest = hashlib.sha256(repr((test, train)).encode("utf-8", "surrogatepass")).hexdigest()
                found[name] = TaskItems(digest, test, train)
    return found


def _training_docs(task: Any) -> Iterable[Mapping[str, Any]]:
    """The dataset's training split, where what is scored is another one."""
    config = task.config
    scored = config.test_split or config.validation_split
    split = config.training_split or "train"
    if split == scored or not isinstance(task.dataset, Mapping) or split not in task.dataset:
        return ()
    docs = task.dataset[split]
    try:
        processed: Iterable[Mapping[str, Any]] = docs if config.process_docs is None else config.process_docs(docs)
    except Exception:  # noqa: BLE001  (nothing is scored on it, so nobody has seen to it that it has the same columns)
        return ()
    return processed


def _scored(name: str, number: int, task: Any, doc: Mapping[str, Any], entry: SuiteTask) -> Item:
    """Raises Missing where a document makes no prompt, as nothing could be scored on it either."""
    from joyctl.evals.tasks import first_line

    try:
        return _texts(task, doc, entry)
    except Exception as error:
        raise Missing(
            f"task {name}: document {number} makes no prompt: {first_line(error)}",
            hint="Check that its dataset has the columns that lm-eval's task file names.",
        ) from error


def _trained_on(task: Any, doc: Mapping[str, Any], entry: SuiteTask) -> Item:
    """Nothing of a document that makes no prompt: many a training split lacks answers, or has other columns."""
    try:
        return _texts(task, doc, entry)
    except Exception:  # noqa: BLE001  (whatever a template or a task's own function raises)
        return ("",)


def _texts(task: Any, doc: Mapping[str, Any], entry: SuiteTask) -> Item:
    """All of an item in one text: what is asked, the choices, the gold answer; and the question alone."""
    choices = _choices(task, doc)
    prompt = task.doc_to_text(doc)
    if not isinstance(prompt, str):  # one prompt for each choice, as in winogrande
        prompt = choices[prompt] if isinstance(prompt, int) and prompt < len(choices) else ""
    whole = "\n".join([prompt, *(choices or [_gold(task, doc, entry)])])
    question = next((doc[key] for key in _QUESTIONS if isinstance(doc.get(key), str)), None)
    return (whole,) if question is None or question == whole else (whole, question)


def _choices(task: Any, doc: Mapping[str, Any]) -> list[str]:
    """The texts of the choices; none where they are only letters, since a prompt spells them out then."""
    if task.OUTPUT_TYPE != "multiple_choice" or task.config.doc_to_choice is None:
        return []
    choices = task.doc_to_choice(doc)
    choices = list(choices.values()) if isinstance(choices, Mapping) else [str(each) for each in choices]
    return choices if any(len(each.strip()) > 1 for each in choices) else []


def _gold(task: Any, doc: Mapping[str, Any], entry: SuiteTask) -> str:
    from lm_eval.utils import apply_template

    if entry.gold is not None:
        return str(apply_template(entry.gold, doc))
    if isinstance(solution := doc.get("canonical_solution"), str):  # a target may be the tests
        return solution
    target = task.doc_to_target(doc)
    return target if isinstance(target, str) else ""
