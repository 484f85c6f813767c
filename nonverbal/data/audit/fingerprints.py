"""Acoustic fingerprints of clips: 32 bits every 11.6 ms that survive gain, resampling, codecs and cuts.

Haitsma and Kalker, "A Highly Robust Audio Fingerprinting System", ISMIR 2002: each bit is the sign of a difference of
energies along frequency and along time, in 33 bands from 300 to 2000 Hz. The paper deals with music, in blocks of 3 s.
Vocal sounds last 0.3 to 10 s, so windows last 0.10 s here rather than 0.37 s, and the difference in time spans three
hops rather than one, which compensates for the noise of shorter windows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from nonverbal.data.index import SAMPLE_RATE, Seen, ShardFolder
from nonverbal.data.progress import progress
from nonverbal.data.workers import in_order

RATE = 5000
"""Sample rate in Hz to which sound is resampled."""
WINDOW = 512
"""Number of samples in a Hann window."""
HOP = 58
"""Number of samples from one word to the next."""
LAG = 3
"""Number of hops over which energies are differenced in time."""
BANDS = 33
LOWEST, HIGHEST = 300.0, 2000.0
"""Range of the bands in Hz; they are spaced evenly on a logarithmic scale."""
FLOOR = 1e-5
"""Energy of a window, relative to the clip's loudest, below which it counts as silence: -50 dB."""
WEAK = 8
"""Number of least reliable bits that are stored for a word."""
SPAN = WINDOW + LAG * HOP
"""Number of samples on which a word depends: 0.14 s."""

CHUNK = 64
"""Number of clips that a process takes at a time."""
BLOCK = 8192
"""Number of windows that are transformed at once, because a clip may last hours."""


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of clips, one after another."""

    words: np.ndarray
    """``(frames,)`` uint32."""
    heard: np.ndarray
    """``(frames,)`` bool: False for silence, whose bits mean nothing."""
    weak: np.ndarray
    """``(frames, WEAK)`` uint8: numbers of the least reliable bits (0: lowest of the word), least reliable first."""
    bounds: np.ndarray
    """``(clips + 1,)`` int64: the frames of clip i are ``bounds[i]`` to ``bounds[i + 1]``."""

    def __len__(self) -> int:
        return len(self.bounds) - 1


def join(parts: Iterable[Fingerprints]) -> Fingerprints:
    """Concatenate fingerprints."""
    parts = list(parts)
    lengths = np.concatenate([np.diff(part.bounds) for part in parts])
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    words, heard, weak = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("words", "heard", "weak")
    )
    return Fingerprints(words, heard, weak, bounds)


def fingerprint(waveform: np.ndarray) -> Fingerprints:
    """Return the fingerprint of one clip, ``(T,)`` float32 at 16 kHz, of any level.

    Bit b of a word, counted from the highest, is set if the difference of bands b and b + 1 has grown over ``LAG`` hops
    (over one hop in the paper's equation 1). A clip shorter than ``SPAN`` is padded with zeros.
    """
    import soxr

    samples = soxr.resample(np.asarray(waveform, dtype=np.float32), SAMPLE_RATE, RATE, quality="HQ")
    energies = band_energies(np.pad(samples, (0, max(SPAN - len(samples), 0))))
    # (frames + LAG, BANDS) -> (frames, 32)
    along_frequency = energies[:, :-1] - energies[:, 1:]
    growth = along_frequency[LAG:] - along_frequency[:-LAG]
    words = np.packbits(growth > 0, axis=1).view(">u4")[:, 0].astype(np.uint32)
    loudness = energies.sum(1)
    heard = np.minimum(loudness[LAG:], loudness[:-LAG]) > FLOOR * loudness.max()
    weak = 31 - np.argsort(np.abs(growth), axis=1, kind="stable")[:, :WEAK].astype(np.uint8)
    return Fingerprints(words, heard, weak, np.array([0, len(words)], dtype=np.int64))


def band_energies(samples: np.ndarray) -> np.ndarray:
    """Return the band energies of the windows of a signal at ``RATE``, ``(windows, BANDS)`` float32."""
    hann, bands = _filters()
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    blocks = []
    for start in range(0, len(windows), BLOCK):
        spectrum = np.fft.rfft(windows[start : start + BLOCK] * hann, axis=1)
        blocks.append((spectrum.real**2 + spectrum.imag**2) @ bands)
    return np.concatenate(blocks)


def fingerprint_folder(folder: ShardFolder, processes: int) -> Fingerprints:
    """Return the fingerprints of a folder's clips, in the order of its manifest, and show progress.

    Raises:
        UserError: a shard cannot be read, or a process was ended from outside.
    """
    rows = folder.parts(np.unique(folder.table["clip"]))
    # Clips are read in their order on the disk.
    order = sorted(range(len(rows)), key=lambda clip: int(rows[clip].min()))
    chunks = [[rows[clip] for clip in order[start : start + CHUNK]] for start in range(0, len(order), CHUNK)]
    done: list[Fingerprints] = []
    with progress(f"fingerprints of {folder.folder.name}", len(rows), "clips") as advance:
        for chunk in in_order(partial(_of_clips, folder.seen), chunks, min(processes, len(chunks))):
            done += chunk
            advance(len(chunk))
    by_number = dict(zip(order, done, strict=True))
    return join(by_number[clip] for clip in range(len(rows)))


def _of_clips(seen: Seen, clips: list[np.ndarray]) -> list[Fingerprints]:
    """Read and fingerprint clips, each given as the table rows of its parts in order."""
    folder = seen.open()
    return [fingerprint(np.concatenate([folder.read(int(row)) for row in rows])) for rows in clips]


@cache
def _filters() -> tuple[np.ndarray, np.ndarray]:
    """Return the window, ``(WINDOW,)``, and the share of each frequency in each band, ``(WINDOW / 2 + 1, BANDS)``."""
    hann = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    width = RATE / WINDOW
    centres = np.arange(WINDOW // 2 + 1)[:, None] * width
    edges = np.geomspace(LOWEST, HIGHEST, BANDS + 1)
    upper, lower = np.minimum(centres + width / 2, edges[1:]), np.maximum(centres - width / 2, edges[:-1])
    return hann, (np.clip(upper - lower, 0, None) / width).astype(np.float32)
