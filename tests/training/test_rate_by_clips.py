"""``lr_clips``: a peak learning rate in proportion to the clips of a step."""

from pathlib import Path

import pytest
from tiny_runs import CLIPS, MAMBA, pretrain_here, rows

from nonverbal.data.batching.epochs import BatchSettings
from nonverbal.errors import UserError
from nonverbal.stages.pretraining import PretrainConfig, trainer_of
from nonverbal.training.optimizer import OptimizerSettings
from nonverbal.training.settings import TrainerSettings


def settings_of(rows=128, per_step=8, **optimizer):
    batches = BatchSettings(batch_seconds=1280, batch_rows=rows, batches_per_step=per_step)
    trainer = TrainerSettings(optimizer=OptimizerSettings(**optimizer))
    return PretrainConfig(data=[Path("shards")], out=Path("run"), batches=batches, trainer=trainer)


@pytest.mark.parametrize(("rows", "per_step", "peak"), [(128, 8, 6e-4), (128, 2, 1.5e-4), (16, 1, 9.375e-6)])
def test_the_rate_is_in_proportion_to_the_clips(rows, per_step, peak):
    assert trainer_of(settings_of(rows, per_step, lr=1.5e-4, lr_clips=256)).optimizer.lr == pytest.approx(peak)


def test_without_lr_clips_the_rate_is_as_given():
    settings = settings_of(lr=1.5e-4)
    assert trainer_of(settings) == settings.trainer


def test_it_needs_a_number_of_clips():
    with pytest.raises(UserError, match=r"batches.batch_rows is not set.* set batches.batch_rows, or leave"):
        settings_of(rows=None, lr=1.5e-4, lr_clips=256)


def test_a_run_learns_at_the_scaled_rate_and_says_so(make_shards, tmp_path, capsys):
    batches = ("batches.batch_rows=2", "batches.batches_per_step=3", "trainer.steps=2")
    rate = ("trainer.optimizer.lr=0.01", "trainer.optimizer.lr_clips=60", "trainer.optimizer.warmup_steps=1")
    run = pretrain_here(make_shards(CLIPS).folder, tmp_path / "run", *MAMBA, *batches, *rate)
    assert "peak learning rate: 0.001, for 6 clips a step" in capsys.readouterr().out
    assert rows(run)[0]["lr"] == pytest.approx(0.001)
