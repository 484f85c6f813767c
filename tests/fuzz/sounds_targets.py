"""Targets that are sound: each kind of file that is decoded, by libsndfile or by FFmpeg."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from bench import Target
from made_shards import noise
from shards_targets import decoded


def by_soundfile(name: str, **options: str) -> Callable[[Path], None]:
    """Return what writes a file of a kind that libsndfile writes."""

    def make(folder: Path) -> None:
        two = np.stack([noise(1, 800), noise(2, 800)], axis=1)
        soundfile.write(folder / name, two, 8000, **options)

    return make


def by_ffmpeg(name: str, codec: str, rate: int = 44_100, kind: str = "s16") -> Callable[[Path], None]:
    """Return what writes a file of a kind that FFmpeg writes."""

    def make(folder: Path) -> None:
        import av

        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, rate=rate, layout="mono", bit_rate=64_000)
            frame = av.AudioFrame.from_ndarray(noise(1, 4410)[None], format="s16", layout="mono")
            frame.sample_rate = rate
            resampler = av.AudioResampler(format=stream.format or kind, layout="mono", rate=rate)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                for packet in stream.encode(part):
                    container.mux(packet)
            for packet in stream.encode(None):
                container.mux(packet)

    return make


def read_sounds(folder: Path) -> object:
    """Decode what is there."""
    return [decoded(folder, path.name) for path in sorted(folder.iterdir())]


TARGETS = [
    Target("wav", by_soundfile("a.wav", subtype="PCM_16"), read_sounds),
    Target("wav-float", by_soundfile("a.wav", subtype="FLOAT", format="WAVEX"), read_sounds),
    Target("wav-adpcm", by_soundfile("a.wav", subtype="MS_ADPCM"), read_sounds),
    Target("flac", by_soundfile("a.flac", subtype="PCM_16"), read_sounds),
    Target("ogg", by_soundfile("a.ogg", subtype="VORBIS"), read_sounds),
    Target("opus", by_soundfile("a.opus", format="OGG", subtype="OPUS"), read_sounds),
    Target("mp3", by_soundfile("a.mp3", format="MP3"), read_sounds),
    Target("aiff", by_soundfile("a.aiff", subtype="PCM_24"), read_sounds),
    Target("caf", by_soundfile("a.caf", subtype="ALAC_16"), read_sounds),
    Target("w64", by_soundfile("a.w64", subtype="PCM_16"), read_sounds),
    Target("m4a", by_ffmpeg("a.m4a", "aac"), read_sounds),
    Target("mkv", by_ffmpeg("a.mkv", "pcm_s16le"), read_sounds),
    Target("webm", by_ffmpeg("a.webm", "libopus", 48_000), read_sounds),
    Target("wma", by_ffmpeg("a.wma", "wmav2"), read_sounds),
    Target("avi", by_ffmpeg("a.avi", "pcm_s16le"), read_sounds),
]
