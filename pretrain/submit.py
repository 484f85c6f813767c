"""Pretrain on a Slurm cluster: ``nonverbal submit RECIPE.yaml --data SHARDS --out RUN --nodes 2 --gpus 4``.

By path: ``python pretrain/submit.py RECIPE.yaml --data SHARDS ...``. The command takes every setting of
``nonverbal pretrain`` too, and writes RUN/slurm/pretrain.sh, which you can read and change before you submit it with
sbatch; ``--submit`` does that for you. The run saves a checkpoint before its time limit and when it is preempted, and
is queued again until it is done. ``nonverbal submit --finetune RECIPE.yaml --data SHARDS --init ENCODER --out RUN``
fine-tunes instead, each fold as a task of an array, with every setting of ``nonverbal finetune``.
"""

from pathlib import Path

from nonverbal import cli, config
from nonverbal.stages.slurm.checks import check_settings
from nonverbal.stages.slurm.sbatch import submit, submit_command
from nonverbal.stages.slurm.scripts import log_of, write_fold_scripts, write_scripts
from nonverbal.stages.slurm.settings import SubmitConfig, split


def main(argv: list[str]) -> None:
    """Check the settings, write the scripts, and submit them or print how to."""
    own, passed = split(argv)
    settings = config.load(SubmitConfig, with_cluster(own), prog="nonverbal submit", description=__doc__)
    scripts = checked_scripts(settings, passed)
    print("\n".join(f"wrote {script}" for script in scripts))
    if not settings.submit:
        print(f"submit with: {submit_command(scripts, settings.second_after)}")
        return
    job = None
    for script in scripts:
        job = submit(script, after=None if job is None else f"{settings.second_after}:{job}")
        print(f"job {job}: log in {log_of(script, job)}")


def checked_scripts(settings: SubmitConfig, passed: list[str]) -> list[Path]:
    """Check the settings of the run, and write its scripts."""
    if settings.finetune is None:
        check_settings(settings, passed)
        return write_scripts(settings, passed)
    # Imported only here, so that pretraining does not wait for it.
    from nonverbal.stages.slurm.folds import check_folds

    passed = [settings.finetune, *passed]
    return write_fold_scripts(settings, passed, check_folds(settings, passed))


def with_cluster(own: list[str]) -> list[str]:
    """Put the file of ``--cluster`` where ``config.load`` looks for a recipe."""
    for position, argument in enumerate(own):
        key, _, value = argument.partition("=")
        if key == "--cluster":
            return [*([value] if value else own[position + 1 : position + 2]), *own]
    return own


if __name__ == "__main__":
    cli.run(main)
