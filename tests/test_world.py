"""The micro-world: what its sources say, and that its benchmarks are fair and apart from training."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest

from joyctl.data.world import code, corpus, facts, math

SEED = 5


@pytest.fixture(scope="module")
def world() -> corpus.Corpus:
    return corpus.generate(SEED)


def test_equal_seeds_give_equal_worlds_and_others_do_not(world: corpus.Corpus) -> None:
    assert corpus.generate(SEED) == world
    other = corpus.generate(SEED + 1)
    for source in corpus.SOURCES:
        assert len(set(other.heldout[source]) & set(world.heldout[source])) < corpus.HELD_OUT // 4
    assert not set(facts.entities(SEED)["history"]) >= set(facts.entities(SEED + 1)["history"])


def test_a_leaked_test_item_is_noticed(world: corpus.Corpus) -> None:
    for item in (world.math[0]["question"], world.code[0]["prompt"], world.mc["history"][0]["question"]):
        web = [*world.train["web"], f"So they said.\n{item}\nNobody knew."]
        with pytest.raises(AssertionError, match="test item"):
            corpus.check_disjoint(replace(world, train={**world.train, "web": web}))


def test_a_held_out_text_in_training_is_noticed(world: corpus.Corpus) -> None:
    web = [*world.train["web"], world.heldout["web"][3]]
    with pytest.raises(AssertionError, match="held-out"):
        corpus.check_disjoint(replace(world, train={**world.train, "web": web}))


def test_held_out_texts_are_many_distinct_and_small(world: corpus.Corpus) -> None:
    for source in corpus.SOURCES:
        assert len(set(world.heldout[source])) == corpus.HELD_OUT >= 200
        assert not set(world.heldout[source]) & set(world.train[source])
    total = sum(len(text.encode()) for texts in world.heldout.values() for text in texts)
    assert 100_000 < total < 200_000


def test_web_teaches_nothing_of_the_other_sources(world: corpus.Corpus) -> None:
    web = "\n".join(world.train["web"])
    words = set(re.findall(r"[A-Za-z]+", web.lower()))
    assert not words & {name.lower() for group in facts.entities(SEED).values() for name in group}
    assert not re.search(r"Question|Answer|####|\bdef\b|\d\D{0,3}[-+=*]", web)


def test_web_has_a_long_tail(world: corpus.Corpus) -> None:
    counts = Counter(re.findall(r"[A-Za-z]+", " ".join(world.train["web"])))
    assert len(counts) > 2_000
    assert len(set(world.train["web"])) == len(world.train["web"])
    assert sum(n for _, n in counts.most_common(100)) < 0.6 * counts.total()


class TestMath:
    def test_shape_is_gsm8k(self, world: corpus.Corpus) -> None:
        for item in world.math:
            assert set(item) == {"question", "answer", "cluster"}
            assert re.search(r"\n#### \d+$", str(item["answer"]))

    def test_answers_are_right(self, world: corpus.Corpus) -> None:
        for item in world.math:
            steps = re.findall(r"(\d+) ([+-]) (\d+) = (\d+)", str(item["answer"]))
            assert steps
            for x, operator, y, z in steps:
                assert int(x) + (int(y) if operator == "+" else -int(y)) == int(z)
            assert str(item["answer"]).endswith(f"#### {steps[-1][3]}")

    def test_a_constant_answer_scores_one_in_ten(self, world: corpus.Corpus) -> None:
        counts = Counter(str(item["answer"]).split("#### ")[1] for item in world.math)
        assert len(world.math) == 400 and max(counts.values()) <= 0.1 * 400

    def test_there_are_many_problems_and_no_question_comes_twice(self, world: corpus.Corpus) -> None:
        assert len({item["cluster"] for item in world.math}) == 200
        assert len({item["question"] for item in world.math}) == len(world.math)

    def test_no_test_problem_is_trained_on_in_any_dress(self, world: corpus.Corpus) -> None:
        def undressed(question: str) -> str:
            question = re.sub(r"\b(" + "|".join(math.ITEMS) + r")\b", "things", question)
            names: dict[str, str] = {}
            return re.sub(r"\b[A-Z][a-z]{2}\b(?<!How)", lambda m: names.setdefault(m[0], f"N{len(names)}"), question)

        asked = {undressed(str(item["question"])) for item in world.math}
        trained = {undressed(text.split("\n")[0].removeprefix("Question: ")) for text in world.train["math"]}
        assert len(asked) == 200 and len(trained) > 350 and not asked & trained


class TestCode:
    def test_shape_is_humaneval(self, world: corpus.Corpus) -> None:
        assert [item["task_id"] for item in world.code] == [f"Micro/{i}" for i in range(164)]
        columns = {"task_id", "prompt", "canonical_solution", "entry_point", "test", "cluster"}
        assert all(set(item) == columns for item in world.code)
        assert len({item["cluster"] for item in world.code}) == 164

    def test_canonical_solutions_pass_and_others_do_not(self, world: corpus.Corpus) -> None:
        def passes(item: dict[str, object], body: str) -> bool:
            names: dict[str, object] = {}
            try:
                exec(f"{item['prompt']}{body}\n{item['test']}\ncheck({item['entry_point']})\n", names)
            except (AssertionError, TypeError, ValueError, IndexError):
                return False
            return True

        solved = [str(item["canonical_solution"]) for item in world.code]
        assert all(passes(item, body) for item, body in zip(world.code, solved, strict=True))
        assert not any(passes(item, "    return None\n") for item in world.code)
        # Another task's solution, with this task's argument: as good as never right.
        borrowed = [
            re.sub(r"\bin \w+", f"in {re.search(r'[(](.*)[)]', str(item['prompt']))[1]}", solved[i - 1])  # type: ignore[index]
            for i, item in enumerate(world.code)
        ]
        assert sum(passes(item, body) for item, body in zip(world.code, borrowed, strict=True)) <= 8

    def test_no_test_function_is_trained_on_under_any_argument(self, world: corpus.Corpus) -> None:
        def undressed(text: str) -> str:
            argument = re.search(r"\((\w+)\)", text)
            return re.sub(rf"\b{argument[1]}\b", "ARG", text.split('."""')[0]) if argument else text

        asked = {undressed(str(item["prompt"])) for item in world.code}
        trained = {undressed(text) for text in world.train["code"]}
        assert len(asked) == 164 and not asked & trained

    def test_every_aggregate_and_selection_is_both_trained_and_tested(self) -> None:
        train, test = code.split(SEED)
        pairs = {f.name for f in train}
        assert pairs == {f.name for f in test} and len(pairs) == 36


