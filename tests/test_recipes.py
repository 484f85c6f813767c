import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from nonverbal import config
from nonverbal.batch import Rows
from nonverbal.data.batching.epochs import clip_table, training_epoch, validation_epoch
from nonverbal.data.preparing.settings import PrepareConfig
from nonverbal.models.audio_mamba import AudioMambaForPreTraining
from nonverbal.models.ssam import Architecture, config_of
from nonverbal.objectives.contrastive import build_objective
from nonverbal.objectives.reconstruction import build_ssam_objective
from nonverbal.objectives.unit_prediction import build_hubert_objective
from nonverbal.recipes import read_recipe
from nonverbal.stages.pretraining import PretrainConfig, trainer_of
from pretrain import train

ROOT = Path(__file__).parent.parent
PRETRAINING = sorted([*ROOT.glob("recipes/pretrain/*.yaml"), *ROOT.glob("recipes/demo*.yaml")])
DATA = sorted(ROOT.glob("recipes/data/*.yaml"))
ENCODER = {"hidden_size": 32, "layers": 1, "heads": 2, "ffn_size": 32, "conv_channels": 8}
SMALL = {
    "wav2vec2": ENCODER | {"codes": 4, "code_size": 8},
    "hubert": ENCODER,
    "ssam": {"hidden_size": 16, "layers": 1, "state_size": 2},
}
CLIPS = [
    (corpus, seconds, "validation" if i % 5 == 0 else "train")
    for corpus, count in (("bursts", 20), ("cries", 10))
    for i, seconds in enumerate(np.linspace(0.3, 2.5 if corpus == "bursts" else 10, count).round(2).tolist())
]
LAPTOP = {
    "batches.batch_seconds": 24,
    "batches.batches_per_step": 1,
    "batches.max_seconds": 2,
    "batches.min_seconds": 1,
    "trainer.steps": 4000,
    "trainer.validate_every": 500,
    "trainer.checkpoint_every": 500,
    "trainer.optimizer.lr": 1e-3,
    "trainer.optimizer.warmup_steps": 200,
}
SHAPE = {
    "architecture.layout": "large",
    "architecture.hidden_size": 144,
    "architecture.layers": 3,
    "architecture.heads": 4,
    "architecture.ffn_size": 576,
    "architecture.conv_channels": 96,
    "architecture.position_kernel": 64,
    "architecture.projection_size": 64,
    "dropouts.layer": 0.0,
}
WAV2VEC2_TINY = {
    **LAPTOP,
    **{f"wav2vec2.{key}": value for key, value in SHAPE.items()},
    "wav2vec2.architecture.codes": 64,
    "wav2vec2.architecture.code_size": 64,
    "wav2vec2.objective.diversity_weight": 1.0,
}
DEMO_LENGTH = {
    "trainer.validate_every": 100,
    "trainer.checkpoint_every": 100,
    "trainer.log_every": 10,
    "trainer.optimizer.warmup_steps": 60,
}
VOC125 = {"data": ["shards/voc125"]}
STARTED = {"wav2vec2.objective.gumbel_start": 0.5, "trainer.optimizer.lr": 1e-4, "trainer.optimizer.warmup_steps": 4000}
SSAM = {
    "family": "ssam",
    "trainer.optimizer.schedule": "cosine",
    "trainer.optimizer.betas": [0.9, 0.95],
    "trainer.optimizer.weight_decay": 0.05,
    "trainer.optimizer.decay": "matrices",
}
WHOLE_CLIPS = {"batches.short": "tile", "batches.fit": "pad"}
SSAM_TINY = {
    **VOC125,
    **SSAM,
    **WHOLE_CLIPS,
    "batches.batch_seconds": 1280,
    "batches.batch_rows": 128,
    "trainer.steps": 200_300,
    "trainer.optimizer.lr": 1.5e-4,
    "trainer.optimizer.lr_clips": 256,
    "trainer.optimizer.warmup_steps": 20_030,
    "trainer.optimizer.eps": 1e-8,
}
SSAM_CONTINUED = {
    **SSAM_TINY,
    "trainer.steps": 50_000,
    "trainer.optimizer.lr": 3.75e-5,
    "trainer.optimizer.warmup_steps": 500,
}
RESOLVED = {
    "demo": {
        **WAV2VEC2_TINY,
        **DEMO_LENGTH,
        "wav2vec2.architecture.conv_channels": 48,
        "trainer.steps": 400,
        "trainer.watchdog.patience": 20,
        "trainer.optimizer.lr": 1.5e-3,
    },
    "demo_ssam": {
        **SSAM,
        **WHOLE_CLIPS,
        **DEMO_LENGTH,
        "ssam.architecture.hidden_size": 96,
        "ssam.architecture.layers": 4,
        "ssam.architecture.state_size": 16,
        "batches.batch_seconds": 160,
        "batches.batch_rows": 16,
        "batches.batches_per_step": 1,
        "trainer.steps": 600,
        "trainer.optimizer.lr": 2e-3,
    },
    "hubert_tiny": {"family": "hubert", **LAPTOP, **{f"hubert.{key}": value for key, value in SHAPE.items()}},
    "ssam": SSAM,
    "ssam_tiny": SSAM_TINY,
    "ssam_small": {**SSAM_TINY, "ssam.architecture.hidden_size": 384},
    "ssam_base": {**SSAM_TINY, "ssam.architecture.hidden_size": 768},
    **{
        f"ssam_{size}_continued": SSAM_CONTINUED | {"ssam.init": f"ssam_{size}.pth"}
        for size in ("tiny", "small", "base")
    },
    "ssam_debug": {
        **SSAM,
        "ssam.architecture.hidden_size": 48,
        "ssam.architecture.layers": 3,
        "ssam.architecture.state_size": 8,
        "batches.batch_seconds": 32,
        "batches.batches_per_step": 1,
        "batches.max_seconds": 2,
        "trainer.steps": 300,
        "trainer.validate_every": 100,
        "trainer.checkpoint_every": 100,
        "trainer.optimizer.lr": 2e-3,
        "trainer.optimizer.warmup_steps": 30,
    },
    "voc2vec": VOC125,
    "voc2vec-as": {**VOC125, **STARTED, "wav2vec2.init": "ALM/wav2vec2-base-audioset"},
    "voc2vec-ls": {**VOC125, **STARTED, "wav2vec2.init": "facebook/wav2vec2-base"},
    "voc2vec-hubert-ls": {
        "family": "hubert",
        "hubert.init": "facebook/hubert-base-ls960",
        "trainer.steps": 100_000,
        "trainer.optimizer.lr": 1e-4,
        "trainer.optimizer.warmup_steps": 4000,
    },
    **{
        f"voc2vec-{gpus}-gpus": {
            **VOC125,
            "batches.batches_per_step": gpus,
            "trainer.steps": 3_200_000 // gpus,
            "trainer.validate_every": 40_000 // gpus,
            "trainer.checkpoint_every": 40_000 // gpus,
            "trainer.optimizer.warmup_steps": 256_000 // gpus,
        }
        for gpus in (16, 32, 64)
    },
    "wav2vec2_tiny": WAV2VEC2_TINY,
}
"""What each recipe sets with its bases, and nothing else: all other settings are the defaults."""


