"""Pretrain an encoder on shards: ``nonverbal pretrain RECIPE.yaml --data SHARDS --out RUN``.

By path: ``python pretrain/train.py RECIPE.yaml --data SHARDS --out RUN``. ``--trainer.processes 8`` starts eight
processes, one per GPU; accelerate, torchrun and srun may start them too (``accelerate launch pretrain/train.py ...``).
The same command again continues a run that ended early.
"""

from dataclasses import replace

from nonverbal import cli, config
from nonverbal.signals import Interrupted
from nonverbal.stages.pretraining import PretrainConfig, build, check_alike, free_settings, scan_on, trainer_of
from nonverbal.stages.running import part, run_held, say_start
from nonverbal.training.launching.launch import launch
from nonverbal.training.run_folder import RunFolder
from nonverbal.training.trainer import Trainer


def main(argv: list[str]) -> None:
    """Train until the last step, or until a signal."""
    settings = config.load(PretrainConfig, argv, prog="nonverbal pretrain", description=__doc__)
    launch(settings.trainer.processes, settings.trainer.timeout_minutes)
    run = RunFolder(settings.out)
    objective, data = build(settings, run.data())
    trained = trainer_of(settings)
    trainer = Trainer(objective, data, trained, run, settings.seed)
    with trainer.processes.in_contact():
        check_alike(trainer.processes, data)
    scan = scan_on(settings, objective, trainer.processes.device)
    # The recipe records what "auto" resolved to.
    settings = replace(settings, trainer=replace(settings.trainer, precision=trainer.precision.value))
    with run_held(trainer, settings, free_settings(settings.family), data.contents, scan):
        trainer.report.say(data.describe())
        trainer.report.say(str(trainer.precision))
        if trained.optimizer.lr_clips is not None:
            rate = trained.optimizer
            trainer.report.say(f"peak learning rate: {rate.lr:g}, for {rate.lr_clips} clips a step")
        if scan is not None:
            trainer.report.say(f"selective scan: {scan}")
        say_start(objective.account, trainer.report)
        try:
            trainer.train()
        except Interrupted:
            # All processes have saved, and end together.
            part(trainer.processes)
            raise
        if trainer.processes.is_first:
            # Other processes may not yet see the files that the first has just written.
            trainer.report.say(f"encoder: {run.encoder} (from {run.best})")
        part(trainer.processes)


if __name__ == "__main__":
    cli.run_among_others(main)
