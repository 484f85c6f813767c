from itertools import combinations

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from nonverbal.data.audit.alignments import LEAST_FRAMES, align, flips, highest_rate
from nonverbal.data.audit.fingerprints import BANDS, HOP, LAG, RATE, SPAN, WINDOW, band_energies, fingerprint, join
from nonverbal.data.audit.leaks import alignments, fingerprints
from nonverbal.data.synthetic import CLASSES, vocal_sound

HOP_SECONDS = HOP / RATE


def noise(seed, seconds=1.0):
    return (0.1 * np.random.default_rng(seed).standard_normal(round(16_000 * seconds))).astype(np.float32)


def side(*waveforms):
    return join(fingerprint(waveform) for waveform in waveforms)


def rows(found):
    return list(zip(found.a.tolist(), found.b.tolist(), strict=True))


@pytest.fixture(scope="module")
def sounds():
    """Twelve vocal sounds of at least a second, no two of one speaker and class."""
    made = [vocal_sound(kind, speaker, 0, seed=7) for kind in CLASSES for speaker in range(4)]
    return [sound for sound in made if len(sound) > 16_000][:12]


def test_energies_of_a_tone_lie_in_its_band():
    edges = np.geomspace(300, 2000, BANDS + 1)
    for band in (0, 10, 20, 32):
        hertz = (edges[band] + edges[band + 1]) / 2
        energies = band_energies(np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE).astype(np.float32))
        assert energies.shape == ((RATE - WINDOW) // HOP + 1, BANDS)
        assert (np.argmax(energies, axis=1) == band).all()


def test_bits_are_signs_of_differences_taken_by_hand(monkeypatch):
    energies = np.zeros((LAG + 2, BANDS), dtype=np.float32)
    energies[:, :] = 1
    energies[LAG, 0] = 3  # band 0 grows against band 1: the highest bit of the first word
    energies[LAG + 1, 31] = 5  # bands 31 - 32: the lowest bit; bands 30 - 31 fall
    energies[LAG + 1, 4] = 4  # bands 4 - 5: bit 27
    monkeypatch.setattr(fingerprints, "band_energies", lambda samples: energies)
    print_ = fingerprint(noise(0))
    assert print_.words.tolist() == [1 << 31, 1 << 27 | 1]
    assert print_.heard.all()
    assert print_.bounds.tolist() == [0, 2]
    # The largest differences are the most reliable: at bits 31, and 28, 27, 1 and 0.
    assert 31 not in print_.weak[0]
    assert not {28, 27, 1, 0} & set(print_.weak[1].tolist())


@given(st.integers(-12, 6), st.integers(0, 20))
def test_gain_changes_no_bit(power, seed):
    sound = noise(seed, 0.4)
    before, after = fingerprint(sound), fingerprint(sound * np.float32(2.0**power))
    np.testing.assert_array_equal(before.words, after.words)
    np.testing.assert_array_equal(before.heard, after.heard)
    np.testing.assert_array_equal(before.weak, after.weak)


@pytest.mark.parametrize("samples", [1, 1040, 2000, 16_000])
def test_every_length_gives_words(samples):
    print_ = fingerprint(noise(1)[:samples])
    at_rate = round(samples * RATE / 16_000)
    assert len(print_.words) == max(at_rate - SPAN, 0) // HOP + 1


def test_long_clips_are_transformed_in_blocks_without_a_seam(monkeypatch):
    whole = fingerprint(noise(2, 3))
    monkeypatch.setattr(fingerprints, "BLOCK", 7)
    np.testing.assert_array_equal(fingerprint(noise(2, 3)).words, whole.words)


def test_silence_is_neither_indexed_nor_compared():
    silent = np.zeros(32_000, dtype=np.float32)
    assert not fingerprint(silent).heard.any()
    assert len(align(side(silent, silent), None).a) == 0
    padded = [np.concatenate([noise(seed, 0.5), silent]) for seed in (1, 2)]
    heard = fingerprint(padded[0]).heard
    assert heard[:20].all()
    assert not heard[60:].any()
    assert len(align(side(*padded), None).a) == 0


def test_flips_begin_with_none_and_take_the_least_ranks_first():
    sets = flips()
    assert sets.shape == (alignments.PROBES, 8)
    assert len({tuple(row) for row in sets}) == len(sets)
    assert not sets[0].any()
    assert np.flatnonzero(sets[1]).tolist() == [0]
    sums = sets @ np.arange(1, 9)
    assert (np.diff(sums) >= 0).all()


def test_the_threshold_tightens_with_fewer_frames():
    limits = highest_rate(np.array([0, LEAST_FRAMES - 1, LEAST_FRAMES, 20, 86, 256, 10_000]), 6.5)
    assert limits[:2].tolist() == [-1, -1]
    assert limits[2] == alignments.SAME_RATE
    assert (np.diff(limits[2:]) >= 0).all()
    assert limits[-1] == alignments.HIGHEST_RATE
    assert highest_rate(np.array([86]), 6.5) == pytest.approx(0.5 - 6.5 * alignments.DEVIATION * np.sqrt(256 / 86))


@given(st.integers(0, 11), st.floats(0, 0.5), st.floats(0.5, 1))
def test_a_cut_of_a_sound_is_found_at_its_offset(sounds, which, start, length):
    sound = sounds[which]
    begin = int(start * (len(sound) - 8000))
    cut = sound[begin : begin + 8000 + int(length * (len(sound) - begin - 8000))]
    found = align(side(*sounds), side(cut))
    assert which in found.a.tolist()
    best = found.a.tolist().index(which)
    assert best == 0
    assert found.offset[0] == pytest.approx(begin / 16_000, abs=2 * HOP_SECONDS)
    assert found.overlap[0] == pytest.approx(len(cut) / 16_000, abs=2 * HOP_SECONDS + 0.01)


def test_an_offset_is_negative_where_the_second_begins_earlier(sounds):
    found = align(side(sounds[0][4800:]), side(sounds[0]))
    assert found.offset[0] == pytest.approx(-0.3, abs=2 * HOP_SECONDS)


@pytest.mark.parametrize(
    "change",
    [
        lambda sound: sound * 0.013,
        lambda sound: soxr.resample(soxr.resample(sound, 16_000, 8000), 8000, 16_000),
        lambda sound: np.concatenate([noise(5, 0.777), sound, noise(6, 0.4)]),
        lambda sound: sound + 0.03 * np.sqrt(np.mean(sound**2)) * noise(9, 10)[: len(sound)] / 0.1,
        lambda sound: np.round(sound * 800).astype(np.float32) / 800,
    ],
    ids=["gain", "8 kHz", "inside another", "noise", "coarse"],
)
def test_copies_are_found_and_nothing_else_is(sounds, change):
    found = align(side(*sounds), side(*(change(sound).astype(np.float32) for sound in sounds)))
    assert sorted(rows(found)) == [(i, i) for i in range(len(sounds))]


@given(st.integers(0, 1000))
def test_unrelated_noise_is_never_a_pair(seed):
    assert len(align(side(*(noise(10 * seed + i, 2) for i in range(6))), None).a) == 0


def test_the_join_finds_what_a_plain_search_finds(sounds):
    """Every pair at every alignment, as slowly as can be; all that is close enough for a lookup to meet is met."""
    clips = [*sounds[:6], sounds[0][3000:20_000], 0.5 * sounds[1], noise(1), noise(1)[5000:], sounds[2][:16_000]]
    prints = [fingerprint(clip) for clip in clips]
    found = align(join(prints), None)
    expected = {}
    for (i, a), (j, b) in combinations(enumerate(prints), 2):
        best = plain_search(a, b, found.deviations)
        if best is not None:
            expected[i, j] = best
    assert {(0, 6), (1, 7), (2, 10), (8, 9)} <= expected.keys()
    assert dict(zip(rows(found), zip(found.offset, found.rate, strict=True), strict=True)) == {
        pair: (pytest.approx(offset * HOP_SECONDS), pytest.approx(rate)) for pair, (offset, rate) in expected.items()
    }


def plain_search(a, b, deviations):
    best, surest = None, 0
    for offset in range(1 - len(b.words), len(a.words)):
        errors = heard = 0
        for i in range(max(offset, 0), min(len(a.words), len(b.words) + offset)):
            if a.heard[i] and b.heard[i - offset]:
                heard += 1
                errors += (int(a.words[i]) ^ int(b.words[i - offset])).bit_count()
        if heard < LEAST_FRAMES or errors / (32 * heard) > highest_rate(np.array([heard]), deviations)[0]:
            continue
        if (0.5 - errors / (32 * heard)) * heard**0.5 > surest:
            best, surest = (offset, errors / (32 * heard)), (0.5 - errors / (32 * heard)) * heard**0.5
    return best


def test_small_memory_gives_the_same_pairs(sounds, monkeypatch):
    clips = side(*sounds, *(sound[5000:] for sound in sounds))
    whole = align(clips, None)
    monkeypatch.setattr(alignments, "FRAMES_AT_ONCE", 50)
    monkeypatch.setattr(alignments, "PAIRS_AT_ONCE", 10)
    parts = align(clips, None)
    assert rows(parts) == rows(whole)
    np.testing.assert_array_equal(parts.rate, whole.rate)


def test_a_sound_that_all_clips_share_is_not_quadratic_and_nobody_is_lost(monkeypatch):
    monkeypatch.setattr(alignments, "MATCHES", 3)
    clips = [np.concatenate([noise(0, 0.6), noise(i + 1, 0.3)]) for i in range(100)]
    found = align(side(*clips), None)
    assert {clip for pair in rows(found) for clip in pair} == set(range(100))
    assert len(found.a) < 100 * 99 / 4
    assert found.left_out > 0
    assert found.compared > 0


def test_no_clips_give_no_pairs():
    silent = side(np.zeros(16_000, dtype=np.float32))
    assert len(align(silent, side(noise(0))).a) == len(align(side(noise(0)), silent).a) == 0