class TestFacts:
    def test_shape_is_mmlu_with_four_subjects_of_a_hundred(self, world: corpus.Corpus) -> None:
        assert {subject: len(rows) for subject, rows in world.mc.items()} == dict.fromkeys(facts.SUBJECTS, 100)
        for subject, rows in world.mc.items():
            for row in rows:
                assert row["subject"] == row["cluster"] == subject
                assert len(set(row["choices"])) == 4  # type: ignore[call-overload]

    def test_a_constant_position_scores_a_quarter(self, world: corpus.Corpus) -> None:
        for rows in world.mc.values():
            assert Counter(row["answer"] for row in rows) == dict.fromkeys(range(4), 25)

    def test_a_favourite_value_scores_a_quarter(self, world: corpus.Corpus) -> None:
        """However a value is preferred, it is right in about a quarter of the items that offer it."""
        unasked = [f for f in facts.world(SEED) if not f.asked]
        assert set(Counter((f.sort, f.subject) for f in unasked).values()) == {20}
        place = {value: s for f in unasked for s, value in enumerate(f.about.values)}
        shown, right = Counter[int](), Counter[int]()
        for row in (row for rows in world.mc.values() for row in rows):
            choices = [place[str(choice)] for choice in row["choices"]]  # type: ignore[attr-defined]
            shown.update(choices)
            right[choices[row["answer"]]] += 1  # type: ignore[call-overload]
        assert all(right[s] / shown[s] == pytest.approx(0.25, abs=0.04) for s in range(5))

    def test_the_benchmark_asks_only_what_training_never_asks(self, world: corpus.Corpus) -> None:
        trained = {line for text in world.train["facts"] for line in text.split("\n") if line.startswith("Question:")}
        asked = {f"Question: {row['question']}" for rows in world.mc.values() for row in rows}
        assert len(trained) > 300 and len(asked) == 400 and not asked & trained

    def test_what_the_benchmark_asks_is_told_in_prose(self, world: corpus.Corpus) -> None:
        prose = "\n".join(text for text in world.train["facts"] if "Question" not in text)
        unasked = [fact for fact in facts.world(SEED) if not fact.asked]
        told = sum(any(form.format(e=f.entity, v=f.value) in prose for form in f.about.prose) for f in unasked)
        assert told == len(unasked) == 400

    def test_the_hidden_sort_fixes_an_entitys_values(self) -> None:
        by_entity: dict[str, set[int]] = {}
        for fact in facts.world(SEED):
            by_entity.setdefault(fact.entity, set()).add(fact.about.values.index(fact.value))
        assert len(by_entity) == 160 and all(len(sorts) == 1 for sorts in by_entity.values())


def test_distractors_come_in_every_distance_equally_often() -> None:
    distances = Counter((d - 3) % 5 for i in range(4) for d in facts._distractors(3, i))
    assert distances == dict.fromkeys(range(1, 5), 3)
