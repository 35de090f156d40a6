"""Cluster files: either kind loads, what is wrong is told at its place, and the examples say all there is to say."""

# Messages stand here whole, as a user sees them.
# ruff: noqa: E501

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from joyctl.cli import fitting
from joyctl.cli.fitting import require_fit, require_trackers
from joyctl.errors import Missing, RecipeError
from joyctl.recipe.cluster import Container, LocalCluster, Resources, SlurmCluster
from joyctl.recipe.load import load_cluster, load_cluster_file, load_recipe
from joyctl.recipe.locate import builtin_folder, builtin_names
from joyctl.recipe.rules import Finding, megabytes
from joyctl.recipe.schema import cluster_schema

CLUSTER = """\
kind: slurm
partition: gpu
stages:
  train: {time: 60, gpus_per_node: 8, mem: 64G}
  eval: {time: 30, gpus_per_node: 1}
  score: {time: 30}
signal_grace_s: 60
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str, *overrides: str) -> SlurmCluster:
    Path("c.yaml").write_text(text)
    cluster = load_cluster("./c.yaml", overrides)
    assert isinstance(cluster, SlurmCluster)
    return cluster


def problems(text: str, *overrides: str) -> list[str]:
    """What is wrong with a cluster file of that text, one a line, without the file's name."""
    Path("c.yaml").write_text(text)
    try:
        load_cluster("./c.yaml", overrides)
    except RecipeError as error:
        assert error.exit_code == 3
        return [str(problem).removeprefix("./c.yaml:") for problem in error.problems]
    return []


def with_(key: str, value: str) -> str:
    """The cluster file with one value of training's resources replaced."""
    old = {"time": "time: 60", "mem": "mem: 64G"}[key]
    assert CLUSTER.count(old) == 1
    return CLUSTER.replace(old, f"{key}: {value}")


# ----------------------------------------------------------------------------------------------------------- kinds


def test_the_kind_in_the_file_says_what_it_is():
    assert load(CLUSTER).partition == "gpu"
    Path("here.yaml").write_text("kind: local\ncores: 2\n")
    assert load_cluster("./here.yaml") == LocalCluster(cores=2)


@pytest.mark.parametrize("text", ["", "cores: 2\n"])
def test_a_file_with_nothing_of_slurm_in_it_is_this_machine(text: str):
    Path("c.yaml").write_text(text)
    assert isinstance(load_cluster("./c.yaml"), LocalCluster)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: slrum\npartition: 1\n", ["1:7 kind: 'slrum' is not one of local, slurm; did you mean 'slurm'?"]),
        ("kind: Slurm\n", ["1:7 kind: 'Slurm' is not one of local, slurm; did you mean 'slurm'?"]),
        ("kind:\ncores: 2\n", ["1:6 kind: empty; give one of local, slurm"]),
        ("kind: [slurm]\n", ["1:7 kind: a list is not one of local, slurm; did you mean 'slurm'?"]),
        (CLUSTER.replace("kind: slurm\n", ""), ["1:1 kind: missing; write 'kind: slurm'"]),
        (CLUSTER.replace("kind", "kinds"), ["1:1 kinds: unknown key; did you mean 'kind'?"]),
        (
            "kind: slurm\n",
            ["1:1 stages: missing; give a section with train, eval, score: resources by stage"],
        ),
    ],
)
def test_only_what_is_wrong_with_the_kind_that_was_meant(text: str, expected: list[str]):
    assert problems(text) == expected


def test_an_override_can_choose_the_kind():
    Path("c.yaml").write_text("cores: 2\n")
    assert problems("cores: 2\n", "kind=slrum") == [
        "override 'kind=slrum': 'slrum' is not one of local, slurm; did you mean 'slurm'?"
    ]
    assert problems("partition: gpu\n", "kind=local") == [
        "1:1 partition: unknown key; keys of a Slurm cluster need 'kind: slurm'"
    ]


