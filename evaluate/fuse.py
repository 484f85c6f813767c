"""Fuse frozen encoders: ``nonverbal fuse recipes/fuse/reno.yaml --data SHARDS --encoders A,B,C --out DIR``.

By path: ``python evaluate/fuse.py recipes/fuse/reno.yaml --data SHARDS ...``. All sets are tested on the same folds.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from nonverbal import cli, config
from nonverbal.data.index import open_shards
from nonverbal.errors import UserError
from nonverbal.evaluation.bias import Cell, bias_tasks, measure_bias, once_a_protocol
from nonverbal.evaluation.fusing import check_fusion, fuse, method_comparisons, sets_of
from nonverbal.evaluation.heads.fusion import FusionSettings
from nonverbal.evaluation.results import results
from nonverbal.evaluation.score_tables import comparisons_table, print_scores
from nonverbal.evaluation.tables import show
from nonverbal.evaluation.views import print_bias, print_division, print_sizes, print_untestable
from nonverbal.files import locked, room_for
from nonverbal.paths import PathOrName
from nonverbal.stages.launching import keep_launch
from nonverbal.tasks.measurements import measurements_of
from nonverbal.tasks.protocol_settings import ProtocolSettings
from nonverbal.tasks.scores import Score
from nonverbal.tasks.task import Task, task_of


@dataclass(kw_only=True)
class FuseConfig(ProtocolSettings):
    """Which encoders are fused, how, and on which clips."""

    data: list[Path]
    """Folders of shards with labelled clips; each folder is a task of its own."""
    encoders: list[PathOrName]
    """Encoders, as for `nonverbal probe`."""
    out: Path
    """Folder of the results: scores.jsonl, predictions/, and environment.json, which records each command."""
    methods: list[Literal["reno", "attention", "concat"]] = field(default_factory=lambda: ["reno"])
    """reno; attention: RENO without its divergence; concat: without its divergence and its attention. Only the
    comparison of reno with attention tests the divergence."""
    size: int = 2
    """Number of encoders in a set; all sets of this size are fused."""
    pairs: Literal["all", "reno"] = "all"
    """reno: leave out sets that consist only of Audio Mamba; RENO's seven encoders then give the 18 pairs of its Table
    II."""
    twins: bool = True
    """Whether each set is also fused with random weights (`initialised:`), because width alone explains much of a
    result."""
    fusion: FusionSettings = field(default_factory=FusionSettings)
    """The networks and their training."""
    labels: list[str] | dict[str, str | None] | str = field(default_factory=list)
    """Classes, all labels if empty; or a map of labels to classes, as for `nonverbal probe`."""
    pretraining: list[Path] = field(default_factory=list)
    """Manifests on which the encoders were pretrained. Scores then state whether the clips were held out."""
    allow_seen: bool = False
    """Also fuse encoders that were fine-tuned with labels of these clips. Scores and tables then state `labels
    seen`."""
    null: int = 0
    """Maximum number of label permutations, such as 999, for the p-value of each set's UAR. Each permutation repeats
    everything, including choices, and trains as many networks as the set itself. 0: no null."""
    cache: Path = Path("runs/embeddings")
    """Folder of embeddings, which several commands share."""
    bias: bool = False
    """Also score with random folds and with choices on the test fold, separately and together, and print what each
    adds."""


def main(argv: list[str]) -> None:
    """Embed, fuse, and show."""
    settings = config.load(FuseConfig, argv, prog="nonverbal fuse", description=__doc__)
    if not settings.methods or not settings.data:
        raise UserError("give at least one folder of shards (--data) and one of the methods reno, attention, concat")
    if settings.null < 0:
        raise UserError(f"--null must be at least 0, but is {settings.null}")
    sets = sets_of(settings.encoders, settings.size, settings.pairs, settings.twins)
    tasks = [task_of(open_shards(folder), settings.labels, settings.resolved()) for folder in settings.data]
    # All folders are checked before any is scored, so that none is refused after hours of work on another.
    ways = [bias_tasks(task) if settings.bias else {} for task in tasks]
    check_fusion(tasks, sets, settings.pretraining, settings.null, settings.allow_seen)
    launch = keep_launch(settings.out, ["fuse", *argv], settings)
    with room_for(settings.out):
        for task, own in zip(tasks, ways, strict=True):
            run(task, own, sets, settings, launch)
    print(f"scores: {settings.out / 'scores.jsonl'}\npredictions: {settings.out / 'predictions'}")


def run(task: Task, ways: Mapping[Cell, Task], sets: list[tuple[str, ...]], settings: FuseConfig, launch: str) -> None:
    """Fuse all sets on the clips of one folder, also under the protocols of ``--bias``, and show the results."""
    print_division(task)
    print_untestable(task, len(sets) * len(settings.methods), "sets and methods")

    def compute(task: Task, null: int) -> list[Score]:
        how = settings.methods, settings.fusion, settings.pretraining, settings.cache, settings.out
        return fuse(task, sets, *how, settings.allow_seen, null, launch)

    score = once_a_protocol(compute, settings.null)
    scores, file = score(task), settings.out / "scores.jsonl"
    print_scores(scores, file)
    show_methods(scores, file)
    for probe in dict.fromkeys(score.probe for score in scores):
        print_sizes([score for score in scores if score.probe == probe])
    if ways:
        biases = measure_bias(ways, score, file)
        with locked(settings.out, wait=True):
            print_bias(biases, task, settings.out)


def show_methods(scores: list[Score], file: Path) -> None:
    """Print how the methods of each set compare."""
    for result in results(measurements_of(scores, file)):
        if family := method_comparisons(result):
            show([comparisons_table(result, family)])


if __name__ == "__main__":
    cli.run(main)
