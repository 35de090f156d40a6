"""What one step of each optimizer does to a parameter, by the formulas of its paper."""

from __future__ import annotations

import pytest
import torch

from joyctl.recipe.types import Optimizer
from joyctl.train.optimizers import optimizer_config

LR = 1e-2
P, G = torch.tensor([2.0, -3.0, 0.5]), [torch.tensor([0.1, -0.2, 0.0]), torch.tensor([-0.9, -0.1, 0.3])]


def stepped(optimizer: Optimizer) -> list[list[float]]:
    """The parameter after each of two steps with the gradients G at LR."""
    module = torch.nn.ParameterDict({"p": torch.nn.Parameter(P.clone())})
    container = optimizer_config(optimizer).build(model_parts=[module])
    (group,) = [group for each in container for group in each.param_groups]
    group["lr"] = LR  # as the schedule sets it
    found = []
    for gradient in G:
        module["p"].grad = gradient.clone()
        container.step()
        found.append(module["p"].tolist())
    return found


def test_lionw_steps_by_the_sign_and_decays_by_lr_times_weight_decay() -> None:
    # arXiv 2302.06675: c = b1 m + (1 - b1) g; p -= lr (sign(c) + wd p); m = b2 m + (1 - b2) g
    p, m, expected = P.clone(), torch.zeros(3), []
    for g in G:
        p = p - LR * (torch.sign(0.9 * m + 0.1 * g) + 0.5 * p)
        m = 0.95 * m + 0.05 * g
        expected.append(p.tolist())
    found = stepped(Optimizer(name="lionw", lr=1.0, betas=(0.9, 0.95), weight_decay=0.5))
    assert [each == pytest.approx(e, rel=1e-6) for each, e in zip(found, expected, strict=True)] == [True, True]


def test_adamw_decays_by_lr_times_weight_decay() -> None:
    plain = stepped(Optimizer(lr=1.0, weight_decay=0.0))
    decayed = stepped(Optimizer(lr=1.0, weight_decay=0.5))
    assert [a - b for a, b in zip(plain[0], decayed[0], strict=True)] == pytest.approx(
        (LR * 0.5 * P).tolist(), rel=1e-4
    )


def test_the_papers_weight_decay_divided_by_its_peak_lr_decays_as_the_papers() -> None:
    # llm-foundry's LionW takes lr / peak lr * 1.2e-4 off; here lr * weight_decay.
    peak, theirs = 1.2e-4, 1.2e-4
    mine = stepped(Optimizer(name="lionw", lr=peak, weight_decay=theirs / peak))[0]
    none = stepped(Optimizer(name="lionw", lr=peak, weight_decay=0.0))[0]
    taken = [a - b for a, b in zip(none, mine, strict=True)]
    assert taken == pytest.approx((LR / peak * theirs * P).tolist(), rel=1e-4)
