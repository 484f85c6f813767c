"""Folders of shards made by hand, so that tests of tasks and evaluation depend on no other part of the toolkit."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_shards import Part, made_clip, sha256, write_shards

from nonverbal.data.index import SAMPLE_RATE, ShardFolder
from nonverbal.data.manifest import Clip

Sound = tuple[str | None, str | None, str, list[np.ndarray]]
"""Label, speaker, recording, parts."""


@pytest.fixture
def labelled_shards(tmp_path: Path) -> Callable[..., ShardFolder]:
    """Write sounds to one shard, the parts in reverse order, and open the folder."""

    def make(sounds: list[Sound], name: str = "shards", corpus: str = "made") -> ShardFolder:
        folder = tmp_path / name
        folder.mkdir()
        clips: list[Clip] = []
        parts: list[Part] = []
        for number, (label, speaker, recording, sounding) in enumerate(sounds):
            whole = np.concatenate(sounding)
            facts = {"label": label, "speaker": speaker, "recording": recording, "end": len(whole) / SAMPLE_RATE}
            digest = sha256((whole * 32767).astype("<i2").tobytes())
            clips.append(made_clip(corpus, number, **facts, sha256=digest))
            parts += [(number, part, samples) for part, samples in enumerate(sounding)]
        return write_shards(folder, clips, [("train", parts[::-1])])

    return make


def tones(speakers: int = 6, takes: int = 2) -> list[Sound]:
    """Low and high tones in noise by several speakers, and a clip without label."""
    random, time = np.random.default_rng(0), np.arange(6000) / 16_000
    sounds: list[Sound] = []
    for speaker in range(speakers):
        for label, frequency in (("high", 3000), ("low", 400)):
            for take in range(takes):
                tone = 0.2 * np.sin(2 * np.pi * random.uniform(0.8, 1.2) * frequency * time)
                sound = (tone + 0.02 * random.standard_normal(6000)).astype(np.float32)
                sounds.append((label, f"s{speaker}", f"s{speaker}-{label}-{take}", [sound]))
    return [*sounds, (None, "s0", "unlabelled", [sounds[0][3][0] / 2])]