def load(cls, recipe, *argv, data="shards"):
    """A recipe's settings. Without ``data`` they are the recipe's own, and where it has none, these shards."""
    if data is None and "data" not in read_recipe(str(recipe)).content:
        data = "shards"
    argv = [*argv, *([] if data is None else ["--data", data])]
    return config.load(cls, [str(recipe), "--out", "run", *argv], "nonverbal pretrain", "")


@pytest.mark.parametrize("recipe", PRETRAINING, ids=lambda path: path.stem)
def test_a_pretraining_recipe_makes_an_objective_and_batches(recipe, make_shards):
    family = read_recipe(str(recipe)).content.get("family", "wav2vec2")
    small = [f"--{family}.architecture.{name}={size}" for name, size in SMALL[family].items()]
    settings = load(PretrainConfig, recipe, *small)
    assert settings.trainer.optimizer.warmup_steps < settings.trainer.steps
    table = clip_table([make_shards(CLIPS)], "train")
    batches = training_epoch(table, settings.batches, settings.seed, 0)
    assert sorted(np.concatenate([clips for batch in batches for clips in batch.clips])) == list(range(24))
    assert validation_epoch(table, settings.batches, settings.seed)
    sampler = objective_of(settings).target_sampler
    for batch in batches:
        targets = sampler(Rows(batch.lengths), np.random.default_rng(0))
        assert targets.count >= 2 * len(batch.lengths)


