"""Whose labels a fine-tuned model has seen: ``heard.json``, which is beside its weights and is copied with them.

Recordings are stored as hashes, because their names may be those of people.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nonverbal.data.manifest import Clip
from nonverbal.errors import UserError
from nonverbal.files import read_json, write_atomically

FILE = "heard.json"


@dataclass(frozen=True)
class LabelsSeen:
    """The clips whose labels a model was fitted to, or that it was selected on."""

    samples: frozenset[str]
    """SHA-256 of each clip's samples."""
    recordings: frozenset[str]
    """SHA-256 of the name of each clip's recording."""
    init: str | None
    """The encoder from which its fine-tuning started, as it was named; None if the file does not say."""

    def holds(self, clip: Clip) -> bool:
        """Whether the model has seen a clip's label: that of the same samples, or of the same recording."""
        return clip.sha256 in self.samples or _hashed(clip.recording) in self.recordings


def write_labels_seen(folder: Path, clips: Iterable[Clip], init: str, before: LabelsSeen | None = None) -> None:
    """Write, beside a model's weights, which labels it has seen.

    Args:
        folder: of the model.
        clips: those whose labels it was fitted to, or that it was selected on.
        init: the encoder that it started from.
        before: what that encoder had seen, if it was fine-tuned itself.
    """
    samples, recordings = set[str](), set[str]()
    for clip in clips:
        samples.add(clip.sha256)
        recordings.add(_hashed(clip.recording))
    if before is not None:
        samples |= before.samples
        recordings |= before.recordings
    content = {"labels_seen": sorted(samples), "recordings": sorted(recordings), "init": init}
    write_atomically(folder / FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def labels_seen_by(folder: Path) -> LabelsSeen | None:
    """Return which labels the model in a folder has seen; None if there is no file, as for models never fine-tuned.

    Raises:
        UserError: the file cannot be read.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content = read_json(path)
        samples, recordings, init = list(content["labels_seen"]), list(content["recordings"]), content.get("init")
        if not all(isinstance(item, str) and len(item) == 64 for item in (*samples, *recordings)):
            raise TypeError("an entry is not a SHA-256")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}: {error}), so it is not known which labels the model has "
            "seen; copy it again from the source of the model"
        ) from error
    return LabelsSeen(frozenset(samples), frozenset(recordings), None if init is None else str(init))


def seen_by(source: Path) -> LabelsSeen | None:
    """Return which labels an encoder has seen, from its folder or from the run folder whose ``encoder/`` it is.

    Raises:
        UserError: as ``labels_seen_by``.
    """
    return labels_seen_by(source) or labels_seen_by(source / "encoder")


def carry(source: Path, out: Path) -> str | None:
    """Write beside new weights which labels were seen by the weights that they were made from.

    Args:
        source: the encoder, as ``seen_by`` takes it.
        out: the folder or file of the new weights.

    Returns:
        the warning to print if a file cannot hold this; None if there is nothing to warn of.

    Raises:
        UserError: as ``labels_seen_by``.
    """
    if seen_by(source) is None:
        return None
    if not out.is_dir():
        return f"the weights have seen labels that {out} cannot record: do not score it on the clips of its fine-tuning"
    place = source if (source / FILE).is_file() else source / "encoder"
    write_atomically(out / FILE, (place / FILE).read_text(encoding="utf-8"))
    return None


def _hashed(recording: str) -> str:
    return hashlib.sha256(recording.encode()).hexdigest()
