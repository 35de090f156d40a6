"""What a Hugging Face folder says of itself without its tensors: a whole Llama of the recipe's shape, or not."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from joyctl.campaign.findings import Finding
from joyctl.campaign.spec import SegmentSpec
from joyctl.recipe.types import Model
from joyctl.train.model import model_spec

INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
_LENGTH = struct.Struct("<Q")  # a safetensors file begins with the length of its header
_MOST = 100 << 20  # bytes of a header; the format allows no longer one
_AGAIN = "Download or save it again."


def inspect_hf(folder: Path, segment: SegmentSpec) -> Iterator[Finding]:
    """Findings on a folder whose weights `segment` is to go on from."""
    yield _config(folder, segment.model)
    shapes, said, remedy = _tensors(folder)
    yield Finding("base weights", shapes is not None, said, remedy)
    if shapes is not None:
        yield _shapes(shapes, segment.model)


def _config(folder: Path, model: Model) -> Finding:
    check, path = "base model", folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
        wrong = [*_differences(config, model)]
    except OSError:
        return Finding(check, False, f"{path} is not there", "Give a folder as save_pretrained writes it.")
    except (ValueError, TypeError, AttributeError) as error:
        return Finding(check, False, f"{path} is no configuration: {error}", _AGAIN)
    if not wrong:
        return Finding(check, True, "config.json agrees with the recipe's model")
    said = "; ".join(f"config.json has {key} {there!r}, the recipe {here!r}" for key, there, here, _ in wrong)
    fixed = [f"{key}={there}" for _, there, _, key in wrong if key]
    remedy = f"Set {' '.join(fixed)}." if fixed else ""
    if any(not key for _, _, _, key in wrong):
        remedy += " joyctl trains Llamas alone, with a head of their own, plain rotary positions and no biases."
    return Finding(check, False, said, remedy.strip())


def _differences(config: dict[str, Any], model: Model) -> Iterator[tuple[str, Any, Any, str]]:
    """(key, there, in the recipe, the recipe's key if it has one) of all that disagrees; defaults are transformers'."""
    heads = config.get("num_attention_heads", 32)
    # transformers 5 writes rope_parameters; before it were rope_theta and rope_scaling.
    rope = config.get("rope_parameters") or {}
    scaling = config.get("rope_scaling") or rope
    theta = rope.get("rope_theta", config.get("rope_theta", 10_000.0))
    head_dim = config.get("head_dim") or config.get("hidden_size", 4096) // heads
    eps = model_spec(model).model.layers[0].attention_norm.eps
    for key, there, here, ours in (
        ("model_type", config.get("model_type"), "llama", ""),
        ("hidden_size", config.get("hidden_size", 4096), model.dim, "model.dim"),
        ("num_hidden_layers", config.get("num_hidden_layers", 32), model.n_layers, "model.n_layers"),
        ("num_attention_heads", heads, model.n_heads, "model.n_heads"),
        ("num_key_value_heads", config.get("num_key_value_heads") or heads, model.n_kv_heads, "model.n_kv_heads"),
        ("head_dim", head_dim, model.dim // model.n_heads, ""),
        ("intermediate_size", config.get("intermediate_size", 11008), model.ffn_hidden, "model.ffn_hidden"),
        ("vocab_size", config.get("vocab_size", 32000), model.vocab_size, "model.vocab_size"),
        ("rope_theta", theta, model.rope_theta, "model.rope_theta"),
        ("rope_type", scaling.get("rope_type", scaling.get("type", "default")), "default", ""),
        ("rms_norm_eps", config.get("rms_norm_eps", 1e-6), eps, ""),
        ("tie_word_embeddings", config.get("tie_word_embeddings", False), False, ""),
        ("hidden_act", config.get("hidden_act", "silu"), "silu", ""),
        ("attention_bias", config.get("attention_bias", False), False, ""),
        ("mlp_bias", config.get("mlp_bias", False), False, ""),
        ("quantization_config", config.get("quantization_config"), None, ""),
    ):
        if not _same(there, here):
            yield key, there, here, ours


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=1e-9)
    return bool(a == b)


def _tensors(folder: Path) -> tuple[dict[str, tuple[int, ...]] | None, str, str | None]:
    """Shapes of all tensors by name, from the headers; None where the weights are not whole, with why."""
    index = folder / INDEX
    try:
        named = json.loads(index.read_bytes())["weight_map"] if index.is_file() else {}
        files = sorted(set(named.values())) or [WHOLE]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return None, f"{INDEX} is torn: {type(error).__name__}", _AGAIN
    if not index.is_file() and not (folder / WHOLE).is_file():
        return None, f"neither {WHOLE} nor {INDEX} is there", "Save the model as safetensors."
    shapes: dict[str, tuple[int, ...]] = {}
    for name in files:
        if not (folder / name).is_file():
            return None, f"{name}, which {INDEX} names, is missing", _AGAIN
        try:
            shapes |= _header(folder / name)
        except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
            return None, f"{name} is torn: {error}", _AGAIN
    absent = sorted(set(named) - set(shapes))
    if absent:
        return None, f"no file has {absent[0]}, which {INDEX} names", _AGAIN
    return shapes, f"complete: {len(shapes)} tensors in {len(files)} file{'s' if len(files) > 1 else ''}", None


def _header(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by name of one safetensors file. Raises ValueError where the file is shorter than its header says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
        if length > min(_MOST, size):
            raise ValueError("its header is cut short")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    needed = _LENGTH.size + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if size < needed:
        raise ValueError(f"it has {size:,} of {needed:,} bytes")
    return {name: tuple(entry["shape"]) for name, entry in header.items()}


def _shapes(found: dict[str, tuple[int, ...]], model: Model) -> Finding:
    check, head = "base tensors", model.dim // model.n_heads
    block = {
        "input_layernorm": (model.dim,),
        "post_attention_layernorm": (model.dim,),
        "self_attn.q_proj": (model.n_heads * head, model.dim),
        "self_attn.k_proj": (model.n_kv_heads * head, model.dim),
        "self_attn.v_proj": (model.n_kv_heads * head, model.dim),
        "self_attn.o_proj": (model.dim, model.n_heads * head),
        "mlp.gate_proj": (model.ffn_hidden, model.dim),
        "mlp.up_proj": (model.ffn_hidden, model.dim),
        "mlp.down_proj": (model.dim, model.ffn_hidden),
    }
    wanted: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (model.vocab_size, model.dim),
        "model.norm.weight": (model.dim,),
        "lm_head.weight": (model.vocab_size, model.dim),
    }
    for layer in range(model.n_layers):
        wanted |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in block.items()}
    lacking = [name for name in wanted if name not in found]
    other = {name: shape for name, shape in wanted.items() if found.get(name, shape) != shape}
    wrong = [f"{name} is {found[name]} there, {shape} in the recipe" for name, shape in other.items()]
    if lacking or wrong:
        said = "; ".join([*wrong[:2], *([f"it lacks {lacking[0]}"] if lacking else [])])
        return Finding(check, False, said, "Set the recipe's model to the sizes of the base run's.")
    return Finding(check, True, f"{len(wanted)} tensors of the recipe's shapes")
