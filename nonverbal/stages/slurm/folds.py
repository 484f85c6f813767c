"""What the folds of a fine-tuning would find wrong after they have waited in a queue, found before."""

from nonverbal import config
from nonverbal.errors import UserError
from nonverbal.stages.finetuning.campaign import check_start, learner_for, task_for
from nonverbal.stages.finetuning.folds import fold_runs
from nonverbal.stages.finetuning.settings import FinetuneConfig
from nonverbal.stages.slurm.checks import check_launch
from nonverbal.stages.slurm.settings import SubmitConfig


def check_folds(settings: SubmitConfig, passed: list[str]) -> list[str]:
    """Find out before the queue what a fold would find out after it, and return the names of all folds.

    Raises:
        UserError: a setting that fine-tuning does not know or the array decides, shards that are not whole, clips that
            cannot be divided, an encoder that cannot be read, too many processes, bad setup.
    """
    command = [*passed, f"--out={settings.out}", "--data", *map(str, settings.data)]
    tuned = config.load(FinetuneConfig, command, prog="nonverbal finetune", description="")
    if tuned.jobs > 1 or tuned.only is not None:
        raise UserError("jobs and only follow from the array, whose tasks are the folds: leave them out; see --at_once")
    batches, trainer = tuned.batches, tuned.trainer
    check_launch(settings, trainer.processes, batches.batches_per_step, "raise batches.batches_per_step")
    task = task_for(tuned)
    folds = fold_runs(task)
    check_start(learner_for(tuned, task), folds)
    return [fold.name for fold in folds]
