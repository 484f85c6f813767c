"""One task, one protocol, several frozen encoders: embeddings, a head on every fold, scores."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from nonverbal.data.manifest import Clip
from nonverbal.evaluation.cross_validation import FoldResult, cross_validate
from nonverbal.evaluation.encoders import Encoder, check_encoder, learned, load_encoder
from nonverbal.evaluation.features import Features, features_of
from nonverbal.evaluation.heads.by_name import full_name, head_named
from nonverbal.evaluation.nulls import label_null
from nonverbal.public_checkpoints import heard
from nonverbal.tasks.contamination import HELD_OUT, by_authors, by_manifests
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
) -> list[Score]:
    """Probe each encoder on the same folds; write ``scores.jsonl`` and ``predictions/`` to ``out`` as each is done.

    Args:
        task: clips and folds.
        encoders: see ``load_encoder``. ``initialised:`` draws its weights by the first seed of the task.
        pretraining: manifests on which the encoders were pretrained; empty where that is not known.
        cache: folder of kept embeddings.
        out: folder of the results.
        names: what the encoders are called in the scores; as in ``encoders`` where empty.
        head: what is trained on the embeddings, see ``head_named``.
        null: how often labels are permuted at most, for the first seed (see ``label_null``); 0 for no null.
    """
    head = full_name(head)
    for source in encoders:
        check_encoder(source)
    statuses = leak_statuses(task.clips, encoders, pretraining)
    scores: list[Score] = []
    for name, source, status in zip(names or encoders, encoders, statuses, strict=True):
        encoder = load_encoder(source, next(iter(task.folds)))
        features, one_frame = features_of(task, encoder, cache, head)
        for seed in task.folds:
            results = _probe(task, name, features, one_frame, seed, head)
            new = _scores(task, encoder, name, status, results, seed, head)
            if null and seed == next(iter(task.folds)):
                found = _null(task, name, features, one_frame, seed, head, null)
                new = [replace(score, null=found) for score in new]
            write_predictions(out / new[0].predictions, _predictions(task, results, head_named(head).gives))
            write_scores(out / "scores.jsonl", new)
            scores += new
    return scores


def leak_statuses(clips: Sequence[Clip], encoders: Sequence[str], manifests: Sequence[Path]) -> list[str]:
    """Return for each encoder whether it has heard the clips.

    What has no weights, or random ones, has heard nothing. Of a public checkpoint counts what its authors say of it;
    the manifests count for all other encoders.
    """
    ours = by_manifests(clips, manifests)
    return [_leak_status(clips, source, ours) for source in encoders]


def _leak_status(clips: Sequence[Clip], source: str, ours: str) -> str:
    if not learned(source):
        return HELD_OUT
    # A folder here may have the name of a checkpoint of the Hub.
    known = None if Path(source).exists() else heard(source)
    return ours if known is None else by_authors(clips, known)


def _probe(task: Task, name: str, features: Features, one_frame: bool, seed: int, head: str) -> list[FoldResult]:
    from rich.console import Console
    from rich.progress import track

    console, folds = Console(stderr=True), task.folds[seed]
    protocol = task.division.protocol
    results = cross_validate(head_named(head), features, task.labels, task.groups, folds, seed, protocol, one_frame)
    title, silent = f"probing {name}", not console.is_terminal
    return list(track(results, title, len(folds), transient=True, console=console, disable=silent))


def _null(
    task: Task, name: str, features: Features, one_frame: bool, seed: int, head: str, most: int
) -> dict[str, float | str]:
    from rich.console import Console

    console = Console(stderr=True)
    with (
        console.status(f"null of {one_line(name)}: up to {most} permutations") if console.is_terminal else nullcontext()
    ):
        null = label_null(task, head_named(head), features, seed, most, one_frame)
    found = {"p": null.p, "mean": null.mean, "draws": null.draws, "exceeding": null.exceeding}
    return {**found, "what": str(null.what)}


def _scores(
    task: Task, encoder: Encoder, name: str, status: str, results: list[FoldResult], seed: int, head: str
) -> list[Score]:
    return [
        Score(
            model=name,
            model_key=encoder.key,
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
            pretraining=status,
            predictions=task.predictions_file(name, seed, head),
            inner_uar=result.inner_uar,
            merged=task.merged,
            details=result.details,
            lets_through=task.division.lets_through,
        )
        for result in results
    ]


def _predictions(task: Task, results: list[FoldResult], gives: str) -> Iterable[dict[str, Any]]:
    for result in results:
        for row, predicted, values in zip(result.test, result.predicted, result.values, strict=True):
            decided = {"predicted": predicted, gives: dict(zip(result.classes, values.tolist(), strict=True))}
            yield task.prediction(row, result.fold) | decided
