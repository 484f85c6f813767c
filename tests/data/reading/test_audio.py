import contextlib
import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nonverbal.data.reading.audio import EXTENSIONS, AudioProblem, encode, load
from nonverbal.data.reading.formats import LIBSNDFILE

SHARED = Path(__file__).parents[3].parent / "shared/data"
CONTAINERS = [
    ("wav", "WAV", "PCM_U8"),
    ("wav", "WAV", "PCM_16"),
    ("wav", "WAV", "PCM_24"),
    ("wav", "WAV", "FLOAT"),
    ("wav", "WAVEX", "DOUBLE"),
    ("flac", "FLAC", "PCM_16"),
    ("flac", "FLAC", "PCM_24"),
    ("mp3", "MP3", "MPEG_LAYER_III"),
    ("ogg", "OGG", "VORBIS"),
    ("aiff", "AIFF", "PCM_24"),
    ("aif", "AIFF", "FLOAT"),
    ("au", "AU", "PCM_16"),
    ("caf", "CAF", "PCM_16"),
]
# FFmpeg's container, codec and extension.
BY_FFMPEG = [
    ("ipod", "aac", "m4a"),
    ("mp4", "aac", "mp4"),
    ("3gp", "aac", "3gp"),
    ("caf", "alac", "caf"),
    ("matroska", "aac", "mka"),
    ("webm", "libopus", "webm"),
    ("mp3", "libmp3lame", "mp3"),
    ("ogg", "libopus", "opus"),
]