def objective_of(settings):
    """The objective of a recipe, from scratch: what it continues from is not on this machine."""
    if settings.family == "hubert":
        return build_hubert_objective(replace(settings.hubert, init=None), 10, settings.seed)
    if settings.family == "ssam":
        return build_ssam_objective(replace(settings.ssam, init=None), settings.seed)
    return build_objective(replace(settings.wav2vec2, init=None), settings.seed)


@pytest.mark.parametrize("recipe", PRETRAINING, ids=lambda path: path.stem)
def test_a_pretraining_recipe_holds_only_what_differs(recipe):
    given = flat(yaml.safe_load(recipe.read_text()))
    base = given.pop("base", None)
    if base is None:
        below = flat(config.to_dict(PretrainConfig(data=[], out=Path("run"))))
    else:
        below = flat(config.to_dict(load(PretrainConfig, recipe.parent / base, data=None)))
    # The family says which of the groups is read.
    assert [key for key in given if key != "family" and given[key] == below[key]] == []


@pytest.mark.parametrize("recipe", PRETRAINING, ids=lambda path: path.stem)
def test_a_pretraining_recipe_says_with_its_bases_what_it_is_to_say(recipe):
    resolved = flat(config.to_dict(load(PretrainConfig, recipe, data=None)))
    defaults = flat(config.to_dict(PretrainConfig(data=[Path("shards")], out=Path("run"))))
    assert {key: value for key, value in resolved.items() if value != defaults[key]} == RESOLVED[recipe.stem]


def flat(tree, prefix=""):
    if not isinstance(tree, dict):
        return {prefix[:-1]: tree}
    return {key: value for name, child in tree.items() for key, value in flat(child, f"{prefix}{name}.").items()}


def test_voc2vec_is_the_papers():
    settings = load(PretrainConfig, ROOT / "recipes/pretrain/voc2vec.yaml")
    shape, trainer, optimizer = settings.wav2vec2.architecture, settings.trainer, settings.trainer.optimizer
    assert (shape.layout, shape.layers, shape.hidden_size, shape.ffn_size) == ("base", 12, 768, 3072)
    assert (shape.conv_channels, shape.heads) == (512, 12)
    assert (trainer.steps, optimizer.lr, optimizer.schedule) == (400_000, 5e-4, "linear")
    assert optimizer.warmup_steps == 0.08 * trainer.steps
    assert settings.batches.max_seconds == 10
    assert settings.batches.batch_seconds * settings.batches.batches_per_step == 700


@pytest.mark.parametrize("gpus", [16, 32, 64])
def test_voc2vec_for_more_gpus_hears_the_same_in_larger_steps(gpus):
    settings = load(PretrainConfig, ROOT / f"recipes/pretrain/voc2vec-{gpus}-gpus.yaml")
    scratch = load(PretrainConfig, ROOT / "recipes/pretrain/voc2vec.yaml")
    batches, trainer, optimizer = settings.batches, settings.trainer, settings.trainer.optimizer
    assert batches == replace(scratch.batches, batches_per_step=gpus)
    assert trainer.steps * gpus == scratch.trainer.steps * scratch.batches.batches_per_step
    assert trainer.validate_every * gpus == scratch.trainer.validate_every * 8
    # wav2vec 2.0 base's step is 64 x 87.5 s, and its peak rate this one.
    assert batches.batch_seconds * gpus <= 64 * 87.5
    assert optimizer.warmup_steps == 0.08 * trainer.steps
    assert replace(optimizer, warmup_steps=0) == replace(scratch.trainer.optimizer, warmup_steps=0)
    assert settings.wav2vec2 == scratch.wav2vec2


@pytest.mark.parametrize(
    ("recipe", "init"), [("voc2vec-ls", "facebook/wav2vec2-base"), ("voc2vec-as", "ALM/wav2vec2-base-audioset")]
)
def test_voc2vecs_other_starts_differ_from_it_where_a_start_does(recipe, init):
    settings = load(PretrainConfig, ROOT / f"recipes/pretrain/{recipe}.yaml")
    scratch = load(PretrainConfig, ROOT / "recipes/pretrain/voc2vec.yaml")
    assert settings.wav2vec2.init == init
    assert settings.wav2vec2.architecture == scratch.wav2vec2.architecture
    assert settings.batches == scratch.batches
    assert settings.trainer.steps == scratch.trainer.steps
    assert settings.trainer.optimizer.lr < scratch.trainer.optimizer.lr
    assert settings.trainer.optimizer.warmup_steps < scratch.trainer.optimizer.warmup_steps