def test_a_price_needs_its_currency():
    message = "in what? Give 'currency' as well, such as EUR"
    assert problems("kind: local\nprice_per_core_hour: 0.04\n") == [f"2:22 price_per_core_hour: {message}"]
    assert problems(CLUSTER, "price_per_gpu_hour=2") == [f"override 'price_per_gpu_hour=2': {message}"]
    given = load(CLUSTER, "price_per_gpu_hour=2", "currency=EUR")
    assert (given.price_per_gpu_hour, given.price_per_core_hour, given.currency) == (2.0, None, "EUR")


def test_a_price_alone_says_nothing_of_the_kind():
    Path("c.yaml").write_text("price_per_core_hour: 0.04\ncurrency: EUR\n")
    assert load_cluster("./c.yaml") == LocalCluster(price_per_core_hour=0.04, currency="EUR")


# --------------------------------------------------------------------------------------------------- times, memory


@pytest.mark.parametrize(
    ("time", "minutes"),
    [
        ("90", 90),
        ("'90'", 90),
        ("01:30:00", 90),
        ("1:30:00", 90),  # YAML 1.1 reads this one, but not the one before, as 5400
        ("'1:30:00'", 90),
        ("12:00:00", 720),
        ("100:00:00", 6_000),
        ("00:01:01", 2),
        ("1-00:00:00", 1_440),
        ("1-12", 2_160),
        ("2-12:30", 3_630),
    ],
)
def test_a_time_is_what_slurm_would_take_it_for(time: str, minutes: int):
    assert load(with_("time", time)).stages.train.minutes == minutes
    if time.startswith(("1:", "12:")):
        assert load(CLUSTER, f"stages.train.time={time}").stages.train.minutes == minutes


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("30:00", "'30:00' is minutes and seconds to Slurm; write 30, or 30:00:00 if it is hours"),
        ("05:30", "'05:30' is minutes and seconds to Slurm; write 05, or 05:30:00 if it is hours"),
        ("0", "no time at all; give at least a minute"),
        ("2h", "'2h' is no wall time; give minutes, HH:MM:SS or D-HH:MM:SS"),
        ("1:75:00", "'1:75:00' is no wall time; give minutes, HH:MM:SS or D-HH:MM:SS"),
        ("unlimited", "'unlimited' is no wall time; give minutes, HH:MM:SS or D-HH:MM:SS"),
        ("1.5", "1.5 is no wall time; give minutes, HH:MM:SS or D-HH:MM:SS"),
        ("-5", "'-5' is no wall time; give minutes, HH:MM:SS or D-HH:MM:SS"),
        ("true", "true is no wall time; give minutes, HH:MM:SS or D-HH:MM:SS"),
        ("[60]", "a list is no wall time; give minutes, HH:MM:SS or D-HH:MM:SS"),
        ("null", "empty; give minutes, HH:MM:SS or D-HH:MM:SS"),
    ],
)
def test_what_is_no_time(time: str, expected: str):
    assert problems(with_("time", time)) == [f"4:17 stages.train.time: {expected}"]


def test_a_time_in_base_60_is_found_in_the_file_that_this_one_starts_from():
    Path("house.yaml").write_text(with_("time", "12:00:00"))
    assert load("defaults: [house, _self_]\naccount: me\n").stages.train.minutes == 720
    assert load("defaults: [house, _self_]\n", "stages.train.time=43200").stages.train.minutes == 43_200
    text = "defaults: [house, _self_]\nstages: {train: {time: 30:00}}\n"
    assert problems(text)[0].startswith("2:24 stages.train.time: '30:00' is minutes and seconds")


@pytest.mark.parametrize(
    ("memory", "kept", "megabytes_"),
    [
        ("64G", "64G", 65_536),
        ("64g", "64G", 65_536),
        ("64GB", "64G", 65_536),
        ("1T", "1T", 1_048_576),
        ("64000", "64000", 64_000),
        ("64_000", "64000", 64_000),
        ("1500K", "1500K", 2),
        ("0", "0", 0),
    ],
)
def test_memory_in_slurms_words(memory: str, kept: str, megabytes_: int):
    assert load(with_("mem", memory)).stages.train.mem == kept
    assert megabytes(kept) == megabytes_


