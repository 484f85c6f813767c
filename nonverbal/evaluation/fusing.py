"""Sets of frozen encoders, each fused in one network, with the same folds and scores as every other head."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nonverbal.errors import UserError
from nonverbal.evaluation.embeddings import embed
from nonverbal.evaluation.encoders import INITIALISED, ManifestEncoder, audio_words, kind_of, learned, load_encoder
from nonverbal.evaluation.encoders.audio_mamba import KINDS as AUDIO_MAMBA
from nonverbal.evaluation.heads.by_name import spelled
from nonverbal.evaluation.heads.fusion import METHODS, Fusion, FusionSettings
from nonverbal.evaluation.probing import Subject, check_encoders, leak_statuses, score_subject
from nonverbal.evaluation.results import TaskResult
from nonverbal.tasks.contamination import worst
from nonverbal.tasks.scores import Score
from nonverbal.tasks.statistics.comparisons import Comparison, compare
from nonverbal.tasks.task import Task

Pairs = Literal["all", "reno"]

JOINED = " + "
"""Separator of the names in a set."""

NARROWEST = 2
"""Smallest number of values of an encoder: the first max-pool takes two at a time."""


@dataclass(frozen=True)
class Member:
    """An encoder of a set."""

    name: str
    key: str
    status: str
    """Its leak status: whether it was trained on the clips."""
    values: np.ndarray
    """Mean over frames of its last layer, ``(clips, dim)`` float32."""


def sets_of(encoders: Sequence[str], size: int, pairs: Pairs = "all", twins: bool = True) -> list[tuple[str, ...]]:
    """Return the sets of ``size`` encoders out of some, in their order.

    Args:
        encoders: see ``load_encoder``.
        size: number of encoders in a set, at least 2.
        pairs: with ``reno``, no set consists only of Audio Mamba, which leaves its 18 pairs of RENO's seven encoders.
        twins: whether each set is followed by the same set with random weights, if it has any learned ones.

    Raises:
        UserError: there is no such set, an encoder does not exist, or its features depend on the fold.
    """
    if size < 2 or len(set(encoders)) < max(size, len(encoders)):
        raise UserError(
            f"a set of {size} cannot be made of {', '.join(encoders)}: give at least {max(size, 2)}, each once"
        )
    mamba = {kind.name for kind in AUDIO_MAMBA}
    kinds = {name: kind_of(name).name for name in encoders}
    if audio_words.NAME in kinds.values():
        raise UserError(
            f"{audio_words.NAME} is computed by nonverbal probe in each fold, from codebooks of the training side, and "
            "only encoders that are the same in all folds can be fused: leave it out"
        )
    sets = [
        names
        for names in combinations(encoders, size)
        if pairs == "all" or not mamba.issuperset(kinds[name] for name in names)
    ]
    if not sets:
        raise UserError(
            "all encoders are Audio Mamba, which --pairs reno does not fuse: give other encoders, or --pairs all"
        )
    if twins:
        sets = [own for names in sets for own in (names, tuple(map(_twin, names)))]
    return list(dict.fromkeys(sets))


def _twin(name: str) -> str:
    return INITIALISED + name if learned(name) else name


def fuse(
    task: Task,
    sets: Sequence[tuple[str, ...]],
    methods: Sequence[str],
    settings: FusionSettings,
    pretraining: Sequence[Path],
    cache: Path,
    out: Path,
    allow_seen: bool = False,
    null: int = 0,
    launch: str = "",
) -> list[Score]:
    """Fuse each set by each method on the same folds, and write ``scores.jsonl`` and ``predictions/`` after each.

    Args:
        task: clips and folds.
        sets: names of encoders; see ``sets_of``.
        methods: names in ``METHODS``.
        settings: settings of the networks and their training.
        pretraining: manifests on which the encoders were pretrained.
        cache: folder of stored embeddings.
        out: folder of the results.
        allow_seen: whether to accept encoders that have seen labels of the clips, which the scores then say.
        null: maximum number of permutations of labels for the first seed (see ``label_null``); 0 for no null.
        launch: key of the command that was started; see ``Score``.

    Raises:
        UserError: an encoder has seen labels, or has too few values.
    """
    check_fusion([task], sets, pretraining, null, allow_seen)
    names = names_of(sets)
    statuses = leak_statuses(task.clips, names, pretraining, allow_seen)
    members = {name: _member(task, name, status, cache) for name, status in zip(names, statuses, strict=True)}
    scores: list[Score] = []
    for own in sets:
        subject, widths = fused([members[name] for name in own])
        for method in methods:
            head = head_of(method, settings, widths)
            scores += score_subject(task, subject, head_name(method, head), head, out, null, launch)
    return scores


def names_of(sets: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the encoders of sets, each once."""
    return list(dict.fromkeys(name for own in sets for name in own))


def check_fusion(
    tasks: Sequence[Task], sets: Sequence[tuple[str, ...]], pretraining: Sequence[Path], null: int, allow_seen: bool
) -> None:
    """Refuse encoders that cannot be scored on one of the tasks, before anything is computed on any.

    Args:
        tasks: all tasks that will be scored.
        sets: as for ``fuse``.
        pretraining: as for ``fuse``.
        null: as for ``fuse``.
        allow_seen: as for ``fuse``.

    Raises:
        UserError: an encoder does not exist, has seen labels of the clips of a task, or is a fine-tuned run that was
            divided differently, or for which a null would be meaningless.
    """
    names = names_of(sets)
    check_encoders(tasks, names, null)
    for task in tasks:
        leak_statuses(task.clips, names, pretraining, allow_seen)


def fused(members: Sequence[Member]) -> tuple[Subject, tuple[int, ...]]:
    """Return several encoders as one, whose frame has the values of all of them, and the width of each."""
    features = np.concatenate([member.values for member in members], axis=1)[:, None]
    name = JOINED.join(member.name for member in members)
    key = JOINED.join(member.key for member in members)
    status = worst(member.status for member in members)
    return Subject(name, key, status, features, True), tuple(member.values.shape[1] for member in members)


def head_of(method: str, settings: FusionSettings, widths: tuple[int, ...] = ()) -> Fusion:
    """Return the head of a method, with only the settings that have a meaning for it."""
    return METHODS[method](**_values(settings), widths=widths).meant()


def head_name(method: str, head: Fusion) -> str:
    """Return the name of a head in scores: its method, and the settings that differ from its defaults."""
    settings, defaults = (_values(own) for own in (head, METHODS[method]()))
    return spelled(method, settings, defaults)


def _values(settings: FusionSettings) -> dict[str, Any]:
    return {name: value for name, value in asdict(settings).items() if name != "widths"}


def method_comparisons(task: TaskResult) -> list[Comparison]:
    """Compare the methods for each set with each other, as one family; empty if nothing can be compared."""
    models = {task.name(model): model for model in task.models}
    pairs = [pair for pair in combinations(models, 2) if models[pair[0]].model == models[pair[1]].model]
    if not pairs or task.units < 2:
        return []
    return compare({name: model.counts for name, model in models.items()}, pairs=pairs)


def _member(task: Task, name: str, status: str, cache: Path) -> Member:
    encoder = load_encoder(name, next(iter(task.folds)))
    embeddings = embed(encoder, task.shards, task.rows, cache)
    one_frame = isinstance(encoder, ManifestEncoder) or encoder.one_frame
    values = FusionSettings().read(embeddings, one_frame).numpy()
    if values.shape[1] < NARROWEST:
        raise UserError(
            f"{name} has {values.shape[1]} value, but RENO's max-pool needs {NARROWEST}: fuse other encoders"
        )
    return Member(name, encoder.key, status, values)
