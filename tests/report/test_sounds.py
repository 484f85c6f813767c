"""Sounds within the page: which clips have a player, which have none and why."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from report_inputs import rename_clips, write_tables

from nonverbal.data.corpora import CATALOG
from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.report.collect import collect
from nonverbal.report.page import render
from nonverbal.report.sounds import SECONDS, opus, silence, sounds_of

MakeShards = Callable[..., ShardFolder]


def decoded(address: str) -> tuple[np.ndarray, int]:
    """Samples of a sound of the page, and their rate."""
    head, _, data = address.partition(",")
    assert head == "data:audio/ogg;base64"
    with av.open(io.BytesIO(base64.b64decode(data))) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        return np.concatenate(frames, axis=1)[0], container.streams.audio[0].rate


def test_a_tone_is_heard_as_it_was() -> None:
    samples = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32)
    heard, rate = decoded(opus(samples))
    assert len(heard) / rate == pytest.approx(1, abs=0.05)
    middle = heard[rate // 4 : 3 * rate // 4]
    spectrum = np.abs(np.fft.rfft(middle))
    assert spectrum.argmax() * rate / len(middle) == pytest.approx(440, abs=3)
    assert np.abs(middle).max() == pytest.approx(0.5, rel=0.1)


def test_sound_that_is_too_loud_is_clipped_and_does_not_wrap() -> None:
    heard, _ = decoded(opus(np.full(16_000, 1.5, dtype=np.float32)))
    assert heard[2000:4000].min() > 0


def test_licences_decide() -> None:
    refused = {corpus.name: corpus.terms.redistribution for corpus in CATALOG.values()}
    assert {True, False, None} <= set(refused.values())
    for name, allowed in refused.items():
        why = silence(name, name)
        assert (why is None) == (allowed is True)
        assert why is None or ("not stated" in why) == (allowed is None)
    assert silence("mine", "folder") is None
    assert silence("renamed", "demos") is not None


def test_lists_share_the_sounds(make_shards: MakeShards) -> None:
    shards = make_shards([("human-voice", 0.2, "train"), ("demos", 0.2, "train"), ("mine", 0.2, "train")] * 3)
    voices, demos, mine = (
        [f"{name}/{n}.wav" for n in range(k, 9, 3)] for k, name in enumerate(("human-voice", "demos", "mine"))
    )
    sounds = sounds_of([[*voices], [*demos, *mine], [mine[2], voices[0]]], [shards.folder], 4)
    assert list(sounds.by_clip) == [voices[0], mine[2], voices[1], voices[2]]
    notes = " ".join(sounds.notes)
    assert "demos has no players: its licence does not allow" in notes
    assert "mine is not in the catalog" in notes
    assert "4 of 6 clips have a player" in notes


def test_long_clips_are_cut(make_shards: MakeShards) -> None:
    shards = make_shards([("mine", SECONDS + 2, "train")])
    heard, rate = decoded(sounds_of([["mine/0.wav"]], [shards.folder], 9).by_clip["mine/0.wav"])
    assert len(heard) / rate == pytest.approx(SECONDS, abs=0.05)


def test_shards_of_other_clips_are_refused(make_shards: MakeShards) -> None:
    with pytest.raises(UserError, match="--data: .*shards has none of the clips that the page lists"):
        sounds_of([["other/0.wav"]], [make_shards([("mine", 0.2, "train")]).folder], 9)
    assert sounds_of([["other/0.wav"]], [], 9).by_clip == {}


def test_the_page_has_each_sound_once(tmp_path: Path, make_shards: MakeShards) -> None:
    write_tables(tmp_path / "scores")
    rename_clips(tmp_path / "scores", "mine")
    shards = make_shards([("mine", 0.1, "train")] * 24)
    page = collect([tmp_path / "scores"], "t", "c", data=[shards.folder])
    listed = {clip.id for part in page.sections[0].parts for clip in part.clips}
    assert page.sounds.by_clip.keys() == listed
    html = render(page)
    held = html.partition('id="sounds">')[2].partition("</script>")[0]
    assert json.loads(held) == page.sounds.by_clip
    assert html.count("data:audio/ogg") == len(listed)
    silent = render(collect([tmp_path / "scores"], "t", "c"))
    assert 'class="play"' not in silent
    assert "without sounds: give --data" in silent


def test_sounds_of_other_data_than_was_scored_are_said_to_be(make_shards: MakeShards) -> None:
    shards = make_shards([("mine", 0.2, "train")])
    for scored, said in (({"another"}, 1), ({"another", shards.sha256}, 0), ((), 0)):
        notes = sounds_of([["mine/0.wav"]], [shards.folder], 9, scored).notes
        told = f"{shards.folder} (sha256 {shards.sha256[:8]}) is not the data that was scored"
        assert sum(note.startswith(told) for note in notes) == said