@pytest.mark.parametrize(
    ("memory", "shown"),
    [
        ("1.5G", "'1.5G' is no amount of memory; "),
        ("64Gi", "'64Gi' is no amount of memory; "),
        ("64 GB", "'64 GB' is no amount of memory; "),
        ("64e3", "64000.0 is no amount of memory; "),
        ("1:30", "'1:30' is no amount of memory; "),
    ],
)
def test_what_is_no_memory(memory: str, shown: str):
    remedy = "give a whole number with K, M, G or T, such as 64G; without a letter it is M"
    assert problems(with_("mem", memory)) == [f"4:44 stages.train.mem: {shown}{remedy}"]


# ---------------------------------------------------------------------------------------------------- other errors


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("acount: me", ["8:1 acount: unknown key; did you mean 'account'?"]),
        ("time: 60", ["8:1 time: unknown key; did you mean 'stages.train.time'?"]),
        ("nodes: 2", ["8:1 nodes: unknown key; did you mean 'stages.train.nodes'?"]),
        (
            "mail_user: me",
            ["8:1 mail_user: unknown key; options of sbatch that have no key of their own go below 'additional_parameters'"],
        ),
        ("account: 123", ["8:10 account: 123 is not text; put it in quotes"]),
        ("setup: module load cuda", ["8:8 setup: 'module load cuda' is not a list, each text; write [module load cuda]"]),
        ("rest: later", ["8:7 rest: 'later' is not one of sweep, job"]),
        ("max_requeues: -1", ["8:15 max_requeues: -1 is negative; give a whole number of 0 or more"]),
        ("env: {A: yes}", ["8:10 env.A: true is not text; put it in quotes"]),
        ("env: {A: }", ["8:9 env.A: empty; give text"]),
        (
            "env: {1A: x}",
            ["8:7 env.1A: '1A' cannot be a name here; use letters, digits and '_', beginning with a letter"],
        ),
        ("container: {runtime: docker, image: x}", ["8:22 container.runtime: 'docker' is not one of pyxis, apptainer"]),
        (
            "additional_parameters: {--nice: 1}",
            ["8:25 additional_parameters.--nice: '--nice' cannot be an option here; use sbatch's long name without the dashes, such as mail_type"],
        ),
        (
            "additional_parameters: {job-name: mine}",
            ["8:25 additional_parameters.job-name: joyctl sets this one itself, to find its jobs again; leave it out"],
        ),
        (
            "additional_parameters: {nice: 1.5, spread_job: false}",
            [
                "8:31 additional_parameters.nice: 1.5 is no value of an option; give text, a number, or true for an option without one",
                "8:48 additional_parameters.spread_job: false is no value of an option; leave the option out",
            ],
        ),
    ],
)  # fmt: skip
def test_one_thing_wrong_in_a_line(line: str, expected: list[str]):
    assert problems(CLUSTER + line + "\n") == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("gpus_per_node: 8", "gpus: 8", "4:21 stages.train.gpus: unknown key; did you mean 'stages.train.gpus_per_node'?"),
        ("score: {time", "scores: {time", "6:3 stages.scores: unknown key; did you mean 'stages.score'?"),
        ("{time: 30}", "{}", "6:3 stages.score.time: missing; give minutes, HH:MM:SS or D-HH:MM:SS: wall time"),
        ("mem: 64G", "mem: 64G, mem_per_gpu: 8G", "4:62 stages.train.mem_per_gpu: 'mem' is given as well; Slurm takes one of them"),
        ("{time: 30}", "{time: 30, mem_per_gpu: 8G}", "6:34 stages.score.mem_per_gpu: there are no GPUs here: 'gpus_per_node' is 0; give 'mem'"),
        ("gpus_per_node: 8", "gpus_per_node: 8, gres: gpu:8", "4:45 stages.train.gres: 'gpus_per_node' is given as well; give one of them"),
        ("gpus_per_node: 1", "nodes: 2", "5:27 stages.eval.nodes: 2; only training can use several nodes"),
        ("score: {time: 30}", "score: {time: 30, processes_per_node: 2}", "6:41 stages.score.processes_per_node: 2; only training and scoring a model (eval) can be several processes"),
        ("grace_s: 60", "grace_s: 3600", "7:17 signal_grace_s: 3600 s leave nothing of stages.train.time, which is 60"),
    ],
)  # fmt: skip
def test_one_thing_wrong_in_the_stages(old: str, new: str, expected: str):
    assert CLUSTER.count(old) == 1
    assert problems(CLUSTER.replace(old, new)) == [expected]


