"""Score frozen encoders with linear probes: ``nonverbal probe --data SHARDS --encoders logmel RUN/encoder --out DIR``.

By path: ``python evaluate/probe.py --data SHARDS --encoders ...``. All encoders are tested on the same folds.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nonverbal import cli, config
from nonverbal.data.index import open_shards
from nonverbal.evaluation.figures import plot_layers, plot_probes
from nonverbal.evaluation.probing import compare
from nonverbal.evaluation.report import print_scores
from nonverbal.paths import PathOrName
from nonverbal.tasks.task import Group, make_task


@dataclass
class ProbeConfig:
    """Which encoders are probed on which clips, and how these are divided."""

    data: Path
    """Folder of shards that holds the labelled clips; those of both its splits are probed."""
    encoders: list[PathOrName]
    """Folders or Hugging Face Hub ids of encoders; `logmel`, `mfcc` or another name of `nonverbal encoders`;
    `initialised:FOLDER` for the same encoder with random weights."""
    out: Path
    """Folder of the results: scores.jsonl, predictions/ and figures."""
    labels: list[str] | dict[str, str | None] | str = field(default_factory=list)
    """Classes to tell apart, all where empty; or a map of labels to classes, {excitement: happiness, other: null}:
    null drops a label, those that are not named stay as they are, or go where "*" says; or the name of a map."""
    group: Group = "speaker"
    """What is never on both sides of a fold."""
    folds: int | Literal["leave-one-out"] = 5
    """Number of stratified folds, or leave-one-out: each group is tested on in turn."""
    seeds: list[int] = field(default_factory=lambda: [0])
    """One division into folds for each."""
    pretraining: list[Path] = field(default_factory=list)
    """Manifests the encoders were pretrained on. Scores then say whether the clips were held out or not."""
    cache: Path = Path("runs/embeddings")
    """Folder of embeddings, kept from probe to probe."""


def main(argv: list[str]) -> None:
    """Embed, probe, and show."""
    settings = config.load(ProbeConfig, argv, prog="nonverbal probe", description=__doc__)
    folds = None if settings.folds == "leave-one-out" else settings.folds
    task = make_task(open_shards(settings.data), settings.labels, settings.group, folds, settings.seeds)
    scores = compare(task, settings.encoders, settings.pretraining, settings.cache, settings.out)
    figure = settings.out / f"{task.slug}.png"
    plot_probes(scores, figure)
    print_scores(scores)
    print(f"scores: {settings.out / 'scores.jsonl'}\npredictions: {settings.out / 'predictions'}\nfigure: {figure}")
    curves = settings.out / f"{task.slug}-layers.png"
    if plot_layers(scores, curves):
        print(f"layers: {curves}")


if __name__ == "__main__":
    cli.run(main)
