"""What a training takes: formulas against numbers worked out by hand, and against what torchtitan really holds."""

from __future__ import annotations

import gc
from importlib import import_module
from typing import Any

import pytest

from joyctl.campaign.estimate import block_parameters, flops_per_token, memory, saved_per_token, tokens_per_second
from joyctl.campaign.plan import parameters
from joyctl.recipe import gpus
from joyctl.recipe.scaling import Torchtitan
from joyctl.recipe.types import Model, Optimizer, Training

MODEL = Model(dim=64, n_layers=3, n_heads=8, n_kv_heads=4, ffn_hidden=176, vocab_size=256, max_seq_len=128)
# Llama 3 8B, https://huggingface.co/meta-llama/Meta-Llama-3-8B: 8,030,261,248 parameters
LLAMA = Model(dim=4096, n_layers=32, n_heads=32, n_kv_heads=8, ffn_hidden=14336, vocab_size=128256, max_seq_len=8192)
BF16 = Training(tokens=10**9, seq_len=8192, batch_size=64, dtype="bfloat16")
ADAMW, LIONW = Optimizer(lr=1e-3), Optimizer(name="lionw", lr=1e-3)
GIB = 2**30


def titan(**sections: Any) -> Torchtitan:
    return Torchtitan.model_validate(sections)


def test_parameters_of_a_block_and_of_all() -> None:
    # q and o 64 x 64, k and v 64 x 32, three matrices 64 x 176, two norms
    assert block_parameters(MODEL) == 2 * 4096 + 2 * 2048 + 3 * 11264 + 128 == 46208
    assert parameters(MODEL) == 3 * 46208 + 2 * 256 * 64 + 64
    assert parameters(LLAMA) == 8_030_261_248


def test_flops_of_a_token_leave_out_the_embedding_and_count_attention() -> None:
    assert flops_per_token(MODEL, 32) == 6 * (3 * 46208 + 256 * 64 + 64) + 12 * 3 * 64 * 32


def test_elements_that_a_block_keeps_of_a_token() -> None:
    assert saved_per_token(MODEL, "none") == 6 * 64 + 2 * 32 + 4 * 176 == 1152
    assert saved_per_token(MODEL, "selective") == 4 * 64 + 2 * 32 + 176 == 496
    assert saved_per_token(MODEL, "full") == 64


def test_memory_of_llama_8b_on_eight_gpus() -> None:
    one_row = titan(training={"local_batch_size": 1})
    need = memory(LLAMA, BF16, ADAMW, one_row, 8, "full")
    assert need.parameters == need.gradients == 4 * 8_030_261_248 / 8
    assert need.optimizer == 8 * 8_030_261_248 / 8
    embedding = 128256 * 4096
    assert need.gathered == 2 * 3 * embedding  # embedding and head, and the gradient of one
    whole_block = 6 * 4096 + 2 * 1024 + 4 * 14336
    assert need.activations == 2 * 8192 * (32 * 4096 + whole_block + 2 * 4096)
    assert need.logits == 8192 * 128256 * 14  # bfloat16, and float32 three times
    assert need.total / GIB == pytest.approx(35.0, abs=0.05)


def test_lion_keeps_one_moment() -> None:
    adamw, lionw = (memory(LLAMA, BF16, optimizer, titan(), 8, "full") for optimizer in (ADAMW, LIONW))
    assert lionw.optimizer == adamw.optimizer / 2
    assert adamw.total - lionw.total == adamw.optimizer / 2


def test_shards_divide_states_and_copies_do_not() -> None:
    fsdp = memory(LLAMA, BF16, ADAMW, titan(), 16, "full")
    hsdp = memory(LLAMA, BF16, ADAMW, titan(parallelism={"data_parallel_replicate_degree": 2}), 16, "full")
    assert hsdp.parameters == 2 * fsdp.parameters
    assert hsdp.optimizer == 2 * fsdp.optimizer
    assert hsdp.activations == fsdp.activations


def test_tensor_parallel_divides_states_activations_and_logits() -> None:
    rows = {"local_batch_size": 1}
    alone = memory(LLAMA, BF16, ADAMW, titan(training=rows), 8, "none")
    both = memory(LLAMA, BF16, ADAMW, titan(training=rows, parallelism={"tensor_parallel_degree": 4}), 8, "none")
    assert both.parameters == alone.parameters  # 2 shards x 4
    assert both.logits == alone.logits / 4
    assert alone.activations / 4 < both.activations < alone.activations / 2
    apart = {"tensor_parallel_degree": 4, "enable_sequence_parallel": False}
    stream = memory(LLAMA, BF16, ADAMW, titan(training=rows, parallelism=apart), 8, "none")
    assert stream.activations > both.activations


