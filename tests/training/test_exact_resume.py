"""Real objectives, with dropout, layer drop and groups that decay: where a run was cut leaves no trace."""

import json

import pytest
import torch
from safetensors.torch import load_file
from test_trainer import rows_of, stop_at
from tiny_shapes import SSAM, WAV2VEC2

from nonverbal.data.batching.batches import ShardData
from nonverbal.data.batching.epochs import BatchSettings
from nonverbal.models import ssam
from nonverbal.models.wav2vec2 import Architecture, Dropouts
from nonverbal.objectives.contrastive import ContrastiveSettings, Wav2Vec2Settings, build_objective
from nonverbal.objectives.reconstruction import SsamSettings, build_ssam_objective
from nonverbal.signals import Interrupted
from nonverbal.training.optimizer import OptimizerSettings
from nonverbal.training.run_folder import RunFolder
from nonverbal.training.settings import TrainerSettings
from nonverbal.training.trainer import Trainer

TINY = Architecture(**WAV2VEC2 | {"layers": 3})


def contrastive():
    settings = Wav2Vec2Settings(
        architecture=TINY, dropouts=Dropouts(layer=0.3), objective=ContrastiveSettings(negatives=10)
    )
    return build_objective(settings, seed=0), OptimizerSettings(lr=1e-3, warmup_steps=2)


def reconstruction():
    settings = SsamSettings(architecture=ssam.Architecture(**SSAM))
    optimizer = OptimizerSettings(lr=1e-3, warmup_steps=2, weight_decay=0.05, decay="matrices", schedule="cosine")
    return build_ssam_objective(settings, seed=0), optimizer


FAMILIES = {"wav2vec2": contrastive, "audio_mamba": reconstruction}


def trainer_of(folder, shards, family, precision, workers):
    objective, optimizer = FAMILIES[family]()
    batches = BatchSettings(batch_seconds=3, max_seconds=1, min_seconds=0.5, batches_per_step=2)
    data = ShardData([shards], batches, objective.target_sampler, 0, workers)
    run = RunFolder(folder)
    run.checkpoints.mkdir(parents=True, exist_ok=True)
    training = TrainerSettings(
        steps=7,
        precision=precision,
        validate_every=4,
        checkpoint_every=5,
        log_every=1,
        workers=workers,
        optimizer=optimizer,
    )
    return Trainer(objective, data, training, run, seed=0)


@pytest.mark.parametrize(
    ("family", "precision", "workers"),
    [("wav2vec2", "fp32", 0), ("wav2vec2", "bf16", 1), ("audio_mamba", "fp32", 0), ("audio_mamba", "bf16", 0)],
)
def test_interrupted_twice_is_the_run_in_one_go(tmp_path, make_shards, family, precision, workers):
    clips = [("a", seconds, "train") for seconds in (0.6, 1.0, 1.5, 0.4, 2.0)] * 2 + [("a", 1.0, "validation")]
    shards = make_shards(clips)
    trainer_of(tmp_path / "whole", shards, family, precision, workers).train()
    for stop in (2, 6, None):
        trainer = trainer_of(tmp_path / "parts", shards, family, precision, workers)
        if stop is None:
            trainer.train()
            continue
        with pytest.raises(Interrupted):
            stop_at(trainer, stop)
    for file in ("checkpoints/step-7/model.safetensors", "checkpoints/step-7/optimizer.safetensors"):
        whole, parts = load_file(tmp_path / "whole" / file), load_file(tmp_path / "parts" / file)
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[name], parts[name]) for name in whole)
        assert all(value.dtype == torch.float32 for value in whole.values())
    rows = rows_of(tmp_path / "whole")
    assert rows == rows_of(tmp_path / "parts")
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert len(set(losses)) == 7
    assert json.loads((tmp_path / "whole/encoder/config.json").read_text())["model_type"] == family
