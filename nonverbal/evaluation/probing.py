"""Probes several frozen encoders on one task with one protocol: embeddings, a head on every fold, scores."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nonverbal.data.manifest import Clip
from nonverbal.errors import UserError
from nonverbal.evaluation.cross_validation import FoldResult, cross_validate
from nonverbal.evaluation.encoders import check_encoder, learned, load_encoder
from nonverbal.evaluation.encoders.finetuned import is_finetuned, open_run
from nonverbal.evaluation.features import Features, features_of
from nonverbal.evaluation.heads.base import Head
from nonverbal.evaluation.heads.by_name import full_name, head_named
from nonverbal.evaluation.nulls import label_null
from nonverbal.files import locked
from nonverbal.public_checkpoints import heard
from nonverbal.tasks.contamination import HELD_OUT, LABELS_SEEN, by_authors, by_manifests
from nonverbal.tasks.labels_seen import seen_by
from nonverbal.tasks.predictions import write_predictions
from nonverbal.tasks.scores import Score, write_scores
from nonverbal.tasks.task import Task
from nonverbal.text import one_line


def compare(
    task: Task,
    encoders: Sequence[str],
    pretraining: Sequence[Path],
    cache: Path,
    out: Path,
    names: Sequence[str] = (),
    head: str = "logistic",
    null: int = 0,
    allow_seen: bool = False,
    launch: str = "",
) -> list[Score]:
    """Probe each encoder on the same folds, and write ``scores.jsonl`` and ``predictions/`` to ``out`` after each.

    Args:
        task: clips and folds.
        encoders: see ``load_encoder``. ``initialised:`` draws its weights by the first seed of the task.
            ``finetuned:RUN`` embeds the clips of each fold with the weights that were fine-tuned in it.
        pretraining: manifests on which the encoders were pretrained; empty if they are not known.
        cache: folder of stored embeddings.
        out: folder of the results.
        names: names of the encoders in the scores; if empty, those in ``encoders``.
        head: the head to train on the embeddings; see ``head_named``.
        null: maximum number of permutations of labels for the first seed (see ``label_null``); 0 for no null.
        allow_seen: whether to accept encoders that have seen labels of the clips, which the scores then say.
        launch: key of the command that was started; see ``Score``.

    Raises:
        UserError: an encoder does not exist, has seen labels, or is a run that was divided differently; raised before
            anything is computed.
    """
    head = full_name(head)
    check_encoders([task], encoders, null)
    statuses = leak_statuses(task.clips, encoders, pretraining, allow_seen)
    scores: list[Score] = []
    for name, source, status in zip(names or encoders, encoders, statuses, strict=True):
        encoder = open_run(source) if is_finetuned(source) else load_encoder(source, next(iter(task.folds)))
        subject = Subject(name, encoder.key, status, *features_of(task, encoder, cache, head))
        scores += score_subject(task, subject, head, head_named(head), out, null, launch)
    return scores


@dataclass(frozen=True)
class Subject:
    """What a name in scores stands for."""

    name: str
    key: str
    """Key of the encoder; see ``Score.model_key``."""
    status: str
    """Its leak status: whether it was trained on the clips."""
    features: Features
    """The features of all clips that a head reads."""
    one_frame: bool
    """Whether a clip is one frame."""


def score_subject(
    task: Task, subject: Subject, probe: str, head: Head[Any], out: Path, null: int = 0, launch: str = ""
) -> list[Score]:
    """Fit a head on each fold of each seed, and write its scores and predictions after each seed.

    Args:
        task: clips and folds.
        subject: the features that the head reads.
        probe: the name of the head in scores.
        head: the head to fit.
        out: folder of the results.
        null: see ``compare``.
        launch: see ``compare``.
    """
    scores: list[Score] = []
    for seed in task.folds:
        results = _probe(task, subject, seed, head)
        new = _scores(task, subject, results, seed, probe, launch)
        if null and seed == next(iter(task.folds)):
            found = _null(task, subject, seed, head, null)
            new = [replace(score, null=found) for score in new]
        # Other processes may add to the same file.
        with locked(out, wait=True):
            write_predictions(out / new[0].predictions, _predictions(task, results, head.gives))
            write_scores(out / "scores.jsonl", new)
        scores += new
    return scores


def check_encoders(tasks: Sequence[Task], encoders: Sequence[str], null: int) -> None:
    """Refuse encoders that do not exist or cannot be scored, before anything is computed.

    Args:
        tasks: all tasks that will be scored.
        encoders: as for ``compare``.
        null: as for ``compare``.

    Raises:
        UserError: an encoder does not exist, or is a fine-tuned run that was divided differently from one of the tasks.
    """
    for source in encoders:
        check_encoder(source)
        if not is_finetuned(source):
            continue
        for task in tasks:
            open_run(source).check(task)
        if null:
            raise UserError(
                f"{source} was trained on the true labels, so a null with permuted labels would be meaningless: "
                "leave out --null, or the encoder"
            )


def _refuse_seen(encoders: Sequence[str], statuses: Sequence[str]) -> None:
    for source, status in zip(encoders, statuses, strict=True):
        if status == LABELS_SEEN:
            raise UserError(
                f"{source} was fine-tuned with labels of these clips, so its decisions on them say nothing about "
                "other clips: give finetuned:RUN, under the folds of its run, or clips whose labels it has not "
                "seen; with --allow-seen it is scored anyway, and the results state this"
            )


def leak_statuses(
    clips: Sequence[Clip], encoders: Sequence[str], manifests: Sequence[Path], allow_seen: bool = False
) -> list[str]:
    """Return the leak status of each encoder: whether it was trained on the clips.

    Encoders without weights, or with random ones, were trained on nothing. For a public checkpoint, what its authors
    say decides; for all other encoders, the manifests do. An encoder that was fine-tuned may have seen labels; if it
    has not seen those of these clips, as for the test clips of each fold of ``finetuned:RUN``, the status is that of
    the encoder from which it started.

    Raises:
        UserError: an encoder has seen labels of the clips and ``allow_seen`` is false, or a manifest cannot be read.
    """
    ours = by_manifests(clips, manifests)
    statuses = [_leak_status(clips, source, ours) for source in encoders]
    if not allow_seen:
        _refuse_seen(encoders, statuses)
    return statuses


def _leak_status(clips: Sequence[Clip], source: str, ours: str, later: frozenset[str] = frozenset()) -> str:
    """Return the status of an encoder from which those in ``later`` started."""
    if not learned(source):
        return HELD_OUT
    if source in later:
        # Files that were written by hand may refer to each other in a circle.
        return ours
    later |= {source}
    if is_finetuned(source):
        return _leak_status(clips, open_run(source).init, ours, later)
    seen = seen_by(Path(source))
    if seen is not None and any(map(seen.holds, clips)):
        return LABELS_SEEN
    if seen is not None and seen.init is not None:
        return _leak_status(clips, seen.init, ours, later)
    # A local folder may have the name of a checkpoint of the Hub.
    known = None if Path(source).exists() else heard(source)
    return ours if known is None else by_authors(clips, known)


def _probe(task: Task, subject: Subject, seed: int, head: Head[Any]) -> list[FoldResult]:
    from rich.console import Console
    from rich.progress import track

    console, folds = Console(stderr=True), task.folds[seed]
    protocol = task.division.protocol
    read = subject.features, task.labels, task.groups
    results = cross_validate(head, *read, folds, seed, protocol, subject.one_frame)
    title, silent = f"probing {subject.name}", not console.is_terminal
    return list(track(results, title, len(folds), transient=True, console=console, disable=silent))


def _null(task: Task, subject: Subject, seed: int, head: Head[Any], most: int) -> dict[str, float | str]:
    from rich.console import Console

    console = Console(stderr=True)
    title = f"null of {one_line(subject.name)}: up to {most} permutations"
    with console.status(title) if console.is_terminal else nullcontext():
        null = label_null(task, head, subject.features, seed, most, subject.one_frame)
    found = {"p": null.p, "mean": null.mean, "draws": null.draws, "exceeding": null.exceeding}
    return {**found, "what": str(null.what)}


def _scores(task: Task, subject: Subject, results: list[FoldResult], seed: int, head: str, launch: str) -> list[Score]:
    return [
        Score(
            model=subject.name,
            model_key=subject.key,
            corpus=task.corpus,
            data_sha256=task.shards.sha256,
            classes=task.classes,
            protocol=task.protocol,
            probe=head,
            seed=seed,
            fold=result.fold,
            metrics=result.metrics,
            chosen=result.chosen,
            train_clips=result.train_clips,
            test_clips=len(result.test),
            test_classes=len({task.labels[i] for i in result.test}),
            pretraining=subject.status,
            predictions=task.predictions_file(subject.name, seed, head),
            inner_uar=result.inner_uar,
            merged=task.merged,
            details=result.details,
            lets_through=task.division.lets_through,
            launch=launch,
        )
        for result in results
    ]


def _predictions(task: Task, results: list[FoldResult], gives: str) -> Iterable[dict[str, Any]]:
    for result in results:
        for row, predicted, values in zip(result.test, result.predicted, result.values, strict=True):
            decided = {"predicted": predicted, gives: dict(zip(result.classes, values.tolist(), strict=True))}
            yield task.prediction(row, result.fold) | decided
