"""Every recording in a file, however many there are and whatever its header says, and nothing that is not sound.

What is right is what the samples were before they were written: by us, by libsndfile or by FFmpeg.
"""

import io
import struct
from itertools import pairwise, zip_longest

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from nonverbal.data.reading.audio import AudioProblem, load

# Extension, libsndfile's container and encoding.
LIBSNDFILE = [
    ("wav", "WAV", "PCM_16"),
    ("wav", "WAVEX", "PCM_24"),
    ("wav", "RF64", "PCM_16"),
    ("wav", "WAV", "IMA_ADPCM"),
    ("w64", "W64", "FLOAT"),
    ("flac", "FLAC", "PCM_16"),
    ("mp3", "MP3", "MPEG_LAYER_III"),
    ("ogg", "OGG", "VORBIS"),
    ("opus", "OGG", "OPUS"),
    ("aiff", "AIFF", "PCM_16"),
    ("aifc", "AIFF", "ULAW"),
    ("au", "AU", "PCM_24"),
    ("caf", "CAF", "PCM_16"),
    ("caf", "CAF", "ALAC_16"),
    ("voc", "VOC", "PCM_16"),
    ("sph", "NIST", "PCM_16"),
    ("pvf", "PVF", "PCM_16"),
]
# FFmpeg's container, codec and extension.
FFMPEG = [
    ("adts", "aac", "aac"),
    ("ac3", "ac3", "ac3"),
    ("mp2", "mp2", "mp2"),
    ("mp3", "libmp3lame", "mp3"),
    ("ipod", "aac", "m4b"),
    ("mov", "aac", "mov"),
    ("matroska", "aac", "mkv"),
    ("webm", "libopus", "webm"),
    ("ogg", "flac", "oga"),
    ("caf", "alac", "caf"),
    ("wv", "wavpack", "wv"),
    ("tta", "tta", "tta"),
    ("rm", "ac3", "rm"),
]
TAGS = {
    "ID3v1": b"TAG" + b"a title".ljust(125, b"\0"),
    "APE": b"APETAGEX" + struct.pack("<IIII8x", 2000, 40, 0, 0x80000000) + bytes(8) + b"APETAGEX" + bytes(24),
    "zeros": bytes(3000),
    "a box": struct.pack(">I4s", 40, b"free") + bytes(32),
}


def tone(seconds, hertz, rate=16_000, channels=1):
    wave = 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def by_libsndfile(container, subtype, samples, rate=16_000):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=container, subtype=subtype)
    return buffer.getvalue()


def by_ffmpeg(container, codec, samples, rate):
    buffer = io.BytesIO()
    layout = "mono" if samples.shape[1] == 1 else "stereo"
    with av.open(buffer, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        size = 1152 if codec in ("mp2", "libmp3lame") else 960 if codec == "libopus" else 1024
        for at in range(0, len(samples), size):
            block = np.ascontiguousarray(samples[at : at + size].T)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, at
            for packet in stream.encode(frame):
                output.mux(packet)
        for packet in stream.encode(None):
            output.mux(packet)
    return buffer.getvalue()


def loaded(folder, data, extension="wav"):
    path = folder / f"clip.{extension}"
    path.write_bytes(data)
    return load(path)


def problem(folder, data, extension="wav"):
    with pytest.raises(AudioProblem) as caught:
        loaded(folder, data, extension)
    return caught.value.reason


def pitches(samples):
    """Hz of the loudest partial, each quarter of a second."""
    pieces = [samples[at : at + 4000].astype(float) for at in range(0, len(samples) - 3999, 4000)]
    spectra = [np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 64_000)) for piece in pieces]
    return [float(spectrum.argmax() * 16_000 / 64_000) for spectrum in spectra]


def assert_both(audio, first, second, seconds=(1.0, 2.0), slack=0.15):
    """Whether a sound is one pitch and then another, for the right time each."""
    assert audio.seconds == pytest.approx(sum(seconds), abs=slack)
    assert len(audio.samples) / 16_000 == pytest.approx(audio.seconds, abs=0.001)
    heard = pitches(audio.samples)
    border = round(seconds[0] * 4)
    for pitch in heard[: border - 1]:
        assert pitch == pytest.approx(first, abs=4)
    for pitch in heard[border + 1 : -1]:
        assert pitch == pytest.approx(second, abs=4)


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (48_000, 2)])
@pytest.mark.parametrize(("extension", "container", "subtype"), LIBSNDFILE)
def test_recordings_one_after_another_are_all_read(tmp_path, extension, container, subtype, rate, channels):
    first = by_libsndfile(container, subtype, tone(1, 300))
    second = by_libsndfile(container, subtype, tone(2, 500, rate, channels), rate)
    assert_both(loaded(tmp_path, first + second, extension), 300, 500)
    assert_both(loaded(tmp_path, second + first, extension), 500, 300, (2.0, 1.0))


