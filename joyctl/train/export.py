"""Turns a checkpoint's model into a Hugging Face folder that `AutoModelForCausalLM.from_pretrained` loads."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch.distributed.checkpoint.state_dict_loader import load

from joyctl.campaign.spec import SegmentSpec
from joyctl.errors import Missing, Refused
from joyctl.recipe.types import Model
from joyctl.store.files import fsync_folder, write_json, write_text
from joyctl.train.checkpoints import reading
from joyctl.train.model import model_spec


def export_model(
    spec: SegmentSpec, checkpoint: Path, out: Path, *, tokenizer: Path, card: str, averaged_with: Sequence[Path] = ()
) -> None:
    """Write the model of `checkpoint` to folder `out`, whole or not at all; replaces an earlier one.

    `tokenizer` is a folder with tokenizer.json and tokenizer_config.json, `card` the text of README.md. Weights are the
    mean of those of `checkpoint` and of `averaged_with`. Reads only the model's part of the checkpoints, one after the
    other, in this process alone. Weights are float32, as trained.
    Raises Missing when there is no tokenizer, Refused when it has more tokens than the model.
    """
    special = _special_tokens(tokenizer, spec.model.vocab_size)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        for path in sorted(tokenizer.iterdir()):
            if path.is_file():
                shutil.copyfile(path, work / path.name)
        weights = {name: value.contiguous() for name, value in _mean(spec.model, (*averaged_with, checkpoint)).items()}
        save_file(weights, work / "model.safetensors", metadata={"format": "pt"})
        write_json(work / "config.json", hf_config(spec.model, special))
        write_json(work / "generation_config.json", {"_from_model_config": True, **special})
        write_text(work / "README.md", card)
        for path in work.iterdir():
            with path.open("rb") as f:
                os.fsync(f.fileno())
        work.chmod(0o755)
        if out.exists():
            shutil.rmtree(out)
        work.rename(out)
        fsync_folder(out.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def hf_config(model: Model, special: dict[str, int | None]) -> dict[str, Any]:
    """The config.json of `transformers.LlamaConfig` that computes what torchtitan's Llama 3 does."""
    layer = model_spec(model).model.layers[0]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": model.vocab_size,
        "hidden_size": model.dim,
        "intermediate_size": model.ffn_hidden,
        "num_hidden_layers": model.n_layers,
        "num_attention_heads": model.n_heads,
        "num_key_value_heads": model.n_kv_heads,
        "head_dim": model.dim // model.n_heads,
        "hidden_act": "silu",
        "rms_norm_eps": layer.attention_norm.eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": model.rope_theta},
        "max_position_embeddings": model.max_seq_len,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "use_cache": True,
        "dtype": "float32",
        **special,
    }


def _mean(model: Model, checkpoints: Sequence[Path]) -> dict[str, torch.Tensor]:
    """Weights averaged over checkpoints, by Hugging Face names: summed in float64, given in float32."""
    if len(checkpoints) == 1:
        return _load(model, checkpoints[0])
    sums: dict[str, torch.Tensor] = {}
    for checkpoint in checkpoints:
        for name, value in _load(model, checkpoint).items():
            sums[name] = sums[name].add_(value) if name in sums else value.to(torch.float64)
    return {name: value.div_(len(checkpoints)).to(torch.float32) for name, value in sums.items()}


def _load(model: Model, checkpoint: Path) -> dict[str, torch.Tensor]:
    bundle = model_spec(model)
    with torch.device("meta"):
        shapes = bundle.model.build().state_dict()
    weights = {name: torch.empty_like(value, device="cpu") for name, value in shapes.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
        with reading(checkpoint, "joyctl plan RECIPE --audit compares its checksum, and says what to do."):
            load(weights, checkpoint_id=checkpoint, no_dist=True)
    renamed: dict[str, torch.Tensor] = bundle.state_dict_adapter(bundle.model, None).to_hf(weights)
    return renamed


def _special_tokens(tokenizer: Path, vocab_size: int) -> dict[str, int | None]:
    """Ids of the tokens that begin and end a text, as tokenizer_config.json names them; None where it does not."""
    if not (tokenizer / "tokenizer.json").is_file():
        raise Missing(f"{tokenizer} holds no tokenizer.json", hint="Make it: joyctl data build RECIPE")
    whole = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))
    ids: dict[str, int] = dict(whole["model"]["vocab"]) if isinstance(whole["model"]["vocab"], dict) else {}
    ids |= {token["content"]: token["id"] for token in whole.get("added_tokens", [])}
    if max(ids.values()) >= vocab_size:
        raise Refused(
            f"{tokenizer} has token ids up to {max(ids.values())}, the model has {vocab_size} rows",
            hint="Set model.vocab_size to at least the tokenizer's size.",
        )
    names = json.loads((tokenizer / "tokenizer_config.json").read_text(encoding="utf-8"))
    found: dict[str, int | None] = {}
    for kind in ("bos", "eos", "pad"):
        token = names.get(f"{kind}_token")
        token = token["content"] if isinstance(token, dict) else token
        found[f"{kind}_token_id"] = ids.get(token) if isinstance(token, str) else None
    return found