@pytest.mark.parametrize(
    ("size", "width", "millions"), [("tiny", 192, 4.761), ("small", 384, 17.889), ("base", 768, 69.251)]
)
def test_ssams_are_the_papers(size, width, millions):
    settings = load(PretrainConfig, ROOT / f"recipes/pretrain/ssam_{size}.yaml")
    trainer, optimizer, batches = settings.trainer, settings.trainer.optimizer, settings.batches
    clips = batches.batch_rows * batches.batches_per_step
    assert clips == 1024
    assert batches.batch_seconds == batches.batch_rows * batches.max_seconds
    assert (optimizer.lr, optimizer.lr_clips) == (1.5e-4, 256)
    assert trainer_of(settings).optimizer.lr == pytest.approx(6e-4)
    assert (trainer.steps, optimizer.warmup_steps) == (100 * 2003, 10 * 2003)
    assert (optimizer.schedule, optimizer.betas, optimizer.weight_decay) == ("cosine", (0.9, 0.95), 0.05)
    assert (optimizer.decay, optimizer.clip_norm, optimizer.eps) == ("matrices", None, 1e-8)
    assert (settings.ssam.objective.mask_ratio, settings.ssam.objective.loss) == (0.5, "masked")
    assert settings.ssam.architecture == Architecture(hidden_size=width)
    with torch.device("meta"):
        model = AudioMambaForPreTraining(config_of(settings.ssam.architecture))
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, rel=5e-3)


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_a_continued_ssam_learns_more_slowly_and_warms_up_shorter(size):
    scratch = load(PretrainConfig, ROOT / f"recipes/pretrain/ssam_{size}.yaml")
    continued = load(PretrainConfig, ROOT / f"recipes/pretrain/ssam_{size}_continued.yaml")
    assert continued.ssam.init == f"ssam_{size}.pth"
    # The checkpoint says it.
    assert continued.ssam.architecture == Architecture()
    assert continued.ssam.objective == scratch.ssam.objective
    assert continued.batches == scratch.batches
    assert trainer_of(continued).optimizer.lr == pytest.approx(trainer_of(scratch).optimizer.lr / 4)
    assert continued.trainer.optimizer.warmup_steps < scratch.trainer.optimizer.warmup_steps
    assert continued.trainer.steps < scratch.trainer.steps


def test_the_debug_ssam_is_small():
    settings = load(PretrainConfig, ROOT / "recipes/pretrain/ssam_debug.yaml")
    with torch.device("meta"):
        model = AudioMambaForPreTraining(config_of(settings.ssam.architecture))
    assert sum(parameter.numel() for parameter in model.parameters()) < 0.2e6


def test_the_tiny_recipe_trains_and_its_encoder_loads(make_shards, tmp_path, monkeypatch):
    from transformers import AutoFeatureExtractor, AutoModel

    # The recipe is found from any folder.
    monkeypatch.chdir(tmp_path)
    given = ["--data", str(make_shards(CLIPS).folder), "--out", "run", "--trainer.steps", "2"]
    given += ["--trainer.log_every", "1", "--trainer.optimizer.warmup_steps", "1"]
    train.main(["recipes/pretrain/wav2vec2_tiny.yaml", *given])
    run = tmp_path / "run"
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if row["kind"] == "train"] == [1, 2]
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert AutoModel.from_pretrained(run / "encoder").config.hidden_size == 144
    assert AutoFeatureExtractor.from_pretrained(run / "encoder").do_normalize


@pytest.mark.parametrize("recipe", DATA, ids=lambda path: path.stem)
def test_a_data_recipe_loads(recipe):
    settings = config.load(PrepareConfig, [str(recipe), "--out", "shards"], "nonverbal prepare", "")
    assert settings.corpora
    assert all(source.folder.parts[0] == "corpora" for source in settings.corpora.values())