@pytest.mark.parametrize("between", ["", *TAGS])
@pytest.mark.parametrize(("container", "codec", "extension"), FFMPEG)
def test_recordings_of_other_rates_and_layouts_are_all_read(tmp_path, container, codec, extension, between):
    rate = 48_000 if codec == "libopus" else 44_100
    first = by_ffmpeg(container, codec, tone(1, 300, rate), rate)
    second = by_ffmpeg(container, codec, tone(2, 500, 48_000, 2), 48_000)
    audio = loaded(tmp_path, first + TAGS.get(between, b"") + second, extension)
    assert_both(audio, 300, 500)
    assert sorted(audio.notes) == ["downmixed", "resampled"]


def test_mp3s_with_tags_and_without_headers_are_all_read(tmp_path):
    tag = b"ID3\4\0\0" + bytes([0, 0, 40, 0]) + bytes(40 << 7)
    parts = [by_ffmpeg("mp3", "libmp3lame", tone(1, hertz, 44_100), 44_100) for hertz in (300, 500)]
    assert all(b"Info" in part or b"Xing" in part for part in parts)
    assert_both(loaded(tmp_path, parts[0] + tag + parts[1], "mp3"), 300, 500, (1.0, 1.0))
    for drop in ((0,), (1,), (0, 1)):
        bare = [part[_header(part) :] if i in drop else part for i, part in enumerate(parts)]
        assert_both(loaded(tmp_path, b"".join(bare), "mp3"), 300, 500, (1.0, 1.0))


def _header(mp3):
    """Bytes before the first frame of sound: FFmpeg writes a tag and a header, and then frames of 128 kbit/s."""
    at = max(mp3.find(b"Info"), mp3.find(b"Xing"))
    return mp3.index(b"\xff\xfb", at)


def test_a_variable_bit_rate_without_a_header_is_read_to_its_end(tmp_path):
    # A decoder that takes the first frames for typical ends far too early, or late.
    quiet, loud = np.zeros((16_000 * 4, 1)), np.random.default_rng(0).uniform(-0.7, 0.7, (16_000 * 4, 1))
    buffer = io.BytesIO()
    both = np.concatenate([quiet, loud])
    soundfile.write(buffer, both, 16_000, format="MP3", bitrate_mode="VARIABLE", compression_level=0.1)
    data = buffer.getvalue()
    audio = loaded(tmp_path, data[_frame_after_header(data) :], "mp3")
    assert audio.seconds == pytest.approx(8, abs=0.3)


def _frame_after_header(mp3):
    at = max(mp3.find(b"Info"), mp3.find(b"Xing"))
    return mp3.index(mp3[mp3.rindex(b"\xff", 0, at) :][:2], at)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_streams_at_the_same_time_are_not_played_one_after_another(tmp_path, subtype):
    pages = [_pages(by_libsndfile("OGG", subtype, tone(2, hertz))) for hertz in (300, 500)]
    for page in pages[1]:
        page[14:18] = b"next"
    # First pages come first.
    both = [page for group in zip_longest(*pages, fillvalue=b"") for page in group if page]
    audio = loaded(tmp_path, b"".join(map(_summed, both)), "ogg")
    assert audio.seconds == pytest.approx(2, abs=0.05)
    assert pitches(audio.samples)[1:-1] == pytest.approx([300] * 6, abs=4)


def _pages(ogg):
    starts = [at for at in range(len(ogg)) if ogg.startswith(b"OggS\0", at)]
    return [bytearray(ogg[start:stop]) for start, stop in pairwise([*starts, len(ogg)])]


def _summed(page):
    """Give a page of Ogg its checksum: a CRC of the polynomial 0x04c11db7, from the highest bit on."""
    page = bytearray(page)
    page[22:26] = bytes(4)
    total = 0
    for byte in page:
        total ^= byte << 24
        for _ in range(8):
            total = (total << 1 ^ (0x104C11DB7 if total >> 31 else 0)) & 0xFFFFFFFF
    page[22:26] = total.to_bytes(4, "little")
    return bytes(page)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_ogg_without_its_last_flag_is_whole_and_without_a_byte_is_not(tmp_path, subtype):
    pages = _pages(by_libsndfile("OGG", subtype, np.random.default_rng(0).uniform(-0.5, 0.5, (64_000, 1))))
    assert pages[-1][5] & 4
    pages[-1][5] &= ~4
    pages[-1] = bytearray(_summed(pages[-1]))
    assert loaded(tmp_path, b"".join(pages), "ogg").seconds == pytest.approx(4, abs=0.05)
    assert problem(tmp_path, b"".join(pages)[:-1], "ogg") == "truncated"