def test_a_contradiction_is_told_at_the_key_that_was_set_last():
    assert problems(CLUSTER, "stages.train.time=1") == [
        "override 'stages.train.time=1': signal_grace_s: 60 s leave nothing of stages.train.time, which is 1"
    ]


def test_numbers_in_the_environment_are_the_text_that_was_written():
    text = CLUSTER + "env: {OMP_NUM_THREADS: 4, FRAMES: 1:30, HOME_DIR: $HOME/x}\n"
    assert load(text).env == {"OMP_NUM_THREADS": "4", "FRAMES": "1:30", "HOME_DIR": "$HOME/x"}


def test_options_of_sbatch_in_either_spelling():
    text = CLUSTER + "additional_parameters: {mail-type: END, nice: 10, spread_job: true}\n"
    assert load(text).additional_parameters == {"mail_type": "END", "nice": 10, "spread_job": True}


def test_what_only_the_cluster_can_show_is_put_at_its_place_too():
    Path("c.yaml").write_text(CLUSTER)
    loaded = load_cluster_file("./c.yaml", ["account=me"])
    assert (
        str(loaded.problem(Finding(("partition",), "no such partition")))
        == "./c.yaml:2:12 partition: no such partition"
    )
    assert str(loaded.problem(Finding(("account",), "unknown"))) == "override 'account=me': unknown"
    # A key that the file does not give stands where its section does.
    assert str(loaded.problem(Finding(("stages", "eval", "nodes"), "too many"))).startswith(
        "./c.yaml:5:3 stages.eval.nodes"
    )


# -------------------------------------------------------------------------------------------- schema and examples


def schema_errors(values: object) -> list[str]:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(cluster_schema())
    return [error.json_path for error in jsonschema.Draft202012Validator(cluster_schema()).iter_errors(values)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"kind": "local"}, ["$"]),  # Slurm's keys are none of this machine's
        ({"kind": "slrum"}, ["$.kind"]),
        ({"partion": "gpu"}, ["$"]),
        ({"rest": "later"}, ["$.rest"]),
        ({"stages": {"train": {"time": "2h"}}}, ["$.stages.train.time"]),
        ({"stages": {"train": {"time": 0}}}, ["$.stages.train.time"]),
        ({"stages": {"train": {"time": "1-00:00:00", "mem": 0}}}, []),
        ({"stages": {"train": {"mem": "64Gi"}}}, ["$.stages.train.mem"]),
        ({"additional_parameters": {"nice": False}}, ["$.additional_parameters.nice"]),
        ({"env": {"OMP_NUM_THREADS": 4}}, []),
        ({"defaults": ["slurm", "_self_"]}, []),
    ],
)
def test_an_editor_marks_what_joyctl_refuses(change: dict[str, Any], expected: list[str]):
    assert schema_errors({**yaml.safe_load(CLUSTER), **change}) == expected


def test_a_file_that_starts_from_another_may_leave_its_kind_to_that():
    assert schema_errors({"defaults": ["slurm", "_self_"], "partition": "gpu"}) == []
    assert schema_errors({"defaults": ["local", "_self_"], "cores": 2}) == []
    assert schema_errors({"defaults": ["local", "_self_"], "cors": 2}) == ["$"]


