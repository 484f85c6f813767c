"""``passport.json``: the hashes of the files in a released folder, and the measured figures of its model.

``nonverbal verify FOLDER`` checks both.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from nonverbal.errors import UserError
from nonverbal.files import read_json, sha256_of, write_atomically
from nonverbal.records import read_record
from nonverbal.release.contents import contents_of

PASSPORT = "passport.json"

FORMAT, VERSION = "nonverbal-passport", 1


@dataclass(frozen=True)
class Measured:
    """What was measured for a model with one stack (versions and device)."""

    stack: dict[str, str]
    """Versions of ``python``, ``torch``, ``transformers``; ``device``: cpu, and the name of a GPU if there is one."""
    figures: dict[str, float | None]
    """Figures by name (see ``FIGURES``); None if a figure does not apply to the model."""
    layers: list[float]
    """RMS of the embeddings of each layer; layer 0 is the input of the first block."""
    sketch: list[list[list[float]]]
    """``(clips, layers, 8)``: sums of an embedding's values with fixed random signs, divided by the square root of the
    number of values. A change of any value changes them."""


FIGURES = {
    "batch": "a clip alone vs. in a batch with two clips of its length (transformers)",
    "padded": "a clip alone vs. in one batch padded by the feature extractor (transformers)",
    "bf16": "float32 vs. autocast to bfloat16 (transformers)",
    "gpu": "CPU vs. GPU, both in float32 (transformers)",
    "ours alone": "transformers vs. nonverbal, for a clip alone",
    "ours batch": "a clip alone vs. in a batch with two clips of its length (nonverbal)",
    "ours padded": "a clip alone vs. in one batch of all clips (nonverbal)",
    "probabilities batch": "probabilities: a clip alone vs. in a batch with two clips of its length (transformers)",
    "probabilities padded": "probabilities: a clip alone vs. in one padded batch (transformers)",
}
"""From the name of a figure to what it compares. A figure is the largest difference between embeddings, divided by the
RMS of their layer, or the largest absolute difference between class probabilities."""


@dataclass(frozen=True)
class Passport:
    """What is known about a released folder."""

    files: dict[str, str]
    """From the path in the folder, with ``/``, to SHA-256, for every file except the passport itself, also the card."""
    data_sha256: str | None
    """SHA-256 of the index of the shards of the training data; None if it is not known."""
    measured: list[Measured]
    """One for each stack; the first is that of the release."""

    @property
    def figures(self) -> dict[str, float | None]:
        """The figures of the first stack."""
        return self.measured[0].figures

    @property
    def stacks(self) -> list[dict[str, str]]:
        """All stacks with which it was measured."""
        return [measured.stack for measured in self.measured]


def files_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a release except the passport, by its path in the folder."""
    return {name: sha256_of(folder / name) for name in contents_of(folder).files if name != PASSPORT}


def write_passport(folder: Path, data_sha256: str | None, measured: list[Measured]) -> Passport:
    """Hash the files in a folder, including its card, and write ``passport.json``, the last file of a release.

    Args:
        folder: the folder with all other files.
        data_sha256: see ``Passport``.
        measured: see ``Passport``; at least one.

    Raises:
        UserError: a figure is not finite.
    """
    for row in measured:
        bad = [name for name, value in row.figures.items() if value is not None and not math.isfinite(value)]
        if bad:
            raise UserError(f"{folder}: {', '.join(bad)} is not finite under {row.stack}; the model gives NaN")
    passport = Passport(files_of(folder), data_sha256, measured)
    content = {"format": FORMAT, "version": VERSION, **asdict(passport)}
    write_atomically(folder / PASSPORT, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return passport


def read_passport(folder: Path) -> Passport:
    """Read a folder's ``passport.json``.

    Raises:
        UserError: there is none, or it is not a passport of this version.
    """
    path = folder / PASSPORT
    try:
        content = read_json(path)
        kind = (content.pop("format"), content.pop("version"))
        if kind != (FORMAT, VERSION):
            raise ValueError(f"format {kind[0]!r}, version {kind[1]!r}")
        passport = read_record(Passport, content, "in it")
        if not passport.measured:
            raise ValueError("nothing was measured")
        if any(len({tuple(map(len, clip)) for clip in row.sketch}) > 1 for row in passport.measured):
            raise ValueError("the sketches of its clips have different shapes")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path} is not a passport of version {VERSION} ({type(error).__name__}: {error}); nonverbal release "
            "writes one with the model"
        ) from error
    return passport
