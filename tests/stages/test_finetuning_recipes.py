"""What the recipes of fine-tuning come to."""

from pathlib import Path

import pytest

from nonverbal import config
from nonverbal.stages.finetuning.settings import FinetuneConfig, trainer_for

RECIPES = sorted((Path(__file__).parents[2] / "recipes" / "finetune").glob("*.yaml"))

VOC2VEC = {
    "protocol": "random 10-fold, chosen on the test fold, counted as voc2vec does",
    "encoder.train": "all",
    "head.class_weights": "balanced",
    "head.choose": "f1",
    "batches.batch_clips": 16,
    "batches.by_length": False,
    "batches.pad_to": 7,
    "epochs": 50,
    "trainer.patience": 5,
    "trainer.optimizer.lr": 1e-4,
    "trainer.optimizer.warmup_steps": 500,
    "trainer.optimizer.schedule": "linear",
    "trainer.optimizer.betas": [0.9, 0.999],
}
NESTED = {
    **VOC2VEC,
    "protocol": "speaker-disjoint 5-fold, or leave-one-out, not refitted",
    "head.choose": "uar",
    "batches.by_length": True,
    "batches.pad_to": None,
    "batches.max_seconds": 7,
}
SER = {
    "protocol": "leave one session out, not refitted",
    "seeds": [1337],
    "labels": "four-emotions",
    "encoder.train": "no_convolutions",
    "head.class_weights": "none",
    "batches.batch_clips": 32,
    "batches.batches_per_step": 8,
    "trainer.steps": 30_000,
    "trainer.optimizer.lr": 1e-5,
}
EXPECTED = {
    "voc2vec": VOC2VEC,
    "voc2vec_nested": NESTED,
    "ser": {**SER, "init": "facebook/wav2vec2-base"},
    "asr_ser": {**SER, "init": "facebook/wav2vec2-base-100h"},
    "lora": {"encoder.train": "lora", "encoder.lora.rank": 8, "trainer.optimizer.lr": 1e-3},
    "ast_scratch": {
        "init": "initialised:ast",
        "encoder.train": "all",
        "protocol": "speaker-disjoint 80/10/10 hold-out, not refitted",
        "epochs": 30,
    },
    "ctc": {"task": "ctc", "encoder.train": "no_convolutions", "trainer.optimizer.betas": [0.9, 0.98]},
    "demo": {"epochs": 5, "encoder.train": "all", "protocol": "speaker-disjoint 5-fold, stratified, not refitted"},
}


def value(settings, key):
    found = config.to_dict(settings)
    for part in key.split("."):
        found = found[part]
    return found


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_comes_to_what_its_paper_says(path):
    argv = [str(path), "--data", "shards", "--out", "run"]
    own = EXPECTED[path.stem]
    settings = config.load(FinetuneConfig, argv if "init" in own else [*argv, "--init", "x"], "nonverbal finetune", "")
    assert settings.resolved().name == own.get("protocol", settings.resolved().name)
    assert {key: value(settings, key) for key in own if key != "protocol"} == {
        key: expected for key, expected in own.items() if key != "protocol"
    }
    trained = trainer_for(settings, steps_per_epoch=100, share=None, chooses=True)
    assert trained.steps == (30_000 if settings.epochs is None else 100 * settings.epochs)
    assert trained.optimizer.warmup_steps < trained.steps


def test_a_refit_keeps_the_schedule_and_stops_after_the_epochs_that_were_chosen():
    settings = FinetuneConfig(data=Path("shards"), init="x", out=Path("run"), epochs=10, warmup_share=0.1)
    trained = trainer_for(settings, steps_per_epoch=20, share=0.3, chooses=False)
    assert (trained.steps, trained.stop_after, trained.optimizer.warmup_steps) == (200, 60, 20)
    assert trained.patience is None
