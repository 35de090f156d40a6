"""Jobs become arrays: equal needs together, the graph in Slurm's dependencies, nothing twice and nothing lost."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from joyctl.campaign.compare import Job
from joyctl.launch.slurm.groups import Place, Want, affordable, arrays, chain_length, wants
from joyctl.launch.slurm.ledger import Manifest

TRUNK = Job("trunk/s0/0-80", "train", (), 80)
TAIL = Job("trunk/s0/80-100", "train", (("trunk/s0/0-80", "train"),), 20)


def run(name: str, *, trains_after: str | None, scores_of: str | None = None) -> list[Job]:
    """The jobs of one run: training (unless it scores another folder's), export, eval, score."""
    folder = f"runs/{name}"
    jobs = []
    trained = scores_of or folder
    if trains_after:
        jobs.append(Job(folder, "train", ((trains_after, "train"),), 20))
    jobs.append(Job(folder, "export", ((trained, "train"),), 0))
    jobs.append(Job(folder, "eval", ((folder, "export"),), 0))
    jobs.append(Job(folder, "score", ((folder, "eval"),), 0))
    return jobs


CAMPAIGN = [
    TRUNK,
    TAIL,
    *run("control/s0", trains_after=None, scores_of=TAIL.folder),
    *run("up/s0", trains_after=TRUNK.folder),
    *run("up/s1", trains_after=TRUNK.folder),
    *run("drop/s0", trains_after=TRUNK.folder),
]


def draw(wanted: list[Want], live: dict | None = None, max_size: int = 1000) -> list[Manifest]:  # type: ignore[type-arg]
    return arrays(wanted, live or {}, campaign="small", identity={"folder": "/x"}, wave=1, code="c", max_size=max_size)


def shape(made: list[Manifest]) -> list[tuple[str, int, str | None]]:
    """(kind, jobs, dependency) with the arrays numbered in place of their names."""
    number = {m.name: str(i) for i, m in enumerate(made)}

    def short(dependency: str | None) -> str | None:
        for name, n in number.items():
            dependency = dependency and dependency.replace(name, n)
        return dependency

    return [(m.kind, len(m.elements), short(m.dependency)) for m in made]


def test_one_array_for_each_group_of_equal_needs() -> None:
    assert shape(draw(wants(CAMPAIGN, {}))) == [
        ("train", 1, None),  # the trunk
        ("train", 4, "afterok:0_0"),  # the three branches of its end, and its own tail
        ("eval", 4, "aftercorr:1"),
        ("score", 4, "aftercorr:2"),
    ]


def test_scoring_follows_each_training_by_itself() -> None:
    made = draw(wants(CAMPAIGN, {}))
    branches, evals, scores = made[1], made[2], made[3]
    assert evals.dependency == f"aftercorr:{branches.name}" and scores.dependency == f"aftercorr:{evals.name}"
    for index, element in evals.elements.items():
        assert element.stages == ("export", "eval")
        trained = branches.elements[index].folder
        assert element.folder == trained or (element.folder == "runs/control/s0" and trained == TAIL.folder)
        assert scores.elements[index].folder == element.folder


def test_runs_that_share_one_training_wait_for_its_job() -> None:
    twins = [*CAMPAIGN, *run("same/s0", trains_after=None, scores_of="runs/up/s0")]
    made = draw(wants(twins, {}))
    shared = [m for m in made if m.kind == "eval" and m.dependency and m.dependency.startswith("afterok:")]
    assert [sorted(e.folder for e in m.elements.values()) for m in shared] == [["runs/same/s0", "runs/up/s0"]]


def test_what_is_in_the_queue_is_waited_for_and_not_submitted_again() -> None:
    live: dict = {("trunk/s0/0-80", "train"): ("small-old", 0)}  # type: ignore[type-arg]
    wanted = wants(CAMPAIGN, live)
    assert ("trunk/s0/0-80", "train") not in {want.element.key for want in wanted}
    made = draw(wanted, live)
    assert made[0].dependency == "afterok:small-old_0"


def test_nodes_that_failed_a_run_put_it_into_an_array_of_its_own() -> None:
    wanted = wants(CAMPAIGN, {}, exclude=lambda key: ("n7",) if key == ("runs/up/s1", "train") else ())
    made = draw(wanted)
    assert [(m.exclude, [e.folder for e in m.elements.values()]) for m in made if m.exclude] == [
        (("n7",), ["runs/up/s1"])
    ]


def test_training_longer_than_a_job_is_a_chain() -> None:
    wanted = wants(CAMPAIGN, {}, parts=lambda job: 3 if job.folder == TRUNK.folder else 1)
    made = draw(wanted)
    chain = [m for m in made if TRUNK.folder in {e.folder for e in m.elements.values()}]
    assert [(m.elements[0].part, m.elements[0].parts) for m in chain] == [(1, 3), (2, 3), (3, 3)]
    assert [m.dependency for m in chain] == [None, f"aftercorr:{chain[0].name}", f"aftercorr:{chain[1].name}"]
    branches = next(m for m in made if len(m.elements) == 4)
    assert branches.dependency == f"afterok:{chain[2].name}_0"


def test_how_long_a_chain_is() -> None:
    assert chain_length(3600, limit_minutes=120, grace_s=120) == 1
    assert chain_length(24 * 3600, limit_minutes=12 * 60, grace_s=120) == 3, "each job loses saving and loading"


def test_arrays_are_cut_at_the_largest_index_slurm_takes() -> None:
    jobs = [TRUNK]
    for i in range(7):
        jobs += run(f"up/s{i}", trains_after=TRUNK.folder)
    made = draw(wants(jobs, {}), max_size=3)
    assert all(max(m.elements) < 3 for m in made)
    assert sorted(len(m.elements) for m in made if m.kind == "train") == [1, 1, 3, 3]
    assert Counter(m.kind for m in made) == {"train": 4, "eval": 3, "score": 3}


def test_names_differ_between_waves_and_campaigns() -> None:
    wanted = wants(CAMPAIGN, {})
    names = set()
    for folder, wave in (("/x", 1), ("/x", 2), ("/y", 1)):
        made = arrays(wanted, {}, campaign="small", identity={"folder": folder}, wave=wave, code="c", max_size=1000)
        names |= {m.name for m in made}
    assert len(names) == 3 * 4 and all(name.startswith("small-") for name in names)


@given(st.integers(1, 30), st.integers(1, 5), st.integers(2, 7))
def test_a_limit_takes_whole_runs_first_and_nothing_without_what_it_needs(most: int, runs: int, size: int) -> None:
    jobs = [TRUNK]
    for i in range(runs):
        jobs += run(f"up/s{i}", trains_after=TRUNK.folder)
    wanted = wants(jobs, {})
    chosen = affordable(wanted, most)
    assert len(chosen) == min(most, len(wanted))
    keys = {want.key for want in chosen}
    assert all(want.need is None or want.need in keys for want in chosen)
    trained = [w.element.folder for w in chosen if w.kind == "train" and w.element.folder.startswith("runs/")]
    scored = [w.element.folder for w in chosen if w.kind == "score"]
    assert len(trained) - len(scored) <= 1, "at most one run is begun and not to be finished in this wave"
    # Every job stands in one array, at one index, after the array that it waits for.
    places: dict[tuple[str, str], Place] = {}
    seen: set[str] = set()
    for m in draw(chosen, max_size=size):
        on = m.dependency.partition(":")[2] if m.dependency else None
        assert on is None or on in seen or on.rpartition("_")[0] in seen
        seen.add(m.name)
        for index, element in m.elements.items():
            assert element.key not in places and index < size
            places[element.key] = (m.name, index)
    assert len(places) == len(chosen)
