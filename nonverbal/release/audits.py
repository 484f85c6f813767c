"""Was a model trained on the clips it was scored on? Scores are audited against the manifests of its training data."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from nonverbal.data.index import open_shards
from nonverbal.data.manifest import Clip
from nonverbal.files import sha256_of
from nonverbal.tasks.contamination import HELD_OUT, TRANSDUCTIVE, UNKNOWN, worst
from nonverbal.tasks.measurements import Measurement, TextMeasurement

AUDIO, RECORDING, CLIP_ID = "with the same audio", "from the same recording", "with the same clip id"
"""Kinds of overlap that make a score transductive."""


def audit(
    one: Measurement | TextMeasurement, heard: Sequence[Clip], data: Sequence[Path], complete: bool
) -> tuple[str, str]:
    """Return the leak status of a measurement, and sentences on how it was found.

    The status is the worse of the one in the scores and the one that the audit finds. If the scores do not know it, the
    audit decides, provided that all training data and the samples of the test clips are available.

    Args:
        one: the scores of a model on a task.
        heard: the clips of its pretraining.
        data: folders of shards, which may include those of the test clips.
        complete: whether ``heard`` is everything that the model was pretrained on.
    """
    score = one.scores[0]
    title, scored_as = f"{score.corpus}, {score.protocol}", worst(row.pretraining for row in one.scores)
    if not heard:
        return scored_as, f"{title}: {scored_as}, according to the scores; no manifest of pretraining was available."
    read = one.predictions if isinstance(one, Measurement) else one.transcriptions
    clips = _clips(score.data_sha256, set(read.clips), data)
    found = {
        AUDIO: _shared((clip.sha256 for clip in clips), (clip.sha256 for clip in heard)),
        RECORDING: _shared(read.recordings, (clip.recording for clip in heard)),
        "from the same speaker": _shared(read.speakers, (clip.speaker for clip in heard)),
        CLIP_ID: _shared(read.clips, (clip.id for clip in heard)),
    }
    leak = any(found[kind] for kind in (AUDIO, RECORDING, CLIP_ID))
    settled = complete and bool(clips) and scored_as == UNKNOWN
    status = worst([HELD_OUT if settled else scored_as, TRANSDUCTIVE if leak else HELD_OUT])
    return status, f"{title}: {status}. {_in_words(found, len(set(read.clips)), len(heard))}" + _unsaid(
        bool(clips), sum(name is None for name in read.speakers)
    )


def _in_words(found: dict[str, int], clips: int, heard: int) -> str:
    """Return how much test clips overlap with the clips of pretraining."""
    shared = ", ".join(f"{count} {kind}" for kind, count in found.items() if count)
    overlap = f"Overlap: {shared}." if shared else "No overlap was found."
    return f"{clips} test clips were compared with {heard} clips of pretraining. {overlap}"


def _unsaid(compared: bool, unknown: int) -> str:
    """Return what the audit could not compare."""
    samples = "" if compared else " Their audio was not available for this comparison."
    speakers = f" For {unknown} test clips, the speaker is unknown." if unknown else ""
    return samples + speakers


def _shared(own: Iterable[str | None], heard: Iterable[str | None]) -> int:
    """Return how many values of test clips also occur in clips of pretraining; None does not count."""
    there = {value for value in heard if value is not None}
    return sum(value in there for value in own if value is not None)


def _clips(sha256: str, ids: set[str], data: Sequence[Path]) -> list[Clip]:
    """Return the test clips, from the folder of shards with the hash; none if it is not among ``data``."""
    for folder in data:
        if sha256_of(folder / "index.json") == sha256:
            return [clip for clip in open_shards(folder).clips() if clip.id in ids]
    return []