@pytest.mark.parametrize("behind", TAGS)
@pytest.mark.parametrize(("extension", "container", "subtype"), LIBSNDFILE)
def test_what_is_behind_the_sound_is_not_sound(tmp_path, extension, container, subtype, behind):
    if container == "PVF":
        pytest.skip("PVF has no length: what is behind the sound is sound")
    data = by_libsndfile(container, subtype, tone(1, 300))
    alone = loaded(tmp_path, data, extension)
    np.testing.assert_array_equal(loaded(tmp_path, data + TAGS[behind], extension).samples, alone.samples)


@pytest.mark.parametrize("behind", TAGS)
@pytest.mark.parametrize(("container", "codec", "extension"), FFMPEG)
def test_what_is_behind_a_recording_of_a_phone_is_not_sound(tmp_path, container, codec, extension, behind):
    data = by_ffmpeg(container, codec, tone(1, 300, 48_000), 48_000)
    alone = loaded(tmp_path, data, extension)
    np.testing.assert_array_equal(loaded(tmp_path, data + TAGS[behind], extension).samples, alone.samples)


@pytest.mark.parametrize("share", [0.97, 0.5])
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize(("extension", "container", "subtype"), [kind for kind in LIBSNDFILE if kind[0] != "pvf"])
def test_what_ends_early_is_truncated_also_in_the_second_recording(
    tmp_path, extension, container, subtype, share, joined
):
    data = by_libsndfile(container, subtype, np.random.default_rng(0).uniform(-0.5, 0.5, 32_000))
    cut = data[: int(len(data) * share)]
    assert problem(tmp_path, data + cut if joined else cut, extension) == "truncated"


@pytest.mark.parametrize("share", [0.97, 0.5])
@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize(("container", "codec", "extension"), [("rm", "ac3", "rm"), ("wv", "wavpack", "wv")])
def test_what_ffmpeg_alone_reads_is_truncated_where_it_ends_early(tmp_path, container, codec, extension, share, joined):
    data = by_ffmpeg(container, codec, tone(2, 300, 48_000), 48_000)
    cut = data[: int(len(data) * share)]
    assert problem(tmp_path, data + cut if joined else cut, extension) == "truncated"


def test_a_flac_of_unknown_length_is_read_to_its_end(tmp_path):
    samples = np.random.default_rng(0).integers(-9000, 9000, 48_000).astype("<i2")
    data = bytearray(by_libsndfile("FLAC", "PCM_16", samples))
    # STREAMINFO: 36 bits of samples at the end of 8 bytes.
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    np.testing.assert_array_equal(loaded(tmp_path, data, "flac").samples, samples)
    np.testing.assert_array_equal(loaded(tmp_path, data + data, "flac").samples, np.tile(samples, 2))
    assert problem(tmp_path, data[:-100], "flac") == "truncated"


OPEN_SIZES = st.one_of(
    st.sampled_from(
        [0, 0x7FFFFFFF, 0x7FFFF000, 0x7F000000, 0x80000000, 0x80000024, 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFF000]
    ),
    st.integers(-(1 << 16), 1 << 16).map(lambda by: (1 << 31) + by),
    st.integers(1, 1 << 16).map(lambda by: (1 << 32) - by),
)
CHUNK = st.tuples(st.sampled_from([b"LIST", b"JUNK", b"bext", b"id3 ", b"cue "]), st.binary(max_size=40))


def as_wav(samples, depth, size, before=(), behind=(), riff=None, pad=True, extensible=False, channels=1):
    """Write a WAV file: ``samples`` are 16 bits, ``depth`` is 16, 24, 32 or "float"; sizes as they are given."""
    wide = np.repeat(samples[:, None], channels, axis=1)
    if depth == "float":
        data = (wide / 32768).astype("<f4").tobytes()
    else:
        data = (wide.astype("<i8") << (depth - 16)).astype("<i4").reshape(-1, 1).view("u1")[:, : depth // 8].tobytes()
    bits, tag = (32, 3) if depth == "float" else (depth, 1)
    align = channels * bits // 8
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else tag, channels, 16_000, 16_000 * align, align, bits)
    if extensible:
        form += struct.pack("<HHIH", 22, bits, (1 << channels) - 1, tag) + bytes.fromhex("000000001000800000aa00389b71")

    def chunk(name, content, size=None):
        length = len(content) if size is None else size
        return name + struct.pack("<I", length) + content + bytes(len(content) % 2 if pad else 0)

    body = b"WAVE" + chunk(b"fmt ", form) + b"".join(chunk(*one) for one in before) + chunk(b"data", data, size)
    body += b"".join(chunk(*one) for one in behind)
    return b"RIFF" + struct.pack("<I", len(body) if riff is None else riff) + body, len(data)


