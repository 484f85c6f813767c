import math

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from nonverbal.errors import UserError
from nonverbal.training.optimizer import LEAST_RATE, OptimizerSettings, build_optimizer, learning_rate


@pytest.mark.parametrize(
    ("schedule", "reference"),
    [("linear", get_linear_schedule_with_warmup), ("cosine", get_cosine_schedule_with_warmup)],
)
def test_learning_rate_is_transformers_schedule(schedule, reference):
    settings = OptimizerSettings(lr=3e-4, warmup_steps=10, schedule=schedule)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=3e-4)
    scheduler: LambdaLR = reference(optimizer, 10, 50)
    for step in range(50):
        # transformers' first step has a rate of 0 and does nothing; ours begins one step further on the ramp.
        expected = scheduler.lr_lambdas[0](step + 1 if step < 10 else step) * 3e-4
        assert learning_rate(step, 50, settings) == pytest.approx(expected)


@pytest.mark.parametrize(
    "given",
    [
        {"lr": 0.0},
        {"lr": -1.0},
        {"lr": math.nan},
        {"lr": math.inf},
        {"lr": 9e-10},
        {"eps": 0.0},
        {"weight_decay": -0.1},
        {"betas": (0.9, 1.0)},
        {"warmup_steps": -1},
        {"clip_norm": 0.0},
        {"layer_decay": 0.0},
        {"freeze_conv_steps": -1},
        {"lr_clips": 0},
    ],
    ids=str,
)
def test_what_no_optimizer_can_take_is_refused_by_name(given):
    with pytest.raises(UserError, match=f"trainer.optimizer.*{next(iter(given))}"):
        OptimizerSettings(**given)


@pytest.mark.parametrize("factor", [1, 0.1])
def test_at_the_lowest_learning_rate_most_weights_change_and_below_it_few(factor):
    weights = nn.Parameter(0.02 * torch.randn(10_000, generator=torch.Generator().manual_seed(0)))
    before = weights.detach().clone()
    weights.grad = torch.ones_like(weights)
    torch.optim.AdamW([weights], lr=factor * LEAST_RATE, weight_decay=0).step()
    changed = float((weights != before).float().mean())
    assert changed > 0.5 if factor == 1 else changed < 0.1


def test_a_warmup_longer_than_the_run_is_refused():
    with pytest.raises(UserError, match="warmup_steps must be less than the 100 steps of the run, but is 100; .* 8"):
        build_optimizer(nn.Linear(1, 1), 100, OptimizerSettings(warmup_steps=100))
