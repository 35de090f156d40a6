"""The data folder as others read it: transformers, torchtitan and lm-eval, all offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from recipes_for_tests import recipe

from joyctl.data.build import build
from joyctl.data.folder import DataFolder
from joyctl.data.world import facts

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    return build(recipe(), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def tokenizer(folder: DataFolder) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder.path / "tokenizer")


@pytest.fixture(scope="module")
def tasks(folder: DataFolder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every leaf task by name, loaded as the `lm_eval` command line loads them."""
    import datasets
    from lm_eval.tasks import TaskManager

    patch = pytest.MonkeyPatch()
    patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
    manager = TaskManager(include_path=str(folder.path / "tasks"), include_defaults=False)
    names = [
        "micro_mc",
        "micro_math",
        "micro_code",
        "general_cloze",
        "general_next",
        *(f"heldout_{source}" for source in folder.sources),
    ]
    loaded: dict[str, Any] = manager.load(names)["tasks"]
    patch.undo()
    return loaded


class TestTokenizer:
    def test_has_1024_entries_and_the_two_special_ones(self, tokenizer: Any, folder: DataFolder) -> None:
        assert len(tokenizer) == folder.vocab_size == 1024
        assert tokenizer.is_fast
        assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|begin_of_text|>", "<|end_of_text|>")

    def test_gives_every_text_back(self, tokenizer: Any, folder: DataFolder) -> None:
        lines = (folder.path / "sources" / "code" / "heldout.jsonl").open()
        for text in [*(json.loads(line)["text"] for line in lines), "naïve — 12\t34\r\n  ✓"]:
            assert tokenizer.decode(tokenizer.encode(text)) == text

    def test_names_of_the_closed_world_are_one_token(self, tokenizer: Any) -> None:
        assert all(len(tokenizer.encode(" " + name)) == 1 for name in facts.vocabulary(1))

    def test_digits_and_newlines_stand_alone(self, tokenizer: Any) -> None:
        pieces = [tokenizer.decode([i]) for i in tokenizer.encode("a 12 = 345\n\n####")]
        assert [p for p in pieces if any(c in p for c in "0123456789\n")] == [" 1", "2", " 3", "4", "5", "\n", "\n"]

    def test_a_prompt_ends_as_in_training(self, tokenizer: Any, folder: DataFolder) -> None:
        """The tokens of a prompt are the first tokens of prompt and answer: no token reaches over the border."""
        for file, prompt, answer in (
            ("math", lambda d: f"Question: {d['question']}\nAnswer:", lambda d: f" {d['answer']}"),
            ("code", lambda d: d["prompt"], lambda d: d["canonical_solution"]),
            ("mc_history", lambda d: f"Question: {d['question']}\nAnswer:", lambda d: f" {d['choices'][0]}"),
            ("general_cloze", lambda d: d["text"], lambda d: d["choices"][0]),
            ("general_next", lambda d: d["text"], lambda d: d["choices"][0]),
        ):
            for item in map(json.loads, (folder.path / "tasks" / f"{file}.jsonl").open()):
                head = tokenizer.encode(prompt(item))
                assert tokenizer.encode(prompt(item) + answer(item))[: len(head)] == head

    def test_adds_no_bos_of_its_own(self, tokenizer: Any) -> None:
        """lm-eval puts BOS before a document whose whole loss it takes. A tokenizer that added one as well would
        have the model predict BOS after BOS, which no training row ever shows."""
        assert tokenizer.bos_token_id not in tokenizer.encode("Once")

    def test_loads_in_torchtitan(self, tokenizer: Any, folder: DataFolder) -> None:
        from torchtitan.components.tokenizer import HuggingFaceTokenizer

        other = HuggingFaceTokenizer(tokenizer_path=str(folder.path / "tokenizer"))
        assert (other.bos_id, other.eos_id) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
        assert other.get_vocab_size() == 1024
        text = "Question: Tom has 12 pens."
        assert other.encode(text, add_bos=False, add_eos=False) == tokenizer.encode(text)


