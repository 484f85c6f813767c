from pathlib import Path

import numpy as np
import pytest
import soundfile

from nonverbal.data import synthetic
from nonverbal.data.synthetic import CLASSES, RATE, Articulation, draw_speaker, vocal_sound, write_corpus
from nonverbal.errors import UserError
from nonverbal.seeding import Stream, generator


def _sounds(kind: str, count: int = 12) -> list[np.ndarray]:
    return [vocal_sound(kind, speaker, 0, seed=3) for speaker in range(count)]


def _centroid(sound: np.ndarray) -> float:
    """Mean frequency in Hz, weighted by power above the room's rumble."""
    power = np.abs(np.fft.rfft(sound)) ** 2
    frequency = np.fft.rfftfreq(len(sound), 1 / 16_000)
    return float((power * frequency)[frequency > 60].sum() / power[frequency > 60].sum())


def _f0(sound: np.ndarray, rate: int, low: float, high: float) -> float:
    """Fundamental frequency in Hz by the autocorrelation of a stretch in the middle of a sound."""
    middle = sound[len(sound) // 2 - rate // 20 : len(sound) // 2 + rate // 20]
    correlation = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    lags = np.arange(int(rate / high), int(rate / low))
    return float(rate / lags[correlation[lags].argmax()])


def test_a_file_depends_on_its_name_and_the_seed_alone(tmp_path: Path) -> None:
    assert write_corpus(tmp_path / "few", range(2), takes=1, seed=0) == 12
    assert write_corpus(tmp_path / "many", [5, 1, 0], takes=2, seed=0) == 36
    for path in (tmp_path / "few").rglob("*.wav"):
        again = tmp_path / "many" / path.relative_to(tmp_path / "few")
        assert again.read_bytes() == path.read_bytes()
    write_corpus(tmp_path / "other", range(1), takes=1, seed=1)
    name = "hum/hum_s000_00.wav"
    assert (tmp_path / "other" / name).read_bytes() != (tmp_path / "few" / name).read_bytes()


def test_files_are_named_and_written_as_stated(tmp_path: Path) -> None:
    write_corpus(tmp_path, [7], takes=2, seed=0)
    names = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert names == [f"{kind}/{kind}_s007_{take:02d}.wav" for kind in sorted(CLASSES) for take in range(2)]
    for path in tmp_path.rglob("*.wav"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert 0.4 <= info.duration <= 3


def test_a_corpus_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    write_corpus(tmp_path, [0], takes=1, seed=0)
    kept = tmp_path / "cough" / "cough_s000_00.wav"
    kept.write_bytes(b"mine")
    write_corpus(tmp_path, [0], takes=2, seed=0)
    assert kept.read_bytes() == b"mine"
    assert (tmp_path / "cough" / "cough_s000_01.wav").is_file()


@pytest.mark.parametrize("kind", CLASSES)
def test_sounds_stay_below_full_scale_and_differ(kind: str) -> None:
    sounds = [vocal_sound(kind, speaker, take, 0) for speaker in range(4) for take in range(2)]
    assert all(sound.dtype == np.float32 and 0.05 < np.abs(sound).max() < 0.9 for sound in sounds)
    assert len({sound.tobytes() for sound in sounds}) == 8


def test_pulses_have_the_frequency_asked_for() -> None:
    for f0 in (80.0, 220.0, 470.0, 1200.0):
        speaker = draw_speaker(0, 0)
        flow = synthetic.glottal_flow(np.full(RATE, f0), speaker, np.random.default_rng(0))
        assert flow.min() >= 0
        power = np.abs(np.fft.rfft((flow - flow.mean()) * np.hanning(RATE))) ** 2
        assert abs(int(power.argmax()) - f0) <= 0.02 * f0  # bins of 1 Hz; jitter moves the mean a little


def test_a_hum_has_the_contour_that_was_drawn() -> None:
    for number in range(10):
        speaker = draw_speaker(number, 0)
        random = generator(0, Stream.SYNTHETIC, 100, number)
        drawn = synthetic.hum(speaker, random)
        sound = synthetic.record(synthetic.render(drawn, speaker, random), speaker, random)
        asked = drawn.f0[len(drawn.f0) // 2]
        assert _f0(sound, 16_000, 0.7 * asked, 1.8 * asked) == pytest.approx(asked, rel=0.04)


def test_a_laugh_bursts_four_to_six_times_a_second() -> None:
    rates = []
    for sound in _sounds("laugh", 20):
        envelope = np.convolve(np.abs(sound), np.hanning(800), "same")
        # Zeros appended give a grid of 0.1 Hz; the mean and the slow fall lie below 2.5 Hz.
        spectrum = np.abs(np.fft.rfft(envelope - envelope.mean(), 160_000))
        band = np.arange(25, 100)
        rates.append(band[spectrum[band].argmax()] / 10)
    assert np.mean([3.8 <= rate <= 6.2 for rate in rates]) >= 0.9


def test_a_cry_rises_and_falls_between_300_and_600_hz() -> None:
    for number in range(10):
        drawn = synthetic.cry(draw_speaker(number, 0), np.random.default_rng(number))
        f0 = drawn.f0[drawn.voice > 0.5]
        assert 280 < f0.min() < f0.max() < 620
        first = drawn.f0[: int(0.5 * RATE)]
        assert drawn.f0[0] < first.max() > drawn.f0[int(0.7 * RATE)]


def test_screams_are_high_and_rough() -> None:
    for number in range(10):
        drawn = synthetic.scream(draw_speaker(number, 0), np.random.default_rng(number))
        assert 400 < drawn.f0.min() < drawn.f0.max() < 1550
        middle = drawn.voice[len(drawn.voice) // 3 : len(drawn.voice) // 3 + RATE // 4]
        rate = np.abs(np.fft.rfft(middle - middle.mean(), RATE)).argmax()  # bins of 1 Hz
        assert 28 <= rate <= 152


def test_noise_is_brighter_than_voices_and_voices_than_hums() -> None:
    centroid = {kind: np.median([_centroid(sound) for sound in _sounds(kind)]) for kind in CLASSES}
    assert centroid["hum"] < 600 < centroid["cry"]
    assert centroid["cry"] < centroid["sigh"]


def test_a_shorter_tract_has_higher_formants() -> None:
    """Noise through one formant peaks at that formant."""
    speaker = draw_speaker(0, 0)
    for formant in (500.0, 1500.0, 3000.0):
        still = np.zeros(2 * RATE)
        drawn = Articulation(still + 100, still, still + 1, np.array([formant]), np.array([80.0]))
        sound = synthetic.render(drawn, speaker, np.random.default_rng(0))
        power = np.abs(np.fft.rfft(sound)) ** 2  # bins of 0.5 Hz
        smooth = np.convolve(power, np.ones(100), "same")
        assert smooth.argmax() / 2 == pytest.approx(formant, abs=60)
    tracts = sorted((draw_speaker(number, 0) for number in range(40)), key=lambda voice: voice.tract_length)
    assert 0.11 <= tracts[0].tract_length < tracts[-1].tract_length <= 0.18
    assert np.mean([voice.f0 for voice in tracts[:10]]) > 1.5 * np.mean([voice.f0 for voice in tracts[-10:]])


def test_bad_counts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="takes >= 1"):
        write_corpus(tmp_path, range(2), takes=0, seed=0)
    with pytest.raises(UserError, match="speakers >= 0"):
        write_corpus(tmp_path, [-1], takes=1, seed=0)
