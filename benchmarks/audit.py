"""Measures how well an audit finds copies of real clips, and what it costs as folders grow.

``python benchmarks/audit.py [--data SHARDS ...] [--sizes 12500 25000 50000 100000] [--json FILE]``

Copies: stretches of clips drawn from each folder of ``--data``, each changed in one way. A copy is found if it forms a
pair with its original; a pair of clips from different recordings is false. Cost: folders of distinct synthetic sounds
of 0.5 to 1.5 s are audited, each in a separate process.
"""

import argparse
import io
import json
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
import soxr

from nonverbal.data.audit.alignments import align
from nonverbal.data.audit.fingerprints import HOP, RATE, fingerprint, fingerprint_folder, join
from nonverbal.data.index import SAMPLE_RATE, ShardFolder, open_shards
from nonverbal.data.manifest import Clip
from nonverbal.data.preparing.settings import available_processors
from nonverbal.data.preparing.shards import Part, write_shards
from nonverbal.data.reading.audio import encode

CLIPS = 80
"""Number of clips drawn from each folder."""
LENGTHS = {"under 1 s": (0.4, 1.0), "1 to 3 s": (1.0, 3.0), "over 3 s": (3.0, 5.0)}

Change = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="folders of shards from which copies are made")
    parser.add_argument("--sizes", type=int, nargs="*", default=[12_500, 25_000, 50_000, 100_000], help="clips")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    if arguments.data:
        figures["copies"] = copies([open_shards(folder) for folder in arguments.data])
    if arguments.sizes:
        figures["cost"] = costs(sorted(arguments.sizes))
    print(json.dumps(figures, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def copies(folders: list[ShardFolder]) -> dict[str, Any]:
    """Return the recall by change and length of the copy, and every pair of clips from different recordings."""
    originals = [clip for folder in folders for clip in drawn(folder)]
    prints = join(fingerprint(samples) for _, samples in originals)
    recall: dict[str, dict[str, str]] = defaultdict(dict)
    false: list[dict[str, Any]] = []
    found = 0
    for name, change in CHANGES.items():
        for length, (shortest, longest) in LENGTHS.items():
            random = np.random.default_rng(0)
            chosen, changed = [], []
            for row, (_, samples) in enumerate(originals):
                if (piece := stretch(samples, shortest, longest, random)) is not None:
                    chosen.append(row)
                    changed.append(fingerprint(change(piece)))
            result = align(join(changed), prints)
            hits = 0
            for a, b, overlap, rate in zip(result.a, result.b, result.overlap, result.rate, strict=True):
                copied, other = originals[chosen[a]][0], originals[b][0]
                hits += int(chosen[a] == b)
                if copied.recording != other.recording:
                    row_of = {"change": name, "length": length, "copy": copied.id, "of": other.id}
                    false.append(row_of | {"overlap": round(float(overlap), 2), "rate": round(float(rate), 3)})
            recall[name][length] = f"{hits}/{len(chosen)}"
            found += hits
            print(f"{name}, {length}: {recall[name][length]} found", flush=True)
    return {"originals": len(originals), "recall": recall, "found": found, "false": false}


def drawn(folder: ShardFolder) -> list[tuple[Clip, np.ndarray]]:
    """Return randomly drawn clips with their samples."""
    clips = folder.clips()
    chosen = np.random.default_rng(0).permutation(len(clips))[:CLIPS]
    by_part = folder.table["part"]
    rows = {clip: np.flatnonzero(folder.table["clip"] == clip) for clip in chosen.tolist()}
    whole = {clip: [folder.read(int(row)) for row in mine[np.argsort(by_part[mine])]] for clip, mine in rows.items()}
    return [(clips[clip], np.concatenate(parts)) for clip, parts in whole.items()]


def stretch(samples: np.ndarray, shortest: float, longest: float, random: np.random.Generator) -> np.ndarray | None:
    """Cut ``shortest`` to ``longest`` seconds that are not a pause from a clip; None if there are none."""
    length = round(random.uniform(shortest, min(longest, max(len(samples) / SAMPLE_RATE, shortest))) * SAMPLE_RATE)
    for _ in range(20):
        start = random.integers(0, max(len(samples) - length, 0) + 1)
        piece: np.ndarray = samples[start : start + length]
        if len(piece) == length and (piece**2).mean() > 0.1 * (samples**2).mean():
            return piece
    return None


def through(codec: str, container: str, rate: int, bits: int, samples: np.ndarray) -> np.ndarray:
    """Encode at a rate in Hz and in bits per second, and decode again, with FFmpeg."""
    at_rate = soxr.resample(samples, SAMPLE_RATE, rate)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = bits
        whole = (np.clip(at_rate, -1, 1) * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(whole, format="s16", layout="mono")
        frame.sample_rate = rate
        context = stream.codec_context
        fitting = av.AudioResampler(context.format, "mono", rate, frame_size=context.frame_size or 0)
        for piece in [*fitting.resample(frame), *fitting.resample(None), None]:
            out.mux(stream.encode(piece))
    buffer.seek(0)
    with av.open(buffer) as file:
        back = av.AudioResampler("fltp", "mono", SAMPLE_RATE)
        frames = [part for piece in file.decode(audio=0) for part in back.resample(piece)] + back.resample(None)
        return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def vorbis(samples: np.ndarray) -> np.ndarray:
    """Encode at Vorbis's lowest quality, and decode again, with libsndfile."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE, format="OGG", subtype="VORBIS", compression_level=1.0)
    buffer.seek(0)
    decoded: np.ndarray = soundfile.read(buffer, dtype="float32")[0]
    return decoded


def noisy(decibels: float, samples: np.ndarray) -> np.ndarray:
    """Add white noise at a signal-to-noise ratio."""
    noise = np.random.default_rng(len(samples)).standard_normal(len(samples)).astype(np.float32)
    changed: np.ndarray = samples + noise * np.sqrt((samples**2).mean() / 10 ** (decibels / 10))
    return changed


def quieter(samples: np.ndarray) -> np.ndarray:
    """Attenuate by 20 dB, in 16 bits."""
    return np.round(samples * 3276.8).astype(np.float32) / 32768


CHANGES: dict[str, Change] = {
    "cut alone": lambda samples: samples,
    "shifted by half a hop": lambda samples: samples[round(HOP / RATE * SAMPLE_RATE / 2) :],
    "gain -20 dB, 16 bits": quieter,
    "through 8 kHz": lambda samples: soxr.resample(soxr.resample(samples, SAMPLE_RATE, 8000), 8000, SAMPLE_RATE),
    "MP3 32 kbit/s": partial(through, "libmp3lame", "mp3", 16_000, 32_000),
    "MP3 16 kbit/s": partial(through, "libmp3lame", "mp3", 16_000, 16_000),
    "Vorbis, lowest quality": vorbis,
    "AAC 16 kbit/s": partial(through, "aac", "adts", 16_000, 16_000),
    "Opus 12 kbit/s": partial(through, "libopus", "ogg", 16_000, 12_000),
    "AMR-NB 12.2 kbit/s": partial(through, "libopencore_amrnb", "amr", 8000, 12_200),
    "AMR-NB 4.75 kbit/s": partial(through, "libopencore_amrnb", "amr", 8000, 4750),
    "noise, 20 dB SNR": partial(noisy, 20.0),
}
"""Changes by name, each applied to a stretch."""


def costs(sizes: list[int]) -> list[dict[str, float]]:
    """Return the seconds and the memory of audits within folders of these numbers of clips."""
    with tempfile.TemporaryDirectory() as scratch:
        audio = Path(scratch) / "audio"
        parts: list[Part] = []
        with ProcessPoolExecutor(available_processors()) as pool, open(audio, "wb") as file:
            offset = 0
            for i, (data, samples) in enumerate(pool.map(synthetic, range(sizes[-1]), chunksize=100)):
                parts.append(Part(i, 0, samples, i, "train" if i % 20 else "validation", audio, offset, len(data)))
                offset += file.write(data)
        rows = []
        for size in sizes:
            folder = Path(scratch) / str(size)
            folder.mkdir()
            for _ in write_shards(folder, [clip(part) for part in parts[:size]], parts[:size], 256, seed=0):
                pass
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                rows.append(pool.submit(cost, folder).result())
            print(rows[-1], flush=True)
        return rows


def cost(folder: Path) -> dict[str, float]:
    """Audit within a folder by sound. Returns seconds, and the peak memory of this process in 10^6 bytes."""
    shards = open_shards(folder)
    started = time.perf_counter()
    prints = fingerprint_folder(shards, available_processors())
    between = time.perf_counter()
    result = align(prints, None)
    seconds = float(shards.table["samples"].sum() / SAMPLE_RATE)
    return {
        "clips": len(prints),
        "seconds_of_audio": seconds,
        "fingerprints_s": between - started,
        "comparing_s": time.perf_counter() - between,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
        "pairs": len(result.a),
        "compared": result.compared,
        "left_out": result.left_out,
    }


def synthetic(seed: int) -> tuple[bytes, int]:
    """Return a distinct sound as FLAC, and its number of samples: three bands of noise, each with its own loudness.

    Such sounds are less alike than takes of one word, and more alike than stretches of white noise.
    """
    random = np.random.default_rng(seed)
    length = 1600 * int(random.integers(5, 16))
    spectrum, hertz = np.fft.rfft(random.standard_normal(length)), np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    sound = np.zeros(length)
    for _ in range(3):
        centre, width = random.uniform(300, 2500), random.uniform(50, 300)
        loudness = random.uniform(0, 1, length // 480 + 2)  # every 30 ms
        band = np.fft.irfft(spectrum * np.exp(-(((hertz - centre) / width) ** 2)), length)
        sound += band * np.interp(np.arange(length) / 480, np.arange(len(loudness)), loudness)
    samples = (sound / np.abs(sound).max() * 30_000).astype("<i2")
    return encode(samples), length


def clip(part: Part) -> Clip:
    """Describe a synthetic sound."""
    name = f"synthetic/{part.clip}"
    facts: dict[str, Any] = {"label": None, "speaker": None, "session": None, "language": None, "split": None}
    return Clip(
        id=name,
        corpus="synthetic",
        path=f"{part.clip}.wav",
        start=0.0,
        end=part.samples / SAMPLE_RATE,
        sample_rate=SAMPLE_RATE,
        recording=name,
        licence="CC0-1.0",
        sha256=f"{part.clip:064x}",
        **facts,
    )


if __name__ == "__main__":
    main()
