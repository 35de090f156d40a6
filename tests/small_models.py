"""Small models of several families as Hugging Face folders, random or trained a little, with a tokenizer of their own.

Texts are the corpora of $JOYCTL_BENCH_DATA; nothing of them is kept but the vocabulary and the weights.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

WHERE = os.environ.get("JOYCTL_BENCH_DATA")
needs_bench_data = pytest.mark.skipif(
    not WHERE, reason="needs bench data: set JOYCTL_BENCH_DATA to a folder with bench/ and corpora/"
)
BOS, EOS = "<|begin|>", "<|end|>"
FAMILIES = ("llama", "gpt_neox", "qwen2", "gpt2")


def bench_data() -> Path:
    """The folder of benchmark datasets, laid out as <folder>/<dataset path>."""
    assert WHERE is not None
    return Path(WHERE).resolve() / "bench"


@dataclass(frozen=True)
class Shape:
    """Sizes of a model; two layers of width 64 score in a blink."""

    layers: int = 2
    width: int = 64
    heads: int = 4
    context: int = 8192
    """Longer than any prompt of MMLU with the vocabulary here."""
    spread: float = 0.08
    """Standard deviation of the initial weights: large enough that log-probabilities differ from item to item, small
    enough that rounding does not grow from layer to layer."""


def make_tokenizer(
    folder: Path, *, vocabulary: int = 4096, bos: bool = False, sample: Iterable[str] | None = None
) -> Path:
    """A byte-level BPE into `folder`, trained on `sample` or else on 2 MB of the corpora.

    With `bos` every text starts with a token, as Llama's do.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[BOS, EOS],
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    made.train_from_iterator(texts(2.0) if sample is None else sample, trainer)
    if bos:
        made.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, 0)])
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": EOS,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def make_model(
    folder: Path, tokenizer: Path, *, family: str = "llama", seed: int = 0, shape: Shape | None = None
) -> Path:
    """A random model of a family with the tokenizer in `tokenizer`, in float32."""
    import torch

    torch.manual_seed(seed)
    return _save(_build(family, _vocabulary(tokenizer), shape or Shape()), tokenizer, folder)


def make_trained_model(folder: Path, tokenizer: Path, *, steps: int = 150, seed: int = 0) -> Path:
    """A llama that has read some hundred thousand tokens of prose, worked problems and multiple choice."""
    import torch
    import transformers

    torch.manual_seed(seed)
    torch.set_num_threads(1)  # matrices this small are slower with more
    reader = transformers.AutoTokenizer.from_pretrained(tokenizer)
    model: Any = _build("llama", _vocabulary(tokenizer), Shape(layers=2, width=96, spread=0.02))
    rows, length = 16, 128
    tokens: list[int] = []
    for text in _interleaved():
        tokens += [*reader(text)["input_ids"], reader.eos_token_id]
        if len(tokens) > steps * rows * length:
            break
    # Where the texts end before the steps do, they are read again.
    batches = torch.tensor(tokens[: len(tokens) // (rows * length) * rows * length]).view(-1, rows, length)
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for step in range(steps):
        batch = batches[step % len(batches)]
        optimizer.zero_grad()
        model(batch, labels=batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return _save(model, tokenizer, folder)


def with_context(model: Path, folder: Path, context: int) -> Path:
    """The same weights with another longest length."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    config["n_positions" if config["model_type"] == "gpt2" else "max_position_embeddings"] = context
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def texts(megabytes: float) -> Iterator[str]:
    """A sample of the corpora, the same share of each."""
    assert WHERE is not None
    left = megabytes * 1e6
    files = sorted(p for p in (Path(WHERE) / "corpora").rglob("*") if p.suffix in (".txt", ".jsonl"))
    share = left / len(files)
    for path in files:
        taken = 0
        for text in _lines(path):
            if taken > share:
                break
            yield text
            taken += len(text)


def _interleaved() -> Iterator[str]:
    """Multiple choice, worked problems and prose by turns."""
    assert WHERE is not None
    corpora = Path(WHERE) / "corpora"
    problems = _problems(bench_data() / "openai/gsm8k/main/train.jsonl")
    prose = (text[:1500] for text in texts(3.0))
    for several in zip(_choices(corpora / "flan_cot/aqua.jsonl"), problems, prose, strict=False):
        yield from several


def _choices(path: Path) -> Iterator[str]:
    """Questions in MMLU's form, three to a text so that a letter follows other letters."""
    form = re.compile(r"Question: (.*)\nOptions:\n\(A\) (.*)\n\(B\) (.*)\n\(C\) (.*)\n\(D\) (.*)\n\(E\)", re.DOTALL)
    asked: list[str] = []
    for text in _lines(path):
        found, answer = form.match(text), text[-3]
        if found is None or answer not in "ABCD":
            continue
        options = "".join(f"\n{letter}. {option}" for letter, option in zip("ABCD", found.groups()[1:], strict=True))
        asked.append(f"{found[1]}{options}\nAnswer: {answer}")
        if len(asked) == 3:
            yield "\n\n".join(asked)
            asked = []


def _problems(path: Path) -> Iterator[str]:
    for line in path.open(encoding="utf-8"):
        item = json.loads(line)
        work, _, answer = item["answer"].rpartition("\n#### ")
        yield f"Q: {item['question']}\nA: {work} The answer is {answer}."


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)["text"] if path.suffix == ".jsonl" else line


def _vocabulary(tokenizer: Path) -> int:
    found = json.loads((tokenizer / "tokenizer.json").read_text())
    return max([*found["model"]["vocab"].values(), *(token["id"] for token in found["added_tokens"])]) + 1


def _build(family: str, vocabulary: int, shape: Shape) -> Any:
    import transformers

    common = {"vocab_size": vocabulary, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    usual = {
        **common,
        "hidden_size": shape.width,
        "intermediate_size": 2 * shape.width,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "max_position_embeddings": shape.context,
        "initializer_range": shape.spread,
        "tie_word_embeddings": False,
    }
    grouped = {**usual, "num_key_value_heads": shape.heads // 2}
    if family == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**grouped))
    if family == "qwen2":
        return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**grouped))
    if family == "gpt_neox":
        return transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**usual))
    if family == "gpt2":
        learned = {"n_embd": shape.width, "n_layer": shape.layers, "n_head": shape.heads, "n_positions": shape.context}
        settings = {**common, **learned, "initializer_range": shape.spread}
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(**settings))
    raise ValueError(f"no family {family}; there are {', '.join(FAMILIES)}")


def _save(model: Any, tokenizer: Path, folder: Path) -> Path:
    model.save_pretrained(folder)
    for path in tokenizer.glob("tokenizer*.json"):
        shutil.copy(path, folder)
    return folder