def sine(rate, seconds=1.0, hertz=440.0, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def written(folder, extension, container, subtype, samples, rate=16_000):
    path = folder / f"clip.{extension}"
    soundfile.write(path, samples, rate, format=container, subtype=subtype)
    return path


def written_by_ffmpeg(folder, container, codec, extension, options=None):
    import av

    path = folder / f"clip.{extension}"
    rate = 48_000 if codec == "libopus" else 16_000
    samples = (sine(rate, 2.0) * 32767).astype("<i2")
    with av.open(str(path), "w", format=container, options=options or {}) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = rate, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
    return path


def assert_sine(samples, hertz=440.0, amplitude=0.5, atol=1e-4, delay=0):
    # The middle half: a resampler's filter rings at the ends.
    quarter = len(samples) // 4
    middle = samples[quarter:-quarter] / 32768
    phase = 2 * np.pi * hertz * (np.arange(len(samples))[quarter:-quarter]) / 16_000
    basis = np.stack([np.sin(phase), np.cos(phase)], axis=1)
    (a, b), *_ = np.linalg.lstsq(basis, middle, rcond=None)
    assert np.hypot(a, b) == pytest.approx(amplitude, abs=max(atol, 1e-4))
    np.testing.assert_allclose(middle, basis @ [a, b], atol=atol)
    if delay == 0:
        assert np.arctan2(b, a) == pytest.approx(0, abs=max(10 * atol, 1e-3))


def problem(path):
    with pytest.raises(AudioProblem) as caught:
        load(path)
    return caught.value.reason


@pytest.mark.parametrize(("extension", "container", "subtype"), CONTAINERS)
def test_a_sine_is_the_same_in_every_container(tmp_path, extension, container, subtype):
    audio = load(written(tmp_path, extension, container, subtype, sine(16_000)))
    lossy = subtype in ("MPEG_LAYER_III", "VORBIS")
    atol = {"MPEG_LAYER_III": 0.02, "VORBIS": 0.02, "PCM_U8": 1 / 100}.get(subtype, 5e-5)
    assert_sine(audio.samples, atol=atol, delay=None if lossy else 0)
    assert (len(audio.samples), audio.seconds, audio.sample_rate) == (16_000, 1.0, 16_000)
    assert audio.notes == []


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_a_sine_is_the_same_at_every_rate(tmp_path, rate):
    audio = load(written(tmp_path, "wav", "WAV", "PCM_24", sine(rate), rate))
    assert_sine(audio.samples)
    assert len(audio.samples) == 16_000
    assert (audio.sample_rate, audio.seconds) == (rate, 1.0)
    assert audio.notes == (["resampled"] if rate != 16_000 else [])


def test_what_16_khz_cannot_hold_is_filtered_and_not_folded_down(tmp_path):
    both = sine(48_000, hertz=440) + sine(48_000, hertz=12_000, amplitude=0.4)
    assert_sine(load(written(tmp_path, "wav", "WAV", "PCM_24", both, 48_000)).samples)


def test_channels_are_averaged(tmp_path):
    stereo = np.stack([sine(16_000, amplitude=0.75), sine(16_000, amplitude=0.25)], axis=1)
    audio = load(written(tmp_path, "wav", "WAV", "PCM_24", stereo))
    assert_sine(audio.samples, amplitude=0.5)
    assert audio.notes == ["downmixed"]


@pytest.mark.parametrize("others", [[-1.0], [-0.98], [-1.0, 0.1], [-1.0, 0.9, -0.9]])
def test_channels_that_cancel_give_the_loudest_and_say_so(tmp_path, others):
    # A constant that the channels share is not sound that is left.
    channels = np.stack([0.1 + share * sine(16_000) for share in [1.0, *others]], axis=1)
    audio = load(written(tmp_path, "wav", "WAV", "PCM_24", channels))
    assert_sine(audio.samples - 3277, amplitude=0.5)
    assert audio.notes == ["downmixed", "out_of_phase"]


@pytest.mark.parametrize("at", [0, 2, 3])
def test_channels_that_cancel_for_a_time_are_not_lost_in_that_time(tmp_path, at):
    channels = np.repeat(np.tile(sine(16_000), 4)[:, None], 2, axis=1)
    channels[at * 16_000 : (at + 1) * 16_000, 1] *= -1
    audio = load(written(tmp_path, "wav", "WAV", "PCM_24", channels))
    assert_sine(audio.samples, amplitude=0.5)
    assert audio.notes == ["downmixed", "out_of_phase"]


def test_channels_that_cancel_in_what_is_hardly_heard_are_averaged(tmp_path):
    channels = np.tile(np.stack([sine(16_000), 0.5 * sine(16_000)], axis=1), (4, 1))
    channels[:16_000] = 0.01 * np.stack([sine(16_000), -sine(16_000)], axis=1)
    audio = load(written(tmp_path, "wav", "WAV", "PCM_24", channels))
    assert_sine(audio.samples[16_000:], amplitude=0.375)
    assert audio.notes == ["downmixed"]


@pytest.mark.parametrize("shares", [[1.0, 0.0], [1.0, 1.0], [1.0, 0.5, 0.0, 0.0, 0.0, 0.0], [1.0, -0.2]])
def test_channels_that_do_not_cancel_are_averaged(tmp_path, shares):
    channels = np.stack([share * sine(16_000) for share in shares], axis=1)
    audio = load(written(tmp_path, "wav", "WAV", "PCM_24", channels))
    assert_sine(audio.samples, amplitude=0.5 * np.mean(shares))
    assert audio.notes == ["downmixed"]


def test_independent_channels_are_averaged(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (16_000, 8))
    audio = load(written(tmp_path, "wav", "WAV", "FLOAT", noise))
    np.testing.assert_allclose(audio.samples / 32768, noise.mean(axis=1), atol=1e-4)
    assert audio.notes == ["downmixed"]


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("damage", [3e3, 1e6, 3e38, -3e38])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_damaged_sample_beside_which_the_rest_is_silence_is_named(tmp_path, subtype, damage, channels):
    samples = np.repeat(sine(16_000)[:, None], channels, axis=1)
    samples[8_000] = damage
    assert problem(written(tmp_path, "wav", "WAV", subtype, samples)) == "overloaded"


@pytest.mark.parametrize("full_scale", [2.0**7, 2.0**15, 2.0**31, 1e30])
def test_integers_that_were_stored_as_floats_are_scaled(tmp_path, full_scale):
    # Silence before and behind is no reason to take the sound for damage.
    samples = np.concatenate([np.zeros(160_000), full_scale * sine(16_000, amplitude=1.0), np.zeros(160_000)])
    audio = load(written(tmp_path, "wav", "WAV", "FLOAT", samples))
    assert_sine(audio.samples[160_000:-160_000], amplitude=1.0)
    assert audio.notes == ["scaled"]


def test_above_full_scale_is_scaled_and_at_full_scale_is_not(tmp_path):
    audio = load(written(tmp_path, "wav", "WAV", "FLOAT", sine(16_000, hertz=1000, amplitude=2.0)))
    assert_sine(audio.samples, hertz=1000, amplitude=1.0)
    assert audio.notes == ["scaled"]
    assert load(written(tmp_path, "wav", "WAV", "FLOAT", sine(16_000, hertz=1000, amplitude=1.0))).notes == []


@pytest.mark.parametrize(("container", "codec", "extension"), BY_FFMPEG)
def test_containers_of_phones_and_browsers_are_read(tmp_path, container, codec, extension):
    audio = load(written_by_ffmpeg(tmp_path, container, codec, extension))
    assert_sine(audio.samples[:32_000], atol=0.03, delay=None)
    assert audio.seconds == pytest.approx(2.0, abs=0.15)
    assert audio.notes == (["resampled"] if codec == "libopus" else [])


@pytest.mark.skipif(not SHARED.is_dir(), reason="real recordings are not beside this checkout")
def test_every_raw_upload_of_donate_a_cry_is_read():
    uploads = sorted(SHARED.glob("donateacry-corpus/*-bucket/*"))
    assert {path.suffix for path in uploads} == {".3gp", ".caf"}
    for path in uploads[::10]:
        audio = load(path)
        assert audio.seconds > 1
        assert "mislabelled" not in audio.notes


@pytest.mark.parametrize("share", [0.99, 0.5])
@pytest.mark.parametrize(("extension", "container", "subtype"), CONTAINERS)
def test_a_file_that_was_cut_is_truncated(tmp_path, extension, container, subtype, share):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 32_000)
    path = written(tmp_path, extension, container, subtype, noise)
    cut(path, share - 0.01)
    assert problem(path) == "truncated"