@pytest.mark.parametrize("name", builtin_names("cluster"))
def test_every_example_loads_and_fits_the_schema(name: str):
    cluster = load_cluster(name)
    text = (builtin_folder("cluster") / f"{name}.yaml").read_text()
    assert schema_errors(yaml.safe_load(text)) == []
    assert isinstance(cluster, SlurmCluster) == (name != "local")


def test_the_examples_are_there():
    assert {"local", "slurm", "h100-8", "preemptible", "apptainer", "test-slurm"} <= set(builtin_names("cluster"))


def every_key(node: object) -> set[str]:
    """The keys of a YAML file at all depths."""
    if isinstance(node, dict):
        return {*map(str, node)}.union(*map(every_key, node.values()))
    return set()


def test_the_file_to_copy_shows_every_key_with_its_default():
    text = (builtin_folder("cluster") / "slurm.yaml").read_text()
    # The container is commented out; it must be right as it stands there.
    shown = re.sub(r"^#  (\w+:)", r"  \1", text.replace("container: null  ", "container:       "), flags=re.MULTILINE)
    keys = {*SlurmCluster.model_fields, *Resources.model_fields, *Container.model_fields}
    assert keys <= every_key(yaml.safe_load(shown))
    container = load(shown).container
    assert container is not None and container.runtime == "apptainer"
    given = load(text)
    assert given == SlurmCluster(kind="slurm", stages=given.stages)
    assert given.stages.score.model_copy(update={"cpus_per_task": None, "mem": None}) == Resources(time="00:30:00")


def test_every_key_of_the_file_to_copy_is_explained():
    text = (builtin_folder("cluster") / "slurm.yaml").read_text()
    obvious = {"kind", "stages", "nodes", "gpus_per_node", "exclusive"}
    seen: set[str] = set()
    for line in text.splitlines():
        found = re.match(r"^#?\s*(?:- )?(\w+):(?:\s|$)", line)
        if found and (line.startswith((" ", "#  ")) or line[0].isalpha()) and found[1] not in seen | obvious:
            seen.add(found[1])
            assert re.search(r"\S\s+# \S", line), line
    assert {"partition", "time", "processes_per_node", "rest", "wckey", "poll_s"} <= seen


TITAN = "torchtitan:\n  parallelism: {tensor_parallel_degree: 2}\n"


def test_torchtitans_settings_have_its_own_names_in_both_kinds():
    found = load(CLUSTER + "torchtitan:\n  activation_checkpoint: {mode: full}\n  compile: {enable: true}\n").torchtitan
    assert found.activation_checkpoint is not None and found.activation_checkpoint.mode == "full"
    assert found.compile.enable and found.compile.components == ("model", "loss")
    Path("here.yaml").write_text("torchtitan:\n  training: {local_batch_size: 2}\ntrackers: [wandb]\n")
    here = load_cluster("./here.yaml")
    assert here.torchtitan.training.local_batch_size == 2 and here.trackers == ("wandb",)