@settings(max_examples=200)
@given(
    size=st.one_of(st.none(), OPEN_SIZES),
    riff=st.one_of(st.none(), st.integers(0, 0xFFFFFFFF)),
    depth=st.sampled_from([16, 24, 32, "float"]),
    before=st.lists(CHUNK, max_size=3),
    behind=st.lists(CHUNK, max_size=2),
    pad=st.booleans(),
    extensible=st.booleans(),
    channels=st.integers(1, 2),
    length=st.integers(100, 2000),
)
def test_a_wav_is_read_whole_whatever_its_header_leaves_open(tmp_path_factory, size, behind, length, depth, **header):
    samples = np.random.default_rng(length).integers(-9000, 9000, length).astype("<i2")
    # A pipe has nothing behind its sound.
    data, _ = as_wav(samples, depth, size, behind=behind if size is None else (), **header)
    np.testing.assert_array_equal(loaded(tmp_path_factory.getbasetemp(), data).samples, samples)


@given(missing=st.integers(1, 1 << 24), depth=st.sampled_from([16, 24, "float"]), channels=st.integers(1, 2))
def test_a_wav_with_less_than_its_header_says_is_truncated(tmp_path_factory, missing, depth, channels):
    samples = np.arange(4000, dtype="<i2")
    _, length = as_wav(samples, depth, None, channels=channels)
    data, _ = as_wav(samples, depth, length + missing, channels=channels)
    assert problem(tmp_path_factory.getbasetemp(), data) == "truncated"


@given(share=st.floats(0.05, 0.8))
def test_a_wav_with_more_than_its_header_says_is_not_kept_in_part(tmp_path_factory, share):
    samples = np.random.default_rng(0).integers(-9000, 9000, 16_000).astype("<i2")
    data, _ = as_wav(samples, 16, int(16_000 * share) * 2)
    assert problem(tmp_path_factory.getbasetemp(), data) == "unreadable"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_wav_with_two_chunks_of_sound_is_read_in_their_order(tmp_path, order):
    halves = [np.random.default_rng(seed).integers(-9000, 9000, 3000 + seed).astype("<i2") for seed in order]
    data, _ = as_wav(halves[0], 16, None, behind=[(b"LIST", b"odd"), (b"data", halves[1].tobytes())])
    np.testing.assert_array_equal(loaded(tmp_path, data).samples, np.concatenate(halves))


def test_a_wav_without_sound_is_empty(tmp_path):
    for behind in ((), [(b"LIST", b"INFO")]):
        data, _ = as_wav(np.zeros(0, "<i2"), 16, None, behind=behind)
        assert problem(tmp_path, data) == "empty"


@pytest.mark.parametrize("size", [0, 8, 0x7F000000, 0x7FFFFFFF, 0xFFFFFFFF])
def test_an_aiff_from_a_pipe_is_read_to_its_end(tmp_path, size):
    samples = np.random.default_rng(0).integers(-9000, 9000, 16_000).astype("<i2")
    data = bytearray(by_libsndfile("AIFF", "PCM_16", samples))
    at = data.index(b"SSND") + 4
    data[at : at + 4] = size.to_bytes(4)
    at = data.index(b"COMM") + 10
    data[at : at + 4] = (size // 2).to_bytes(4)
    np.testing.assert_array_equal(loaded(tmp_path, data, "aiff").samples, samples)


@pytest.mark.parametrize(
    ("extension", "container", "name", "offset", "order"),
    [("caf", "CAF", b"data", 4, "big"), ("au", "AU", b".snd", 8, "big"), ("w64", "W64", b"data\xf3\xac", 16, "little")],
)
@pytest.mark.parametrize("size", [0, 0x7FFFF000, -1])
def test_others_from_a_pipe_are_read_to_their_end(tmp_path, extension, container, name, offset, order, size):
    samples = np.random.default_rng(0).integers(-9000, 9000, 16_000).astype("<i2")
    data = bytearray(by_libsndfile(container, "PCM_16", samples))
    at, width = data.index(name) + offset, 4 if container == "AU" else 8
    data[at : at + width] = (size % (1 << 8 * width)).to_bytes(width, order)
    np.testing.assert_array_equal(loaded(tmp_path, data, extension).samples, samples)


@pytest.mark.parametrize("size", [0, (1 << 64) - 1])
def test_an_rf64_from_a_pipe_is_read_to_its_end(tmp_path, size):
    samples = np.random.default_rng(0).integers(-9000, 9000, 16_000).astype("<i2")
    data = bytearray(by_libsndfile("RF64", "PCM_16", samples))
    at = data.index(b"ds64") + 8
    data[at : at + 24] = (size.to_bytes(8)) * 3
    np.testing.assert_array_equal(loaded(tmp_path, data).samples, samples)