def test_more_checkpointing_keeps_less_and_smaller_microbatches_too() -> None:
    kept = [memory(LLAMA, BF16, ADAMW, titan(), 8, mode).activations for mode in ("none", "selective", "full")]
    assert kept[0] > kept[1] > kept[2]
    half = memory(LLAMA, BF16, ADAMW, titan(training={"local_batch_size": 4}), 8, "full")
    assert half.activations == kept[2] / 2


def test_speed_is_the_share_of_the_peak() -> None:
    # 989 TFLOPs x 8 x 0.4 over 6 x (8.03 G - 0.53 G) + 12 x 32 x 4096 x 8192 FLOPs
    flops = 6 * (8_030_261_248 - 128256 * 4096) + 12 * 32 * 4096 * 8192
    found = tokens_per_second(LLAMA, 8192, peak_flops=989e12, mfu=0.4, processes=8)
    assert found == pytest.approx(989e12 * 8 * 0.4 / flops)


@pytest.fixture(scope="module")
def trained() -> dict[str, Any]:
    """Bytes that a real training step of torchtitan's model and optimizer leaves, in float32 on the CPU."""
    import torch

    import joyctl.train  # noqa: F401
    from joyctl.train.model import model_spec

    config = model_spec(MODEL).model
    model = config.build()
    model.init_weights(buffer_device=None)
    _, flops = config.get_nparams_and_flops(model, 32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    model(torch.randint(256, (2, 32))).sum().backward()
    optimizer.step()
    states = [value for state in optimizer.state.values() for key, value in state.items() if key != "step"]
    return {
        "parameters": sum(p.nbytes for p in model.parameters()),
        "gradients": sum(p.grad.nbytes for p in model.parameters()),
        "optimizer": sum(value.nbytes for value in states),
        "flops": flops,
    }


def test_states_are_those_of_a_real_training_to_the_byte(trained: dict[str, Any]) -> None:
    alone = memory(MODEL, Training(tokens=10**6, seq_len=32, batch_size=2), ADAMW, titan(), 1, "none")
    assert (alone.parameters, alone.gradients, alone.optimizer) == (
        trained["parameters"],
        trained["gradients"],
        trained["optimizer"],
    )


def test_flops_are_those_that_torchtitan_counts(trained: dict[str, Any]) -> None:
    assert flops_per_token(MODEL, 32) == trained["flops"]


@pytest.mark.parametrize(("mode", "least", "most"), [("none", 1.0, 1.2), ("selective", 0.8, 1.0), ("full", 1.0, 1.2)])
def test_activations_are_those_of_a_real_block_within_a_fifth(mode: Any, least: float, most: float) -> None:
    # The CPU keeps the normalised input of each norm as well, which fused norms on GPUs do not.
    layers = 4
    measured = (_kept(layers, mode) - _kept(1, mode)) / (layers - 1)
    assert least <= measured / saved_per_token(MODEL, mode) <= most


def _kept(layers: int, mode: str) -> float:
    """Elements a token that are alive after a forward pass and were not before: saved by autograd, or in a cache."""
    import torch
    from torchtitan.distributed.activation_checkpoint import FullAC, SelectiveAC

    import joyctl.train  # noqa: F401
    from joyctl.train.model import model_spec

    model = model_spec(MODEL.model_copy(update={"n_layers": layers})).model.build()
    model.init_weights(buffer_device=None)
    if mode != "none":
        (FullAC if mode == "full" else SelectiveAC).Config().build().apply(model)
    before, saved = _storages(), {}

    def pack(value: Any) -> Any:
        saved[value.untyped_storage().data_ptr()] = (value.untyped_storage().nbytes(), value)
        return value

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        out = model(torch.randint(256, (2, 64)))
    found = {**_storages(), **{place: size for place, (size, _) in saved.items()}}
    assert out.requires_grad  # still alive, and so is all that it needs
    return sum(size for place, size in found.items() if place not in before) / (4 * 2 * 64)


def _storages() -> dict[int, int]:
    """Bytes of every tensor's storage that Python knows, by address."""
    import torch

    gc.collect()
    alive = [value for value in gc.get_objects() if type(value) in (torch.Tensor, torch.nn.Parameter)]
    return {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in alive}


@pytest.mark.parametrize("name", [name for name in gpus.NAMES if name != "L40S"])
def test_peaks_are_those_that_torchtitan_takes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import_module("joyctl.train")  # prepares torchtitan
    from torchtitan.tools import utils

    monkeypatch.setenv("PATH", "")  # it would ask lspci
    device = {"A100-40GB": "NVIDIA A100-SXM4-40GB", "H100-PCIe": "NVIDIA H100 PCIe", "H100-NVL": "NVIDIA H100 NVL"}
    assert utils.get_peak_flops(device.get(name, name)) == gpus.KINDS[name].peak_flops
    assert gpus.is_known(device.get(name, name))


def test_of_a_device_that_nobody_knows_nothing_is_assumed() -> None:
    assert not gpus.is_known("NVIDIA GeForce RTX 4090")
    assert not gpus.is_known("CPU")
