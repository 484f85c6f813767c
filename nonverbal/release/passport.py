"""``passport.json``: what a released folder holds, bit by bit, and what was measured of its model.

Whoever has the folder can check both: ``nonverbal verify FOLDER``.
"""

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from nonverbal.errors import UserError
from nonverbal.files import read_json, sha256_of, write_atomically
from nonverbal.records import read_record

PASSPORT = "passport.json"

FORMAT, VERSION = "nonverbal-passport", 1


@dataclass(frozen=True)
class Measured:
    """What was measured of a model under one stack. Differences are the largest of a value over its layer's RMS."""

    stack: dict[str, str]
    """Versions of ``python``, ``torch``, ``transformers``; ``device``: cpu, with a GPU's name where there is one."""
    figures: dict[str, float | None]
    """By name, see ``FIGURES``; None where it does not apply to the model."""
    layers: list[float]
    """RMS of the embeddings of each layer, what enters the first block first."""
    sketch: list[list[list[float]]]
    """``(clips, layers, 8)``: sums of each embedding's values with fixed random signs, over the root of their number.
    Any value that changes changes them."""


FIGURES = {
    "batch": "alone, and among two clips of its length: plain transformers",
    "padded": "alone, and in one padded batch of all clips, as the folder's feature extractor pads: plain transformers",
    "bf16": "in float32, and under autocast to bfloat16: plain transformers",
    "gpu": "on a CPU, and on the GPU that there is, both in float32: plain transformers",
    "ours alone": "plain transformers, and this toolkit, alone",
    "ours batch": "this toolkit: alone, and among two clips of its length",
    "ours padded": "this toolkit: alone, and in one padded batch of all clips",
    "probabilities batch": "largest difference of a class's probability: alone, and among two clips of its length",
    "probabilities padded": "largest difference of a class's probability: alone, and in one padded batch",
}
"""What is measured: of embeddings over a layer's RMS, of classes in probability."""


@dataclass(frozen=True)
class Passport:
    """What is known of a released folder."""

    files: dict[str, str]
    """Every file but the passport itself, by its path from the folder with ``/``, to its SHA-256: the card too."""
    data_sha256: str | None
    """Of the index of the shards that it was trained on; None where it is not known."""
    measured: list[Measured]
    """Under each stack that it was measured under, that of the release first."""

    @property
    def figures(self) -> dict[str, float | None]:
        """What was measured under the first stack."""
        return self.measured[0].figures

    @property
    def stacks(self) -> list[dict[str, str]]:
        """Each stack that it was measured under."""
        return [measured.stack for measured in self.measured]


def files_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file in a folder, by its path from there, but of the passport."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            inside = path.relative_to(folder).as_posix()
            if inside != PASSPORT:
                found[inside] = sha256_of(path)
    return dict(sorted(found.items()))


def write_passport(folder: Path, data_sha256: str | None, measured: list[Measured]) -> Passport:
    """Hash what is in a folder, its card too, and write ``passport.json``: the last file that a release writes.

    Args:
        folder: with all other files.
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
        UserError: there is none, or it is not one.
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
