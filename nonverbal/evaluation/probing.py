"""One task, one protocol, several frozen encoders: embeddings, linear probes, scores."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from nonverbal.data.index import ShardFolder
from nonverbal.data.manifest import Clip, read_manifest
from nonverbal.errors import UserError
from nonverbal.evaluation.embeddings import embed, slug
from nonverbal.evaluation.encoders import INITIALISED, FrameEncoder, check_encoder, load_encoder
from nonverbal.evaluation.folds import Fold, group_folds, leave_one_group_out, protocol_name, speaker_groups
from nonverbal.evaluation.probes import FoldResult, linear_probe
from nonverbal.evaluation.scores import Score, write_predictions, write_scores

Group = Literal["speaker", "recording"]
PROBE = "linear"


@dataclass(frozen=True)
class Task:
    """Clips whose classes are to be told apart, and how they are divided."""

    shards: ShardFolder
    rows: np.ndarray
    """``(clips,)`` int64, rows of the manifest."""
    clips: list[Clip]
    labels: list[str]
    groups: list[str]
    """Each clip's group, which no fold splits."""
    folds: dict[int, list[Fold]]
    """Seed to folds; both sides hold positions in ``clips``."""
    protocol: str

    @property
    def classes(self) -> list[str]:
        """The classes, sorted."""
        return sorted(set(self.labels))

    @property
    def corpus(self) -> str:
        """Names of the clips' corpora, joined by ``+``."""
        return "+".join(sorted({clip.corpus for clip in self.clips}))

    @property
    def slug(self) -> str:
        """Corpora, protocol and classes, as they may stand in a file's name."""
        return slug(f"{self.corpus} {self.protocol} {len(self.classes)} classes")


def make_task(
    shards: ShardFolder, classes: Sequence[str], group: Group, folds: int | None, seeds: Sequence[int]
) -> Task:
    """Select the labelled clips of a folder of shards, train and validation alike, and divide them.

    Args:
        shards: holds the clips.
        classes: labels to tell apart; all there are where empty. Unlabelled clips are never probed.
        group: what is not split.
        folds: how many, or None to leave one group out at a time.
        seeds: one division for each; leaving one out draws nothing, and takes one seed.

    Raises:
        UserError: a class that no clip has, or no such division (see ``group_folds``).
    """
    manifest = shards.clips()
    present = Counter(clip.label for clip in manifest if clip.label is not None)
    unknown = [name for name in classes if name not in present]
    if unknown:
        raise UserError(
            f"no clip in {shards.folder} is labelled {unknown[0]!r}; there are: {', '.join(sorted(present))}"
        )
    wanted = set(classes) or set(present)
    chosen = [
        (row, clip, clip.label) for row, clip in enumerate(manifest) if clip.label is not None and clip.label in wanted
    ]
    if not chosen:
        raise UserError(f"no clip in {shards.folder} has a label, so there is nothing to probe")
    rows, clips, labels = map(list, zip(*chosen, strict=True))
    groups = speaker_groups(clips) if group == "speaker" else [clip.recording for clip in clips]
    if folds is None and len(seeds) != 1:
        raise UserError(f"leaving one {group} out draws nothing, so it takes one seed, but was given {list(seeds)}")
    divisions = {
        seed: leave_one_group_out(labels, groups) if folds is None else group_folds(labels, groups, folds, seed)
        for seed in seeds
    }
    return Task(shards, np.array(rows), clips, labels, groups, divisions, protocol_name(group, folds))


def compare(
    task: Task, encoders: Sequence[str], pretraining: Sequence[Path], cache: Path, out: Path, names: Sequence[str] = ()
) -> list[Score]:
    """Probe each encoder on the same folds; write ``scores.jsonl`` and ``predictions/`` to ``out`` as each is done.

    Args:
        task: clips and folds.
        encoders: see ``load_encoder``. ``initialised:`` draws its weights by the first seed of the task.
        pretraining: manifests on which the encoders were pretrained; empty where that is not known.
        cache: folder of kept embeddings.
        out: folder of the results.
        names: what the encoders are called in the scores; as in ``encoders`` where empty.
    """
    for source in encoders:
        check_encoder(source)
    status = contamination(task.clips, pretraining)
    scores: list[Score] = []
    for name, source in zip(names or encoders, encoders, strict=True):
        encoder = load_encoder(source, next(iter(task.folds)))
        embeddings = embed(encoder, task.shards, task.rows, cache)
        untrained = source == "logmel" or source.startswith(INITIALISED)
        for seed, folds in task.folds.items():
            results = _probe(task, name, embeddings, folds, seed)
            new = _scores(task, encoder, name, "held out" if untrained else status, results, seed)
            write_predictions(out / new[0].predictions, _predictions(task, results))
            write_scores(out / "scores.jsonl", new)
            scores += new
    return scores


def contamination(clips: Sequence[Clip], manifests: Iterable[Path]) -> str:
    """Say whether clips are in the manifests an encoder was pretrained on: the same samples or the same recording.

    Returns:
        ``transductive`` where any is, ``held out`` where none is, ``unknown`` where there is no manifest.
    """
    paths = list(manifests)
    if not paths:
        return "unknown"
    samples, recordings = {clip.sha256 for clip in clips}, {clip.recording for clip in clips}
    seen = (clip.sha256 in samples or clip.recording in recordings for path in paths for clip in read_manifest(path))
    return "transductive" if any(seen) else "held out"


def _probe(task: Task, name: str, embeddings: np.ndarray, folds: list[Fold], seed: int) -> list[FoldResult]:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(transient=True, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(f"probing {name}", total=len(folds))
        return linear_probe(embeddings, task.labels, task.groups, folds, seed, lambda: progress.advance(bar))


def _scores(
    task: Task, encoder: FrameEncoder, name: str, status: str, results: list[FoldResult], seed: int
) -> list[Score]:
    # Names of encoders may be long paths that differ in their beginning alone: the digest tells them apart.
    measured = "|".join([name, task.shards.sha256, task.protocol, *task.classes, str(seed)])
    digest = hashlib.sha256(measured.encode()).hexdigest()[:8]
    predictions = f"predictions/{slug(name)[-60:]}-{slug(task.protocol)}-seed-{seed}-{digest}.jsonl"
    return [
        Score(
            model=name,
            model_key=encoder.key,
            corpus=task.corpus,
            data_sha256=task.shards.sha256,
            classes=task.classes,
            protocol=task.protocol,
            probe=PROBE,
            seed=seed,
            fold=result.fold,
            metrics=result.metrics,
            chosen={"layer": result.layer, "C": result.C},
            train_clips=len(task.clips) - len(result.test),
            test_clips=len(result.test),
            test_classes=len({task.labels[i] for i in result.test}),
            pretraining=status,
            predictions=predictions,
        )
        for result in results
    ]


def _predictions(task: Task, results: list[FoldResult]) -> Iterable[dict[str, str]]:
    for result in results:
        for row, predicted in zip(result.test, result.predicted, strict=True):
            clip = task.clips[row]
            yield {
                "clip": clip.id,
                "label": task.labels[row],
                "predicted": predicted,
                "group": task.groups[row],
                "fold": result.fold,
            }
