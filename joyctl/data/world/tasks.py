"""The lm-eval task files of a data folder: the shapes of MMLU, GSM8K, HumanEval and WikiText, and choices in text.

They are plain text here; the stock `lm_eval --include_path <folder>/tasks` runs them as they are. The files
name the items by absolute path, as lm-eval wants it, so they are written again when the folder has moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from joyctl.data.heldouttasks import heldout_task, quoted, write_changed

MC_GROUP, MATH_TASK, CODE_TASK = "micro_mc", "micro_math", "micro_code"

_MC_GROUP = """\
# Facts of the closed world, one task a subject, weighted by size: the shape of mmlu_continuation.
group: micro_mc
task:
{tasks}
aggregate_metric_list:
  - metric: acc
    weight_by_size: true
metadata:
  version: 1.0
"""

_MC = """\
# Scored on the text of the choices, as mmlu_continuation: letters stay at chance for a model this small.
task: micro_mc_{subject}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {path}
output_type: multiple_choice
test_split: test
doc_to_text: "Question: {{{{question.strip()}}}}\\nAnswer:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
num_fewshot: 0
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""

_MATH = """\
# Sums in words: prompt, metric and filters of gsm8k, without examples.
task: micro_math
dataset_path: json
dataset_kwargs:
  data_files:
    test: {path}
output_type: generate_until
test_split: test
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{answer}}}}"
num_fewshot: 0
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
    ignore_punctuation: false
    regexes_to_ignore:
      - ","
      - "\\\\$"
      - "(?s).*#### "
      - "\\\\.$"
generation_kwargs:
  until:
    - "Question:"
  do_sample: false
  max_gen_toks: 64
repeats: 1
filter_list:
  - name: "strict-match"
    filter:
      - function: "regex"
        regex_pattern: "#### (\\\\-?[0-9\\\\.\\\\,]+)"
      - function: "take_first"
  - name: "flexible-extract"
    filter:
      - function: "regex"
        group_select: -1
        regex_pattern: "(-?[$0-9.,]{{2,}})|(-?[0-9]+)"
      - function: "take_first"
metadata:
  version: 1.0
"""

_CODE = """\
# Functions to finish: prompt, stop strings, filter and metric of humaneval.
# Generated programs run in joyctl's sandbox, so the task needs no leave to run unsafe code.
task: micro_code
dataset_path: json
dataset_kwargs:
  data_files:
    test: {path}
output_type: generate_until
test_split: test
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{test}}}}\\ncheck({{{{entry_point}}}})"
num_fewshot: 0
metric_list:
  - metric: !function utils.pass_at_k
    aggregation: mean
    higher_is_better: true
    k: [1]
generation_kwargs:
  until:
    - "\\nclass"
    - "\\ndef"
    - "\\n#"
    - "\\nif"
    - "\\nprint"
  do_sample: false
  max_gen_toks: 64
repeats: 1
filter_list:
  - name: "create_test"
    filter:
      - function: "custom"
        filter_fn: !function utils.build_predictions
metadata:
  version: 1.0
"""

_GENERAL = """\
# General language ability: held-out web text and four ways in which it may go on.
task: general_{name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {path}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{text}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: ""
num_fewshot: 0
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1.0
"""

_FUNCTIONS = '''\
"""What micro_code.yaml calls: candidates as in humaneval, run in joyctl's sandbox."""

from __future__ import annotations


def pass_at_k(
    references: list[str], predictions: list[list[str]], k: list[int] | None = None
) -> dict[str, float]:
    """Share of problems solved, as `{"pass@1": ...}`; generated programs never run in this process."""
    from joyctl.evals.sandbox import pass_at_k as sandboxed

    return sandboxed(references, predictions, k or [1])


def build_predictions(resps: list[list[str]], docs: list[dict]) -> list[list[str]]:
    """Whole programs: the prompt and what the model wrote after it."""
    return [[doc["prompt"] + text for text in texts] for texts, doc in zip(resps, docs)]
'''


def task_files(folder: Path, subjects: Sequence[str], sources: Sequence[str], general: Sequence[str]) -> dict[str, str]:
    """Contents by file name of everything lm-eval reads in `folder`/tasks besides the items."""
    tasks = folder.absolute() / "tasks"
    files = {
        "micro_mc.yaml": _MC_GROUP.format(tasks="\n".join(f"  - micro_mc_{subject}" for subject in subjects)),
        "micro_math.yaml": _MATH.format(path=quoted(tasks / "math.jsonl")),
        "micro_code.yaml": _CODE.format(path=quoted(tasks / "code.jsonl")),
        "utils.py": _FUNCTIONS,
    }
    for subject in subjects:
        path = quoted(tasks / f"mc_{subject}.jsonl")
        files[f"micro_mc_{subject}.yaml"] = _MC.format(subject=subject, path=path)
    for name in general:
        files[f"general_{name}.yaml"] = _GENERAL.format(name=name, path=quoted(tasks / f"general_{name}.jsonl"))
    for source in sources:
        files |= heldout_task(source, folder)
    return files


def refresh_tasks(folder: Path, at: Path | None = None) -> list[str]:
    """Write the task files that are missing or name another place; gives their names.

    `at` is where the folder will stand, when it is still being built under another name. The subjects, sources
    and general benchmarks are those whose items lie in the folder.
    """
    tasks = folder / "tasks"
    subjects = sorted(p.stem.removeprefix("mc_") for p in tasks.glob("mc_*.jsonl"))
    sources = sorted(p.parent.name for p in folder.glob("sources/*/heldout.jsonl"))
    general = sorted(p.stem.removeprefix("general_") for p in tasks.glob("general_*.jsonl"))
    return write_changed(tasks, task_files(at or folder, subjects, sources, general))
