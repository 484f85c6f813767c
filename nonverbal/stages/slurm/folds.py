"""Checks before the folds of a fine-tuning are submitted."""

from nonverbal import config
from nonverbal.errors import UserError
from nonverbal.stages.finetuning.campaign import check_start, learner_for, task_for
from nonverbal.stages.finetuning.folds import fold_runs
from nonverbal.stages.finetuning.settings import FinetuneConfig
from nonverbal.stages.slurm.checks import check_launch
from nonverbal.stages.slurm.settings import SubmitConfig


def check_folds(settings: SubmitConfig, passed: list[str]) -> list[str]:
    """Check a fine-tuning before it is submitted, and return the names of all folds.

    Raises:
        UserError: fine-tuning does not know a setting, a setting is decided by the array, shards are incomplete, clips
            cannot be divided, the encoder cannot be read, there are too many processes, or ``setup`` is not valid bash.
    """
    command = [*passed, f"--out={settings.out}", "--data", *map(str, settings.data)]
    tuned = config.load(FinetuneConfig, command, prog="nonverbal finetune", description="")
    if tuned.jobs > 1 or tuned.only is not None:
        raise UserError(
            "the array sets jobs and only, because its tasks are the folds; leave them out (--at_once limits how many "
            "folds run at the same time)"
        )
    batches, trainer = tuned.batches, tuned.trainer
    check_launch(settings, trainer.processes, batches.batches_per_step, "raise batches.batches_per_step")
    task = task_for(tuned)
    folds = fold_runs(task)
    check_start(learner_for(tuned, task), folds)
    return [fold.name for fold in folds]
