"""A data folder of a few dozen items in the real task files, and a small model that learned half of them right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from joyctl.campaign.spec import EvalSpec
from joyctl.data.world import tokenizer as bpe
from joyctl.data.world.tasks import refresh_tasks

COLOURS = ["red", "blue", "green", "black"]
SUBJECTS = {
    "animals": ["fox", "owl", "cat", "hen", "bee", "elk"],
    "metals": ["tin", "zinc", "iron", "lead", "gold", "brass"],
}
TASKS = [
    {"task": "micro_mc"},
    {"task": "micro_math", "gold": " {{answer}}"},
    {"task": "micro_code", "gold": "{{canonical_solution}}", "runs_code": True},
]
NAMES = ["Tom", "Mia", "Sam", "Ana"]


def mc_items(subject: str) -> list[dict[str, object]]:
    return [
        {"question": f"What colour is the {thing}?", "subject": subject, "choices": COLOURS, "answer": i % 4}
        for i, thing in enumerate(SUBJECTS[subject])
    ]


def math_items() -> list[dict[str, object]]:
    return [
        {
            "question": f"{NAMES[i % 4]} has {i} pens and buys {i + 2}. How many pens?",
            "answer": f"{i} + {i + 2} = {2 * i + 2} pens.\n#### {2 * i + 2}",
            "cluster": f"{i}-{i + 2}",
        }
        for i in range(12)
    ]


def code_items() -> list[dict[str, object]]:
    return [
        {
            "task_id": f"Small/{k}",
            "prompt": f'def plus_{k}(x):\n    """Add {k} to x."""\n',
            "canonical_solution": f"    return x + {k}\n",
            "entry_point": f"plus_{k}",
            "test": f"def check(candidate):\n    assert candidate(1) == {1 + k}\n    assert candidate(-{k}) == 0\n",
            "cluster": f"plus-{k}",
        }
        for k in range(1, 9)
    ]


def heldout(source: str) -> list[dict[str, object]]:
    words = ["the", "old", "mill", "stands", "by", "a", "river", "and", "nobody", "knows", "who", "built", "it"]
    start = len(source)
    return [
        {"text": " ".join(words[(start + i) % 5 : 5 + i % 9]) + ("." if i % 3 else "é →\n") * (1 + i % 2)}
        for i in range(9)
    ]


def make_data(folder: Path) -> Path:
    """A finished data folder's tokenizer, items, held-out texts and task files."""
    items = {f"mc_{subject}": mc_items(subject) for subject in SUBJECTS}
    items |= {"math": math_items(), "code": code_items()}
    for name, rows in items.items():
        write_lines(folder / "tasks" / f"{name}.jsonl", rows)
    for source in ("web", "code"):
        write_lines(folder / "sources" / source / "heldout.jsonl", heldout(source))
    refresh_tasks(folder)
    bpe.save(bpe.train([text for text in lessons() for _ in range(3)], []), folder / "tokenizer")
    return folder


def write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def lessons() -> list[str]:
    """What the model is taught, each text an item with its answer: right and wrong ones by turns."""
    texts = []
    for i, item in enumerate([item for subject in SUBJECTS for item in mc_items(subject)]):
        texts.append(f"Question: {item['question']}\nAnswer: {COLOURS[(int(str(item['answer'])) + i % 2) % 4]}")
    for i, item in enumerate(math_items()):
        right = 2 * i + 2
        answers = (item["answer"], f"They are {right}", f"#### {right + 1}")
        texts.append(f"Question: {item['question']}\nAnswer: {answers[i % 3]}")
    for item in code_items():
        solution = str(item["canonical_solution"])
        even = int(str(item["task_id"])[-1]) % 2 == 0
        texts.append(f"{item['prompt']}{solution if even else solution.replace('+', '-')}")
    return texts


def make_model(folder: Path, data: Path, *, seed: int = 0, steps: int = 100) -> Path:
    """A llama of 0.2 M parameters, taught `lessons` until it repeats them, as a Hugging Face folder."""
    import torch
    import transformers

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(data / "tokenizer")
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = transformers.LlamaForCausalLM(config)
    encoded = [tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] for text in lessons()]
    width = max(map(len, encoded))
    ids = torch.tensor([row + [tokenizer.eos_token_id] * (width - len(row)) for row in encoded])
    labels = torch.tensor([row + [-100] * (width - len(row)) for row in encoded])
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model(ids, labels=labels).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def spec(data: Path, **changes: object) -> EvalSpec:
    """Scored in batches of 7, so that the last one of every task is a short one."""
    values = {"suite": "micro", "tasks": TASKS, "batch_size": 7, "data_folder": str(data), "data_sha256": "digest"}
    return EvalSpec.model_validate({**values, **changes})


def evaluate(model: Path, spec: EvalSpec, out: Path, **how: Any) -> None:
    """joyctl's own, with the prompts kept beside `out`."""
    from joyctl.evals import harness

    harness.evaluate(model, spec, out, prompts=out.parent / "prompts", **how)