@pytest.mark.parametrize("share", [0.98, 0.5])
@pytest.mark.parametrize(("container", "codec", "extension"), BY_FFMPEG)
def test_a_file_of_a_phone_that_was_cut_is_truncated(tmp_path, container, codec, extension, share):
    # The index comes first: all that was not cut away can be decoded.
    options = {"movflags": "faststart"} if extension in ("m4a", "mp4") else {}
    path = written_by_ffmpeg(tmp_path, container, codec, extension, options)
    cut(path, share)
    assert problem(path) == "truncated"


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def test_a_streamed_wav_without_a_length_is_whole(tmp_path):
    path = written(tmp_path, "wav", "WAV", "PCM_16", sine(16_000))
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff" * 4
    path.write_bytes(data)
    assert len(load(path).samples) == 16_000


def test_what_is_no_sound_is_named(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(b"<html>404</html>" * 20)
    assert problem(path) == "unreadable"
    path.write_bytes(b"")
    with pytest.raises(AudioProblem, match="unreadable: the file has no bytes"):
        load(path)
    for samples, reason in [
        (np.zeros(0), "empty"),
        (np.array([0.1, np.nan] * 2000), "not_finite"),
        (np.array([0.1, -np.inf] * 2000), "not_finite"),
        (np.zeros(16_000), "silent"),
        (np.full(16_000, 0.3), "silent"),
    ]:
        assert problem(written(tmp_path, "wav", "WAV", "FLOAT", samples)) == reason


def test_a_quiet_sound_is_not_silent(tmp_path):
    assert load(written(tmp_path, "wav", "WAV", "PCM_16", sine(16_000, amplitude=3 / 32768))).notes == []


def test_a_wrong_or_unknown_extension_is_noted(tmp_path):
    for extension in ("mp3", "txt", "m4a"):
        assert load(written(tmp_path, extension, "WAV", "PCM_16", sine(16_000))).notes == ["mislabelled"]
    path = written_by_ffmpeg(tmp_path, "ipod", "aac", "m4a")
    assert load(path.rename(tmp_path / "other.webm")).notes == ["mislabelled"]


def test_what_libsndfile_and_ffmpeg_read_is_audio(tmp_path):
    for container in soundfile.available_formats().keys() - {"RAW", "SD2", "MAT4", "MAT5"}:
        extensions = [name for name, formats in LIBSNDFILE.items() if container in formats]
        assert extensions
        assert set(extensions) <= EXTENSIONS
        subtype = "PCM_16" if soundfile.check_format(container, "PCM_16") else None
        for extension in extensions:
            path = written(tmp_path, extension, container, subtype, sine(16_000))
            assert "mislabelled" not in load(path).notes, (container, extension)
    for container, codec, extension in [
        ("ipod", "aac", "m4b"),
        ("mov", "aac", "mov"),
        ("matroska", "aac", "mkv"),
        ("mp2", "mp2", "mp2"),
        ("flv", "aac", "flv"),
        ("w64", "pcm_s16le", "w64"),
    ]:
        assert extension in EXTENSIONS
        assert "mislabelled" not in load(written_by_ffmpeg(tmp_path, container, codec, extension)).notes


def test_what_may_be_a_text_or_a_table_or_has_no_header_is_not_audio():
    assert not EXTENSIONS & {"raw", "pcm", "txt", "csv", "json", "mat", "sd2", "vox", "m3u", "m3u8", "pls", "ts", "zip"}
    assert all(extension.isalnum() and extension == extension.lower() for extension in EXTENSIONS)


def test_a_film_without_sound_is_named(tmp_path):
    import av

    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        frames = [av.VideoFrame.from_ndarray(np.full((32, 32, 3), 8 * i, np.uint8), format="rgb24") for i in range(10)]
        for packet in [*(packet for frame in frames for packet in stream.encode(frame)), *stream.encode(None)]:
            output.mux(packet)
    assert problem(path) == "unreadable"


@pytest.mark.parametrize("fault", [errno.EIO, errno.ESTALE])
def test_a_fault_of_the_machine_is_not_the_file_s(tmp_path, monkeypatch, fault):
    paths = [written_by_ffmpeg(tmp_path, "ipod", "aac", "m4a"), written(tmp_path, "ogg", "OGG", "VORBIS", sine(16_000))]

    def fails(*_):
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(os, "pread", fails)
    for path in paths:
        with pytest.raises(OSError, match=os.strerror(fault)):
            load(path)


def test_details_do_not_tell_where_a_corpus_lies(tmp_path):
    for name in ("a.wav", "b.m4a", "c.flac"):
        (tmp_path / name).write_bytes(b"hello" * 100)
        with pytest.raises(AudioProblem) as caught:
            load(tmp_path / name)
        assert str(tmp_path) not in caught.value.detail


def test_missing_files_and_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "clip.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    assert problem(tmp_path / "pipe.wav") == problem(tmp_path / "folder.wav") == "unreadable"
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    with pytest.raises(OSError, match="symbolic links"):
        load(tmp_path / "loop.wav")


@pytest.mark.parametrize("playlist", ["#EXTM3U\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile {}\n"])
def test_a_playlist_does_not_lead_to_other_files(tmp_path, playlist):
    target = written_by_ffmpeg(tmp_path, "adts", "aac", "aac")
    for name in ("list.m4a", "list.m3u8"):
        (tmp_path / name).write_text(playlist.format(target.name))
        assert problem(tmp_path / name) == "unreadable"


@pytest.mark.parametrize(("rate", "frames"), [(1, 16_000), (8_000, 2**36 - 1)])
def test_a_header_that_promises_days_is_not_believed(tmp_path, rate, frames):
    path = written(tmp_path, "flac", "FLAC", "PCM_16", sine(16_000))
    data = bytearray(path.read_bytes())
    # STREAMINFO: 20 bits of rate, 3 of channels, 5 of depth, 36 of samples.
    data[18:26] = (rate << 44 | 15 << 36 | frames).to_bytes(8)
    path.write_bytes(data)
    assert problem(path) == "unreadable"


def test_a_header_that_promises_hours_takes_no_memory_for_them(tmp_path):
    path = written(tmp_path, "flac", "FLAC", "PCM_16", sine(16_000))
    data = bytearray(path.read_bytes())
    data[18:26] = (96_000 << 44 | 15 << 36 | 96_000 * 3600 * 23).to_bytes(8)
    path.write_bytes(data)
    assert problem(path) in ("truncated", "unreadable")


@given(arrays("<i2", st.integers(1, 5000)))
def test_encoding_loses_nothing(samples):
    decoded, rate = soundfile.read(io.BytesIO(encode(samples)), dtype="int16")
    assert rate == 16_000
    np.testing.assert_array_equal(decoded, samples)


@given(samples=arrays("<i2", st.integers(2, 2000)), container=st.sampled_from(["WAV", "FLAC", "AIFF", "AU"]))
def test_samples_at_16_khz_stay_as_they_are(samples, container, tmp_path_factory):
    samples[:2] = -3, 3
    path = tmp_path_factory.getbasetemp() / f"exact.{container.lower()}"
    soundfile.write(path, samples, 16_000, format=container, subtype="PCM_16")
    np.testing.assert_array_equal(load(path).samples, samples)


@settings(max_examples=150)
@given(data=st.data())
def test_damage_is_a_problem_and_never_a_crash(data, tmp_path_factory, whole_files):
    name = data.draw(st.sampled_from(sorted(path.name for path in whole_files.iterdir())))
    damaged = bytearray((whole_files / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        # Half of the damage is in the header.
        reach = data.draw(st.sampled_from([100, len(damaged)]))
        at = data.draw(st.integers(0, min(reach, len(damaged)) - 1))
        damaged[at : at + 4] = data.draw(st.binary(min_size=1, max_size=4))
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(damaged)
    with contextlib.suppress(AudioProblem):
        assert np.abs(load(path).samples.astype(int)).max() > 0


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    for kind in CONTAINERS:
        written(folder, *kind, sine(16_000, 0.2))
    more = [("adts", "aac", "aac"), ("mpegts", "aac", "mts"), ("flv", "aac", "flv"), ("wv", "wavpack", "wv")]
    for kind in [*BY_FFMPEG, *more]:
        if kind[2] not in {extension for extension, _, _ in CONTAINERS}:
            written_by_ffmpeg(folder, *kind)
    return folder