@pytest.mark.parametrize(
    ("parallelism", "shards", "ranks"),
    [("{}", 8, 8), ("{data_parallel_replicate_degree: 2}", 4, 8), ("{tensor_parallel_degree: 4}", 2, 2)],
)
def test_shards_take_what_is_left(parallelism: str, shards: int, ranks: int):
    cluster = load(f"{CLUSTER}torchtitan:\n  parallelism: {parallelism}\n")
    assert cluster.torchtitan.shards(cluster.training_processes) == shards
    assert cluster.torchtitan.data_parallel(cluster.training_processes) == ranks


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            "parallelism: {tensor_parallel_degree: 3}",
            "9:41 torchtitan.parallelism.tensor_parallel_degree: degrees 1 x 3 need a multiple of 3 processes; a training has 8 (stages.train of the cluster file: nodes x processes_per_node)",
        ),
        (
            "parallelism: {data_parallel_replicate_degree: 2, data_parallel_shard_degree: 2}",
            "9:49 torchtitan.parallelism.data_parallel_replicate_degree: degrees 2 x 2 x 1 need 4 processes; a training has 8 (stages.train of the cluster file: nodes x processes_per_node)",
        ),
        (
            "parallelism: {pipeline_parallel_degree: 2}",
            "9:43 torchtitan.parallelism.pipeline_parallel_degree: 2; pipeline parallelism is not supported: joyctl's model cannot be cut into stages; give 1",
        ),
        (
            "parallelism: {context_parallel_degree: 2}",
            "9:42 torchtitan.parallelism.context_parallel_degree: 2; context parallelism is not supported: joyctl's rows carry no positions, which it needs; give 1",
        ),
        (
            "parallelism: {data_parallel_shard_degree: 0}",
            "9:45 torchtitan.parallelism.data_parallel_shard_degree: 0 processes; give -1 for all that are left, or a number of 1 or more",
        ),
        (
            "activation_checkpoint: {mode: ful}",
            "9:33 torchtitan.activation_checkpoint.mode: 'ful' is not one of none, selective, full; did you mean 'full'?",
        ),
        (
            "compile: {enable_async_tensor_parallel: true}",
            "9:43 torchtitan.compile.enable_async_tensor_parallel: needs 'compile.enable' with component 'model', and 'tensor_parallel_degree' above 1",
        ),
        (
            "parallelism: {tensor_paralel_degree: 2}",
            "9:17 torchtitan.parallelism.tensor_paralel_degree: unknown key; did you mean 'torchtitan.parallelism.tensor_parallel_degree'?",
        ),
    ],
)
def test_what_contradicts_in_torchtitans_settings_is_told_at_its_place(settings: str, expected: str):
    assert problems(f"{CLUSTER}torchtitan:\n  {settings}\n") == [expected]


def test_on_this_machine_a_training_is_one_process():
    [said] = problems(TITAN, "kind=local")
    assert said.endswith("need a multiple of 2 processes; a training has 1 (on this machine a training is one process)")


@pytest.mark.parametrize(
    ("settings", "changes", "expected"),
    [
        ("parallelism: {tensor_parallel_degree: 8}", {}, "8 does not divide the recipe's model.n_heads, which is 4"),
        (
            "parallelism: {tensor_parallel_degree: 4}",
            {},
            "4 does not divide the recipe's model.n_kv_heads, which is 2",
        ),
        ("training: {local_batch_size: 3}", {}, "3 does not divide the 1 rows that each process has of a step"),
        (
            "parallelism: {}",
            {"training.batch_size": 12},
            "the recipe's training.batch_size, 12 rows a step, cannot be shared evenly by 8 training processes (stages.train of the cluster file: nodes x processes_per_node)",
        ),
    ],
)
def test_what_a_recipe_does_not_bear_is_told_at_the_cluster_files_line(
    settings: str, changes: dict[str, Any], expected: str
):
    Path("c.yaml").write_text(f"{CLUSTER}torchtitan:\n  {settings}\n")
    overrides = ["model.n_kv_heads=2", *(f"{key}={value}" for key, value in changes.items())]
    with pytest.raises(RecipeError) as caught:
        require_fit(load_cluster_file("./c.yaml"), [load_recipe("tiny", overrides)])
    [problem] = caught.value.problems
    assert problem.where.startswith("./c.yaml:") and problem.message == expected


def test_what_fits_is_let_pass():
    Path("c.yaml").write_text(f"{CLUSTER}{TITAN}")
    require_fit(load_cluster_file("./c.yaml"), [load_recipe("tiny", ["model.n_kv_heads=2"])])


def test_a_tracker_that_is_not_installed_is_said_with_the_command_unless_jobs_run_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(fitting, "find_spec", lambda name: None)
    Path("c.yaml").write_text(f"{CLUSTER}trackers: [wandb, trackio]\n")
    with pytest.raises(Missing, match=r"not installed: wandb, trackio\n.*pip install 'joyctl\[trackers\]'") as caught:
        require_trackers(load_cluster_file("./c.yaml"))
    assert caught.value.exit_code == 6
    require_trackers(load_cluster_file("./c.yaml", ["python=/opt/python"]))
