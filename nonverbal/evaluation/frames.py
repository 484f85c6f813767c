"""Stored frames: those of all layers, in 16 bits, in one file for the clips of each piece."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from nonverbal.data.index import SAMPLE_RATE, ShardFolder
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import FrameEncoder
from nonverbal.evaluation.pieces import Piece
from nonverbal.evaluation.pooling import windows
from nonverbal.files import read_json, write_atomically
from nonverbal.text import size

FORMAT = "nonverbal-frames"


class KeptFrames(Mapping[int, np.ndarray]):
    """The frames of clips, ``(layers, S, M)`` float16, by the clips' rows in the manifest, read when needed."""

    def __init__(self, folder: Path, files: Mapping[int, str]) -> None:
        """Take a folder, and the name of each clip's file in it."""
        self.folder, self._files = folder, files

    def __getitem__(self, clip: int) -> np.ndarray:
        """Read a clip's frames."""
        from safetensors import SafetensorError, safe_open

        path = self.folder / self._files[int(clip)]
        try:
            with safe_open(path, framework="numpy") as file:
                frames: np.ndarray = file.get_tensor(str(int(clip)))
        except (SafetensorError, OSError, TypeError) as error:
            raise UserError(f"the cached frames {path} cannot be read ({error}); remove {self.folder}") from error
        if frames.ndim != 3 or frames.dtype != np.float16:
            raise UserError(f"the cached frames {path} are not values by layer and frame; remove {self.folder}")
        return frames

    def __iter__(self) -> Iterator[int]:
        """Iterate over the clips' rows in the manifest."""
        return iter(self._files)

    def __len__(self) -> int:
        """Return the number of clips."""
        return len(self._files)


def open_frames(folder: Path, key: Mapping[str, str]) -> KeptFrames:
    """Open a folder of frames.

    Raises:
        UserError: it cannot be read, or ``key`` differs, which means another encoder or other clips.
    """
    try:
        index = read_json(folder / "index.json")
        if not isinstance(index, dict):
            raise TypeError(f"it holds {type(index).__name__}")
        files = {int(clip): str(name) for name, clips in index["files"].items() for clip in clips}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"{folder / 'index.json'} cannot be read ({error}); remove {folder}") from error
    if strange := [name for name in files.values() if Path(name).name != name or "\0" in name]:
        raise UserError(f"{folder / 'index.json'} names {strange[0]!r}, which is outside its folder; remove {folder}")
    if index.get("format") != FORMAT or any(index.get(name) != value for name, value in key.items()):
        raise UserError(f"the cached frames {folder} belong to other clips or another encoder; remove the folder")
    return KeptFrames(folder, files)


def write_index(folder: Path, key: Mapping[str, str], pieces: Sequence[Piece]) -> None:
    """Write which file each clip is in, the last step in completing a folder of frames."""
    files = {piece.file: piece.clips for piece in pieces}
    write_atomically(folder / "index.json", json.dumps({"format": FORMAT, **key, "files": files}) + "\n")


def announce(
    encoder: FrameEncoder, shards: ShardFolder, clips: np.ndarray, folder: Path, say: Callable[[str], None]
) -> None:
    """Say how large the frames of some clips will be, estimated from one clip of medium length.

    Raises:
        UserError: the disk has less space.
    """
    table = shards.table
    rows = np.flatnonzero(np.isin(table["clip"], clips))
    samples = table["samples"][rows].astype(np.int64)
    middle = rows[np.argsort(samples, kind="stable")[len(rows) // 2]]
    heard = windows(shards.read(int(middle)), encoder.max_seconds)[0]
    frames = encoder.frames(heard)
    expected = int(frames.size * 2 * samples.sum() / len(heard))
    shape = f"{frames.shape[0]} layers of {frames.shape[2]} values, {samples.sum() / SAMPLE_RATE:.0f} s"
    say(f"frames of {encoder.name}: about {size(expected)} ({shape})")
    above = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(above).free
    if free < expected:
        raise UserError(
            f"the frames of {encoder.name} take about {size(expected)}, but {above} has {size(free)} left; make room, "
            "choose another --out, or leave out --frames"
        )
