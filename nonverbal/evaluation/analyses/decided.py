"""Decisions for several encoders, from score files or from the fine-tuned runs themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.held_out import Space
from nonverbal.evaluation.analyses.systems import read_systems
from nonverbal.evaluation.encoders.finetuned import FINETUNED, is_finetuned
from nonverbal.tasks.measurements import SCORES, Measurement, read_measurements


@dataclass(frozen=True)
class Decided:
    """The decisions with each of several encoders, under one seed."""

    what: str
    """Whose decisions they are."""
    classes: list[dict[str, int]]
    """For each encoder, the predicted class by id of the clip."""

    def of_all(self, clip: str) -> bool:
        """Whether every encoder has a decision on the clip."""
        return all(clip in decided for decided in self.classes)

    def agree(self, place: int, clips: Sequence[str]) -> np.ndarray:
        """Return whether the decisions with the first encoder and with the one at ``place`` agree, ``(clips,)``."""
        return np.array([self.classes[0][clip] == self.classes[place][clip] for clip in clips], dtype=bool)


def decided_by(
    encoders: Sequence[str],
    scores: Sequence[Path],
    systems: Sequence[str],
    protocol: str | None,
    seed: int,
    shards: ShardFolder,
) -> Decided | None:
    """Return the decisions for several encoders; None if there are none.

    Args:
        encoders: their names.
        scores: score files with the decisions; if empty, and all encoders are fine-tuned runs for classes, the
            decisions of the runs are used.
        systems: with score files, the system for each encoder.
        protocol: with score files; see ``read_systems``.
        seed: seed of the folds.
        shards: the folder that holds the clips.

    Raises:
        UserError: an encoder has no system, the decisions are on other shards, or there are none for this seed.
    """
    if scores:
        own = _of_systems(encoders, scores, systems, protocol)
        what = ", ".join(systems)
    elif systems:
        raise UserError("--systems needs --scores, the files that hold their decisions")
    elif all(map(is_finetuned, encoders)):
        found = [_of_run(name) for name in encoders]
        own = [one for one in found if one]
        if len(own) < len(found):
            return None
        what = "the runs’ own"
    else:
        return None
    if any(one[0].table != own[0][0].table for one in own):
        raise UserError(f"the decisions of {', '.join(encoders)} are not for one task and one protocol")
    if own[0][0].scores[0].data_sha256 != shards.sha256:
        raise UserError(f"the decisions are not on the clips of {shards.folder}: the shards' hashes differ")
    return Decided(what, [_by_clip(one, seed) for one in own])


def with_decisions(spaces: Sequence[Space], shards: ShardFolder, decided: Decided | None) -> list[Space]:
    """Return the spaces of a fold with only those clips on which all systems have decided, if any has."""
    if decided is None:
        return list(spaces)
    manifest = shards.clips()
    rows = np.array([row for row in spaces[0].rows.tolist() if decided.of_all(manifest[row].id)], dtype=np.int64)
    return [replace(space, rows=rows) for space in spaces]


def _of_systems(
    encoders: Sequence[str], scores: Sequence[Path], systems: Sequence[str], protocol: str | None
) -> list[list[Measurement]]:
    if len(systems) != len(encoders):
        raise UserError(f"--systems must name one for each of {', '.join(encoders)}, but names {len(systems)}")
    found = read_systems(scores, systems, None, protocol, fewest=len(systems))
    return list(found.by_name.values())


def _of_run(name: str) -> list[Measurement]:
    """Return the measurements of a run, one per seed; empty if it is not a run for classes."""
    return read_measurements([Path(name.removeprefix(FINETUNED)) / SCORES])


def _by_clip(own: Sequence[Measurement], seed: int) -> dict[str, int]:
    for measurement in own:
        if measurement.scores[0].seed == seed:
            predictions = measurement.predictions
            return dict(zip(predictions.clips, predictions.predicted.tolist(), strict=True))
    seeds = ", ".join(str(one.scores[0].seed) for one in own)
    raise UserError(f"--seed must be one of {seeds}, the seeds with decisions of {own[0].scores[0].model}")
