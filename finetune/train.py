"""Fine-tune an encoder on labelled clips: ``nonverbal finetune RECIPE.yaml --data SHARDS --init ENCODER --out RUN``.

By path: ``python finetune/train.py RECIPE.yaml --data SHARDS --init ENCODER --out RUN``. Each fold of the protocol is a
run of its own, RUN/seed-0/fold-3, and its epoch is chosen inside its training side; the scores of all
folds are in RUN/scores.jsonl. ``--final`` also trains on all clips and writes the model to use to RUN/model. ``--jobs
4`` trains four folds side by side, ``--trainer.processes 4`` each fold on four processes, one per GPU. The same command
again continues where it stopped.
"""

from nonverbal import cli, config
from nonverbal.evaluation.figures import plot_probes
from nonverbal.evaluation.score_tables import print_scores
from nonverbal.evaluation.views import print_division
from nonverbal.files import locked, room_for
from nonverbal.signals import Interrupted
from nonverbal.stages.finetuning.campaign import Campaign
from nonverbal.stages.finetuning.settings import FinetuneConfig
from nonverbal.stages.running import part
from nonverbal.training.launching.launch import launch


def main(argv: list[str]) -> None:
    """Train and test every fold that is not done, and show the scores."""
    settings = config.load(FinetuneConfig, argv, prog="nonverbal finetune", description=__doc__)
    launch(settings.trainer.processes, settings.trainer.timeout_minutes)
    with room_for(settings.out):
        finetune(settings)


def finetune(settings: FinetuneConfig) -> None:
    """Train and test, and show."""
    campaign = Campaign(settings)
    processes = campaign.processes
    if processes.is_first:
        print_division(campaign.task)
    try:
        campaign.run()
    except Interrupted:
        # All processes have saved, and end together.
        part(processes)
        raise
    if processes.is_first and (scores := campaign.scores()):
        file, figure = settings.out / "scores.jsonl", settings.out / f"{campaign.task.slug}.png"
        print_scores(scores, file)
        print(f"scores: {file}\npredictions: {settings.out / 'predictions'}")
        if campaign.task.classes:
            # If separate commands train the folds, several may get here at the same time.
            with locked(settings.out, wait=True):
                plot_probes(scores, figure)
            print(f"figure: {figure}")
    if campaign.model.is_dir() and processes.is_first:
        print(f"model: {campaign.model}")
    part(processes)


if __name__ == "__main__":
    cli.run_among_others(main)
