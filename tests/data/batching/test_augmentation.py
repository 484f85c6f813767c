"""Changes to training clips, against what they say they do."""

import numpy as np
import pytest
from scipy.signal import welch

from nonverbal.config import load
from nonverbal.data.batching.augmentation import Augmentation, Change, resampled, with_noise
from nonverbal.errors import UserError

RATE = 16_000


def tone(hertz, seconds=1.0):
    """Return a tone of half the full scale, int16."""
    return np.round(16_384 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.int16)


def random(seed=0):
    return np.random.default_rng(seed)


def pitch(waveform):
    """Return the frequency of a tone, from its phase: to a part in a thousand."""
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), 1 << 20))
    return np.argmax(spectrum) * RATE / (1 << 20)


@pytest.mark.parametrize("gain", [-12.5, 0.0, 12.0])
def test_a_gain_is_exact_and_not_clipped(gain):
    samples = tone(440)
    changed = Augmentation(gain_db=(gain, gain)).changed(samples, len(samples), Change(gain_db=gain), random())
    assert changed.dtype == np.float32
    np.testing.assert_allclose(changed, samples / 32_768 * 10 ** (gain / 20), rtol=1e-6)
    assert (np.abs(changed).max() > 1) == (gain == 12.0)


@pytest.mark.parametrize("kind", ["white", "pink"])
@pytest.mark.parametrize("snr", [-5.0, 0.0, 20.0])
def test_noise_lies_so_far_below_the_clip(kind, snr):
    clip = (tone(300) / 32_768).astype(np.float32)
    noise = with_noise(clip, snr, kind, random()).astype(np.float64) - clip
    assert 10 * np.log10(np.mean(clip.astype(np.float64) ** 2) / np.mean(noise**2)) == pytest.approx(snr, abs=1e-3)


@pytest.mark.parametrize(("kind", "an_octave"), [("white", 0.0), ("pink", -3.01)])
def test_the_colour_of_noise(kind, an_octave):
    clip = random(1).standard_normal(40 * RATE).astype(np.float32)
    noise = with_noise(clip, 0.0, kind, random(2)) - clip
    frequencies, power = welch(noise, RATE, nperseg=1024)
    band = (frequencies > 200) & (frequencies < 7000)
    slope = np.polyfit(np.log2(frequencies[band]), 10 * np.log10(power[band]), 1)[0]
    assert slope == pytest.approx(an_octave, abs=0.15)


def test_silence_and_a_single_sample_stay_finite():
    silent = np.zeros(100, np.float32)
    for kind in ("white", "pink"):
        np.testing.assert_array_equal(with_noise(silent, 10, kind, random()), silent)
        assert np.isfinite(with_noise(np.ones(1, np.float32), 10, kind, random())).all()
    assert resampled(np.ones(1, np.float32), 3).shape == (3,)


@pytest.mark.parametrize("speed", [0.5, 0.9, 1.1, 2.0])
def test_a_faster_clip_is_shorter_and_higher(speed):
    samples = tone(1000, 2.0)
    length = round(len(samples) / speed)
    changed = Augmentation(speed=(speed, speed)).changed(samples, length, Change(speed=speed), random())
    assert changed.shape == (length,)
    assert pitch(changed) == pytest.approx(1000 * speed, rel=1e-3)
    middle = changed[length // 4 : -length // 4]
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(0.5, rel=1e-3)


def test_draws_lie_in_their_ranges_and_do_not_depend_on_one_another():
    every = Augmentation(gain_db=(-6, 6), noise_snr_db=(5, 30), speed=(0.9, 1.1))
    changes = every.draw(400, random())
    for name, low, high in (("gain_db", -6, 6), ("noise_snr_db", 5, 30), ("speed", 0.9, 1.1)):
        drawn = np.array([getattr(change, name) for change in changes])
        assert low <= drawn.min() < low + (high - low) / 50
        assert high >= drawn.max() > high - (high - low) / 50
        assert drawn.mean() == pytest.approx((low + high) / 2, abs=(high - low) / 20)
    only_gain = Augmentation(gain_db=(-6, 6)).draw(400, random())
    assert [change.gain_db for change in only_gain] == [change.gain_db for change in changes]
    assert {(change.speed, change.noise_snr_db) for change in only_gain} == {(1.0, None)}
    assert Augmentation().draw(2, random()) == [Change(), Change()]
    assert [Augmentation().is_on, every.is_on, Augmentation(speed=(1, 1)).is_on] == [False, True, True]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"gain_db": (3, -3)}, r"augmentation.gain_db must be the lowest and the highest value, but is \[3, -3\]"),
        ({"noise_snr_db": (0, float("inf"))}, "augmentation.noise_snr_db"),
        ({"speed": (0.0, 1.0)}, "augmentation.speed must lie between 0.25 and 4"),
        ({"speed": (0.9, 5.0)}, "augmentation.speed must lie between"),
    ],
)
def test_ranges_that_are_none_are_refused(setting, told):
    with pytest.raises(UserError, match=told):
        Augmentation(**setting)


def test_ranges_are_read_from_the_command_line():
    read = load(Augmentation, ["--gain_db", "-6", "6", "--speed=0.9,1.1", "--noise", "pink"], "program", "")
    assert read == Augmentation(gain_db=(-6.0, 6.0), speed=(0.9, 1.1), noise="pink")
