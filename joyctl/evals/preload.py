"""Importing this does every heavy import that scoring needs, offline, so that a fork server pays for them once.

It starts no thread of Python's. Of the libraries only pyarrow has one, its allocator's, whose fork handlers set it up
again in a child; numpy starts its own pool unless OMP_NUM_THREADS or OPENBLAS_NUM_THREADS is 1.
"""

from __future__ import annotations

import os

KEPT_OFFLINE = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")
"""Whether the user, and not only this module, wants nothing from the network."""

for _name, _value in {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}.items():
    os.environ[_name] = _value

import datasets.packaged_modules.json.json  # noqa: E402, F401 - the environment comes first
import lm_eval.evaluator  # noqa: E402
import lm_eval.models.huggingface  # noqa: E402
import lm_eval.tasks  # noqa: E402, F401
import transformers.generation.utils  # noqa: E402
import transformers.models.llama.modeling_llama  # noqa: E402
import transformers.tokenization_utils_tokenizers  # noqa: E402, F401