class TestTasks:
    def test_all_load_offline_with_their_documents(self, tasks: dict[str, Any]) -> None:
        assert {name: len(task.test_docs()) for name, task in tasks.items()} == {
            **{f"micro_mc_{subject}": 100 for subject in facts.SUBJECTS},
            "micro_math": 400,
            "micro_code": 164,
            "general_cloze": 240,
            "general_next": 300,
            **{f"heldout_{source}": 240 for source in ("web", "math", "code", "facts")},
        }

    def test_math_asks_scores_and_filters_as_gsm8k(self, tasks: dict[str, Any]) -> None:
        ours, theirs = tasks["micro_math"].config, _stock("gsm8k/gsm8k.yaml")
        for key in ("output_type", "doc_to_text", "doc_to_target", "filter_list"):
            assert getattr(ours, key) == theirs[key]
        assert ours.metric_list == theirs["metric_list"]
        doc = tasks["micro_math"].test_docs()[0]
        resps = [" So it is.\n#### {n}", " I think {n}"]
        n = doc["answer"].split("#### ")[1]
        found = [_filtered(tasks["micro_math"], doc, text.format(n=n)) for text in resps]
        assert found == [
            {"strict-match": 1.0, "flexible-extract": 1.0},
            {"strict-match": 0.0, "flexible-extract": 1.0},
        ]
        assert _filtered(tasks["micro_math"], doc, " #### 99") == {"strict-match": 0.0, "flexible-extract": 0.0}

    def test_code_asks_and_stops_as_humaneval(self, tasks: dict[str, Any]) -> None:
        ours, theirs = tasks["micro_code"].config, _stock("humaneval/humaneval.yaml")
        for key in ("output_type", "doc_to_text", "doc_to_target"):
            assert getattr(ours, key) == theirs[key]
        assert ours.generation_kwargs["until"] == theirs["generation_kwargs"]["until"]
        assert [f["name"] for f in ours.filter_list] == ["create_test"]
        assert not ours.unsafe_code  # runs in the sandbox, so the stock command needs no leave

    def test_mc_asks_as_mmlu_continuation(self, tasks: dict[str, Any]) -> None:
        theirs = _stock("mmlu/continuation/_continuation_template_yaml")
        for subject in facts.SUBJECTS:
            ours = tasks[f"micro_mc_{subject}"].config
            for key in ("output_type", "doc_to_text", "doc_to_choice", "doc_to_target"):
                assert getattr(ours, key) == theirs[key]

    def test_held_out_loss_is_bits_per_byte(self, tasks: dict[str, Any]) -> None:
        task = tasks["heldout_web"]
        doc = task.test_docs()[0]
        assert task.doc_to_target(doc) == doc["text"]
        assert task.process_results(doc, [-10.0]) == {"bits_per_byte": (-10.0, len(doc["text"].encode()))}
        assert task.higher_is_better() == {"bits_per_byte": False}

    @pytest.mark.parametrize("name", ["general_cloze", "general_next"])
    def test_general_choices_go_on_in_the_text(self, tasks: dict[str, Any], folder: DataFolder, name: str) -> None:
        """What lm-eval puts together for the right choice is how a held-out document begins, byte for byte."""
        heldout = [json.loads(line)["text"] for line in (folder.path / "sources/web/heldout.jsonl").open()]
        task = tasks[name]
        for doc in task.test_docs():
            choices = task.doc_to_choice(doc)
            text = task.doc_to_text(doc) + task.config.target_delimiter + choices[task.doc_to_target(doc)]
            assert heldout[int(doc["cluster"].removeprefix("web-"))].startswith(text)
            assert choices == doc["choices"]

    def test_every_item_names_its_cluster(self, tasks: dict[str, Any]) -> None:
        for name, task in tasks.items():
            if not name.startswith("heldout"):
                assert all(isinstance(doc["cluster"], str) for doc in task.test_docs())


def _stock(name: str) -> dict[str, Any]:
    """A task file of lm-eval's own, its functions left out."""
    import lm_eval.tasks
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: node.value)
    text = (Path(lm_eval.tasks.__file__).parent / name).read_text()
    found: dict[str, Any] = yaml.load(text, Loader)
    return found


def _filtered(task: Any, doc: dict[str, Any], response: str) -> dict[str, float]:
    """exact_match by filter, as lm-eval computes it from a response."""
    from lm_eval.api.instance import Instance

    instance = Instance("generate_until", doc, ("", {}), 0, metadata=("micro_math", 0, 1))
    instance.resps = [response]
    for ensemble in task._filters:
        ensemble.apply([instance])
    return {name: task.process_results(doc, [value])["exact_match"] for name, value in instance.filtered_resps.items()}
