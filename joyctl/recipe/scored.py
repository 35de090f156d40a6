"""What a recipe has scored: suites of tasks, references and published numbers."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from joyctl.recipe import rules
from joyctl.recipe.strict import NAME, MetricAndFilter, Strict


class Eval(Strict):
    """What every run is scored on."""

    suite: str = Field(default="micro", min_length=1)
    """Name of the set of tasks: a built-in one, `suites/<name>.yaml` beside the recipe, or a file; `core+general` is
    both together."""
    data: str = Field(default="hub", min_length=1)
    """Where lm-eval's tasks find their datasets: `hub` (the Hugging Face hub or its cache), or a folder laid out as
    <folder>/<dataset path>, such as <folder>/cais/mmlu, for nodes without a network."""
    batch_size: int = Field(default=64, gt=0)
    """Prompts scored at once; fixed for a campaign, since padding moves scores in the last digits."""
    backend: Literal["hf", "vllm"] = "hf"
    """What generates text: transformers, or vllm, which must be installed. Choices and losses are always scored by
    transformers."""
    limit: int | None = Field(default=None, gt=0)
    """Only so many first items of every task, for a quick look; all of them when not given."""


class SuiteTask(Strict):
    """One task of a suite, or a group of tasks that lm-eval knows by one name."""

    task: str = Field(min_length=1)
    """lm-eval's name of a task or group."""
    n_shot: int | None = Field(default=None, ge=0)
    """Examples in the prompt; the task's own number when not given."""
    gold: str | None = None
    """Jinja template over an item: the gold answer exactly as it would follow the prompt, a leading space included.
    Its bits per byte are scored beside a task that generates text."""
    runs_code: bool = False
    """Whether the generated text is a program that is executed, in a stage of its own."""
    max_gen_toks: int | None = Field(default=None, gt=0)
    """Most tokens to generate, instead of the task's own limit."""
    category: str | None = None
    """What it counts under in the aggregate."""
    metric: MetricAndFilter | None = None
    """Which score counts in the aggregate, `metric,filter`: `acc_norm,none`."""
    baseline: float | None = Field(default=None, ge=0, lt=1)
    """Score of guessing, a fraction: 0.25 for one of four. The aggregate is rescaled by it, and the report says which
    scores are at chance."""
    items: int | None = Field(default=None, gt=1)
    """How many items it has, for planning before anything is scored; a report counts what was scored."""
    clusters: int | None = Field(default=None, gt=0)
    """How many clusters these items fall into, such as the 57 subjects of MMLU; every item its own when not given."""


class Aggregate(Strict):
    """One number of several tasks: each rescaled from chance to 1, averaged by category, then over categories."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", json_schema_extra={"patternErrorMessage": NAME})
    """What the report calls it."""
    version: int = Field(gt=0)
    """To be raised with every change of its tasks, categories, metrics or baselines: only equal versions compare."""


class Suite(Strict):
    """A set of tasks: the contents of a suite file."""

    tasks: tuple[SuiteTask, ...] = Field(min_length=1)
    """The tasks, in the order in which they are scored."""
    heldout: bool = True
    """Score the held-out loss by source too, where the recipe's data has held-out text."""
    include_path: tuple[str, ...] = ()
    """Folders with further task files of lm-eval's, relative to the suite file."""
    aggregate: Aggregate | None = None
    """The number that the tasks with a category make."""

    @property
    def runs_code(self) -> bool:
        """Whether any task executes generated programs."""
        return any(task.runs_code for task in self.tasks)

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self._refuse(rules.check_suite(self))


class Reference(Strict):
    """Another model, which the report shows beside the runs: scored under their protocol, trained elsewhere."""

    model: str = Field(min_length=1)
    """A Hugging Face folder, relative to the recipe file or to the current folder, or a name on the hub: org/name."""
    revision: str | None = Field(default=None, min_length=1)
    """Branch, tag or commit of a model on the hub; a commit never moves."""
    about: str | None = Field(default=None, min_length=1)
    """What the report says of it, such as `twice the training`."""


class PublishedNumbers(Strict):
    """Scores that others have published, to lay beside the measured ones: `joyctl report --against NAME`."""

    source: str = Field(min_length=1)
    """Where the numbers stand, as the report cites it."""
    model: str = Field(min_length=1)
    """Whose they are, in words: the report says of it that only directions compare."""
    second_hand: bool
    """Whether they were read in someone's excerpt and not in the publication itself; every table says so."""
    values: dict[Annotated[str, Field(min_length=1)], dict[Annotated[str, Field(min_length=1)], float]] = Field(
        min_length=1
    )
    """By variant (`control`, `upsample-20`, `drop-math-10`; any, run here or not), then by benchmark as its authors
    call it: the score in per cent, as printed."""
    tasks: dict[Annotated[str, Field(min_length=1)], Annotated[str, Field(min_length=1)]] = Field(default={})
    """Which of their benchmarks stands beside which task, or average over categories, of this recipe's suite."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        return self._refuse(rules.check_published(self))
