"""Score frozen encoders with small heads: ``nonverbal probe --data SHARDS --encoders logmel RUN/encoder --out DIR``.

By path: ``python evaluate/probe.py --data SHARDS --encoders ...``. All encoders are tested on the same folds.
"""

from dataclasses import dataclass, field
from pathlib import Path

from nonverbal import cli, config
from nonverbal.data.index import open_shards
from nonverbal.errors import UserError
from nonverbal.evaluation.bias import bias_tasks, measure_bias, once_a_protocol
from nonverbal.evaluation.figures import plot_layers, plot_probes
from nonverbal.evaluation.learning_curve import curve_tasks, learning_curve
from nonverbal.evaluation.probing import check_encoders, compare, leak_statuses
from nonverbal.evaluation.score_tables import print_scores
from nonverbal.evaluation.subgroups import values_of
from nonverbal.evaluation.views import (
    print_bias,
    print_curve,
    print_division,
    print_sizes,
    print_subgroups,
    print_untestable,
)
from nonverbal.files import locked, room_for
from nonverbal.paths import PathOrName
from nonverbal.stages.launching import keep_launch
from nonverbal.tasks.protocol_settings import ProtocolSettings
from nonverbal.tasks.scores import Score
from nonverbal.tasks.task import Task, task_of
from nonverbal.text import slug


@dataclass(kw_only=True)
class ProbeConfig(ProtocolSettings):
    """Which encoders are probed on which clips, and how these are divided."""

    data: Path
    """Folder of shards with the labelled clips. The clips of both its training and its validation split are used."""
    encoders: list[PathOrName]
    """Folders or Hugging Face Hub ids of encoders; `logmel`, `mfcc` or another name of `nonverbal encoders`;
    `initialised:FOLDER` for the same encoder with random weights; `finetuned:RUN` for a fine-tuned run under its own
    folds."""
    out: Path
    """Folder of the results: scores.jsonl, predictions/, figures, and environment.json, which records each command."""
    labels: list[str] | dict[str, str | None] | str = field(default_factory=list)
    """Classes, all labels if empty; or a map of labels to classes, {excitement: happiness, other: null}: null drops a
    label, labels that are not named stay as they are, or are mapped as "*" says; or the name of a map."""
    head: str = "logistic"
    """Classifier trained on the embeddings: logistic, svm, mlp, linear, nonlinear, multilayer, fcn or cnn
    (docs/heads.md). Settings that differ from the head's defaults follow, as in `fcn:dropout=0.1,batch=16`."""
    pretraining: list[Path] = field(default_factory=list)
    """Manifests on which the encoders were pretrained. Scores then state whether the clips were held out."""
    allow_seen: bool = False
    """Also score encoders that were fine-tuned with labels of these clips, outside the folds of their run. Scores and
    tables then state `labels seen`."""
    null: int = 0
    """Maximum number of label permutations, such as 999, for the p-value of each encoder's UAR. Each permutation
    repeats everything, including choices. 0: no null."""
    cache: Path = Path("runs/embeddings")
    """Folder of embeddings, which several probes share."""
    bias: bool = False
    """Also score with random folds and with choices on the test fold, separately and together, and print what each
    adds."""
    per_class: list[int] = field(default_factory=list)
    """Also compute a learning curve, for these numbers of training clips per class, such as 1,2,5,10,20."""
    by: list[str] = field(default_factory=list)
    """Also print results by subgroup, for these attributes of clips, such as sex, or corpus, language."""


def main(argv: list[str]) -> None:
    """Embed, probe, and show."""
    settings = config.load(ProbeConfig, argv, prog="nonverbal probe", description=__doc__)
    if settings.null < 0:
        raise UserError(f"--null must be at least 0, but is {settings.null}")
    with room_for(settings.out):
        probe(settings, argv)


def probe(settings: ProbeConfig, argv: list[str]) -> None:
    """Embed and score in all requested ways, and show the results."""
    protocol = settings.resolved()
    task = task_of(open_shards(settings.data), settings.labels, protocol)
    ways = bias_tasks(task) if settings.bias else {}
    sizes = curve_tasks(task, settings.per_class) if settings.per_class else {}
    for name in settings.by:
        values_of(task.clips, name)
    check_encoders([task, *ways.values(), *sizes.values()], settings.encoders, settings.null)
    leak_statuses(task.clips, settings.encoders, settings.pretraining, settings.allow_seen)
    print_division(task)
    print_untestable(task, len(settings.encoders), "encoders")
    launch = keep_launch(settings.out, ["probe", *argv], settings)

    def compute(task: Task, null: int) -> list[Score]:
        places, seen = (settings.pretraining, settings.cache, settings.out), settings.allow_seen
        return compare(task, settings.encoders, *places, head=settings.head, null=null, allow_seen=seen, launch=launch)

    score = once_a_protocol(compute, settings.null)
    scores, file = score(task), settings.out / "scores.jsonl"
    biases = measure_bias(ways, score, file) if ways else []
    points = learning_curve(task, sizes, score, scores, file) if sizes else []
    # Other probes may write to the same folder at the same time.
    with locked(settings.out, wait=True):
        show(task, scores, file, settings.by)
        if biases:
            print_bias(biases, task, settings.out)
        if points:
            print_curve(points, task, settings.out)
        print_files(task, scores, file)


def show(task: Task, scores: list[Score], file: Path, by: list[str]) -> None:
    """Print the tables of scores."""
    print_scores(scores, file)
    print_sizes(scores)
    for name in by:
        print_subgroups(scores, file, task, name)


def print_files(task: Task, scores: list[Score], file: Path) -> None:
    """Draw the figures, and print which files were written."""
    out, stem = file.parent, f"{task.slug}-{slug(scores[0].probe)}"
    plot_probes(scores, out / f"{stem}.png")
    print(f"scores: {file}\npredictions: {out / 'predictions'}\nfigure: {out / stem}.png")
    if plot_layers(scores, out / f"{stem}-layers.png"):
        print(f"layers: {out / stem}-layers.png")


if __name__ == "__main__":
    cli.run(main)
