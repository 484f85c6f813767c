"""Parts that learn at rates of their own: functions of the step, on every strategy, and nothing by default."""

import importlib.util
import itertools
import shutil

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import CLIPS, assert_same_run, pretrain, pretrain_here
from tiny_shapes import WAV2VEC2
from toy import ToyObjective

from nonverbal.errors import UserError
from nonverbal.models.parts import Part, encoder_part
from nonverbal.models.wav2vec2 import Architecture
from nonverbal.objectives.contrastive import Wav2Vec2Settings, build_objective
from nonverbal.training.optimizer import OptimizerSettings, build_optimizer, rate_factor, set_rate

PARTS = (
    "wav2vec2.warm_quantiser_steps=3",
    "trainer.optimizer.freeze_conv_steps=4",
    "trainer.optimizer.layer_decay=0.5",
)
KEPT = ("trainer.checkpoint_every=1", "trainer.keep_checkpoints=9")
HEAD = ("model.quantizer", "model.project", "model.wav2vec2.masked")


def objective(warm=0, layout="base"):
    architecture = Architecture(**WAV2VEC2 | {"layout": layout, "layers": 3})
    return build_objective(Wav2Vec2Settings(architecture=architecture, warm_quantiser_steps=warm), seed=0)


@pytest.mark.parametrize("layout", ["base", "large"])
def test_every_parameter_has_its_part(layout):
    built = objective(layout=layout)
    parts = {name: built.part(name) for name, _ in built.named_parameters()}
    assert {name for name, part in parts.items() if part.kind == "head"} == {
        name for name in parts if name.startswith(HEAD)
    }
    assert all((part.kind == "conv") == ("feature_extractor" in name) for name, part in parts.items())
    expected = {
        "feature_extractor.conv_layers.0.conv.weight": ("conv", 3),
        "feature_projection.projection.weight": ("transformer", 3),
        "encoder.pos_conv_embed.conv.bias": ("transformer", 3),
        "encoder.layer_norm.weight": ("transformer", 3 if layout == "base" else 0),
        "encoder.layers.0.layer_norm.weight": ("transformer", 2),
        "encoder.layers.2.attention.q_proj.bias": ("transformer", 0),
    }
    assert {name: parts[f"model.wav2vec2.{name}"] for name in expected} == expected
    assert encoder_part("encoder.masked_spec_embed", 3, False) == Part("head", 0)
    assert encoder_part("model.hubert.encoder.layers.1.attention.q_proj.bias", 3, False) == Part("transformer", 1)


def test_there_is_one_group_unless_parts_differ():
    built = objective()
    settings = OptimizerSettings(warmup_steps=1)
    group = build_optimizer(built, 10, settings).param_groups
    assert len(group) == 1
    assert [id(parameter) for parameter in group[0]["params"]] == [id(parameter) for parameter in built.parameters()]
    assert "factor" not in group[0]


def test_factors_are_functions_of_the_step():
    settings = OptimizerSettings(warmup_steps=1, layer_decay=0.5, freeze_conv_steps=4)
    optimizer = build_optimizer(objective(warm=2), 10, settings)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(objective().parameters()))
    for step, expected in (
        (1, {0.0, 2.0}),
        (2, {0.0, 0.25, 0.5, 1.0, 2.0}),
        (4, {0.25, 0.5, 1.0, 2.0}),
    ):
        set_rate(optimizer, 2.0, step)
        assert {group["lr"] for group in optimizer.param_groups} == expected
    assert rate_factor(Part("conv", 3), 4, 0, settings) == 0.125
    assert rate_factor(Part("head", 0), 0, 5, settings) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OptimizerSettings(layer_decay=0), "layer_decay must be above 0 and at most 1, but is 0"),
        (lambda: OptimizerSettings(freeze_conv_steps=-1), "freeze_conv_steps must be at least 0, but is -1"),
        (lambda: objective(warm=-1), "warm_quantiser_steps must be at least 0, but is -1"),
        (
            lambda: build_optimizer(objective(warm=9), 9, OptimizerSettings(warmup_steps=1)),
            "only the head is trained for the first 9 steps .*, but the run has 9, so the encoder would not be trained",
        ),
        (
            lambda: build_optimizer(ToyObjective(), 9, OptimizerSettings(warmup_steps=1, layer_decay=0.9)),
            "need a model that is divided into parts, but ToyObjective is not",
        ),
    ],
)
def test_impossible_settings_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


@pytest.fixture(scope="module")
def shards(module_shards):
    return module_shards(CLIPS).folder


@pytest.fixture(scope="module")
def whole(shards, tmp_path_factory):
    return run_of(shards, tmp_path_factory.mktemp("parts") / "run", *PARTS)


def run_of(shards, out, *settings):
    return pretrain_here(shards, out, *KEPT, *settings)


def test_what_is_to_stand_still_does_and_the_rest_moves(whole):
    weights = [load_file(whole / f"checkpoints/step-{step}/model.safetensors") for step in (1, 3, 4, 6)]
    moved = [
        {name for name in before if not torch.equal(before[name], after[name])}
        for before, after in itertools.pairwise(weights)
    ]
    heads = {name for name in weights[0] if name.startswith(HEAD)}
    convs = {name for name in weights[0] if "feature_extractor" in name}
    assert moved[0] == heads
    assert moved[1] == set(weights[0]) - convs
    assert moved[2] == set(weights[0])


def test_a_run_that_continues_in_the_middle_takes_the_same_steps(tmp_path, shards, whole):
    again = shutil.copytree(whole, tmp_path / "run")
    for step in (3, 4, 5, 6):
        shutil.rmtree(again / f"checkpoints/step-{step}")
    run_of(shards, again, *PARTS)
    for name in ("model", "optimizer"):
        first, second = (load_file(run / f"checkpoints/step-6/{name}.safetensors") for run in (whole, again))
        assert all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.processes
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is missing")
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_zero_takes_the_same_steps(tmp_path, shards, stage):
    settings = (*PARTS, "batches.batches_per_step=4", "wav2vec2.dropouts.layer=0")
    whole = run_of(shards, tmp_path / "whole", *settings)
    result = pretrain(shards, tmp_path / "zero", *KEPT, *settings, "trainer.processes=2", f"trainer.zero={stage}")
    assert result.returncode == 0, result.stderr
    assert_same_run(whole, tmp_path / "zero")
