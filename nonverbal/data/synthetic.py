"""A labelled corpus of synthetic vocal sounds, for demonstrations and tests: glottal pulses or noise through formants.

Source-filter synthesis (Fant, Acoustic Theory of Speech Production, 1960): Rosenberg's pulse (JASA 49, 1971, type B)
with jitter and shimmer, aspiration noise, a cascade of formant resonators (Klatt, JASA 67, 1980), and a small room.
Plausible acoustics with variation within each class, and nothing more: no recording of a person is imitated.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nonverbal.data.index import SAMPLE_RATE
from nonverbal.errors import UserError
from nonverbal.seeding import Stream, generator

OVERSAMPLING = 2
RATE = SAMPLE_RATE * OVERSAMPLING
"""Sources are drawn at twice the final rate, so that the harmonics of a high voice hardly alias."""

REFERENCE_TRACT = 0.17
"""Length in metres of the vocal tract (an adult man's) to which ``VOWELS`` belong."""

VOWELS = np.array(
    [
        [730, 1090, 2440],
        [660, 1720, 2410],
        [640, 1190, 2390],
        [570, 840, 2410],
        [530, 1840, 2480],
        [490, 1350, 1690],
        [440, 1020, 2240],
    ],
    dtype=float,
)
"""First three formants of open to mid vowels in Hz, men's means (Peterson & Barney, JASA 24, 1952)."""


@dataclass(frozen=True)
class Speaker:
    """Properties of a voice, and of the room in which it is recorded."""

    tract_length: float
    """Vocal tract in metres: 0.11 (a child's) to 0.18; formants scale with its inverse."""
    f0: float
    """Fundamental frequency at rest, in Hz; falls with the length of the tract."""
    jitter: float
    """Standard deviation of a period over its mean."""
    shimmer: float
    """Standard deviation of a pulse's height over its mean."""
    breathiness: float
    """Aspiration noise during voicing, RMS relative to the flow's."""
    open_quotient: float
    """Share of a period in which the glottis is open."""
    reverberation: float
    """Time in seconds in which sound in the room decays by 60 dB."""
    noise_level: float
    """RMS of the room's noise over that of the clip."""


@dataclass(frozen=True)
class Articulation:
    """One clip before synthesis. Contours are ``(T,)`` at ``RATE``."""

    f0: np.ndarray
    """Fundamental frequency, in Hz."""
    voice: np.ndarray
    """Amplitude of the glottal pulses, at least 0."""
    noise: np.ndarray
    """Amplitude of turbulent noise, at least 0."""
    formants: np.ndarray
    """``(F,)`` in Hz."""
    bandwidths: np.ndarray
    """``(F,)`` in Hz."""


def write_corpus(folder: Path, speakers: Iterable[int], takes: int, seed: int) -> int:
    """Write ``folder/CLASS/CLASS_sSPEAKER_TAKE.wav``, ``takes`` takes of each class by each speaker; return the count.

    They are 16 kHz, 16-bit, about 0.4 to 3 s. A file depends only on its name and the seed, so a corpus with more
    speakers contains those with fewer. Each file appears complete or not at all, and existing files are not made again.

    Raises:
        UserError: ``takes`` is below 1, or a speaker's number below 0.
    """
    import soundfile

    numbers = list(speakers)
    if takes < 1 or not numbers or min(numbers) < 0:
        raise UserError(f"a synthetic corpus needs takes >= 1 and speakers >= 0, but has takes {takes}, {numbers}")
    for kind in CLASSES:
        (Path(folder) / kind).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        for kind in CLASSES:
            for take in range(takes):
                path = Path(folder) / kind / f"{kind}_s{number:03d}_{take:02d}.wav"
                if not path.exists():
                    unfinished = path.with_suffix(".part")
                    soundfile.write(
                        unfinished, vocal_sound(kind, number, take, seed), SAMPLE_RATE, "PCM_16", format="WAV"
                    )
                    unfinished.replace(path)
    return len(numbers) * len(CLASSES) * takes


def vocal_sound(kind: str, speaker: int, take: int, seed: int) -> np.ndarray:
    """Synthesise one clip, ``(T,)`` float32 at 16 kHz, peak below 0.9; a function of its arguments."""
    voice = draw_speaker(speaker, seed)
    random = generator(seed, Stream.SYNTHETIC, speaker, 1 + list(CLASSES).index(kind), take)
    return record(render(CLASSES[kind](voice, random), voice, random), voice, random)


def draw_speaker(number: int, seed: int) -> Speaker:
    """Draw the voice of a speaker by number. Ranges: Titze, Principles of Voice Production (1994)."""
    random = generator(seed, Stream.SYNTHETIC, number, 0, 0)
    tract_length = random.uniform(0.11, 0.18)
    # From about 110 Hz in the longest tract to 280 Hz in the shortest, with a quarter of an octave of spread.
    f0 = 110 * (0.18 / tract_length) ** 1.9 * 2 ** random.normal(0, 0.12)
    return Speaker(
        tract_length=tract_length,
        f0=f0,
        jitter=random.uniform(0.003, 0.015),
        shimmer=random.uniform(0.02, 0.08),
        breathiness=10 ** random.uniform(-1.6, -0.5),
        open_quotient=random.uniform(0.45, 0.75),
        reverberation=random.uniform(0.08, 0.5),
        noise_level=10 ** random.uniform(-2.2, -0.9),
    )


def laugh(speaker: Speaker, random: np.random.Generator) -> Articulation:
    """Calls of about 0.1 s, 4 to 6 a second, ever weaker and lower (Bachorowski et al., JASA 110, 2001)."""
    rate, calls = random.uniform(4, 6), int(random.integers(3, 10))
    time = _time(calls / rate + 0.15)
    phase = time * rate - 0.1
    within = np.clip((phase - np.floor(phase)) / random.uniform(0.4, 0.6), 0, 1)
    sounding = (phase >= 0) & (phase < calls)
    strength = np.exp(-random.uniform(0.02, 0.2) * phase) * sounding
    call = np.sin(np.pi * within) ** 2 * strength
    fall = 2 ** (-random.uniform(0, 0.12) * phase - random.uniform(0.0, 0.4) * within)
    voiced = random.uniform(0.2, 1)  # from mostly breathy to song-like laughter
    breath = random.uniform(0.02, 0.12) * strength + (1.1 - voiced) * 0.3 * call
    return Articulation(speaker.f0 * random.uniform(1.4, 2.4) * fall, voiced * call, breath, *_vowel(speaker, random))


def cry(speaker: Speaker, random: np.random.Generator) -> Articulation:
    """Wails of about 1 s whose F0 rises and falls between 300 and 600 Hz (LaGasse et al., MRDD Res. Rev. 11, 2005)."""
    period, wails = random.uniform(0.8, 1.3), int(random.integers(1, 3))
    time = _time(period * wails + 0.1)
    within = np.mod(time / period, 1)
    sounding = time < period * wails
    share = random.uniform(0.7, 0.85)  # the rest of a period is breathing in
    along = np.clip(within / share, 0, 1)
    base, rise, peak = random.uniform(300, 420), random.uniform(0.2, 0.5), random.uniform(0.25, 0.6)
    bend = np.where(along < peak, along / peak, (1 - along) / (1 - peak))
    f0 = base * 2 ** (rise * np.sin(np.pi / 2 * bend)) * _vibrato(time, random, 0.02)
    voice = np.clip(np.minimum(along / 0.1, (1 - along) / 0.2), 0, 1) * (within < share) * sounding
    gasp = np.sin(np.pi * np.clip((within - share) / (1 - share), 0, 1)) * random.uniform(0.02, 0.15) * sounding
    return Articulation(f0, voice, gasp + 0.05 * voice, *_vowel(speaker, random))


def cough(speaker: Speaker, random: np.random.Generator) -> Articulation:
    """An explosion of 30 to 60 ms, steady noise, at times a voiced close (Korpas et al., Pulm. Pharmacol. 9, 1996)."""
    coughs = int(random.integers(1, 4))
    gaps = random.uniform(0.3, 0.55, coughs)
    time = _time(float(gaps.sum()) + 0.15)
    noise, voice = np.zeros_like(time), np.zeros_like(time)
    for start, loudness in zip(0.03 + np.cumsum(gaps) - gaps, random.uniform(0.5, 1, coughs), strict=True):
        since = np.maximum(time - start, 0)
        burst = np.exp(-since / random.uniform(0.012, 0.025)) * (1 - np.exp(-since / 0.002))
        steady = random.uniform(0.1, 0.3) * np.exp(-since / random.uniform(0.05, 0.12)) * (1 - np.exp(-since / 0.01))
        close = np.exp(-(((since - random.uniform(0.15, 0.25)) / 0.035) ** 2))
        noise += loudness * (burst + steady)
        voice += loudness * close * random.uniform(0, 0.3)
    fall = 2 ** (-random.uniform(0.1, 0.6) * time / time[-1])
    return Articulation(speaker.f0 * random.uniform(0.9, 1.5) * fall, voice, noise, *_vowel(speaker, random))


def sigh(speaker: Speaker, random: np.random.Generator) -> Articulation:
    """A breath in, then a longer breath out that dies away, at times with a falling low voice."""
    inward, outward = random.uniform(0.2, 0.6), random.uniform(0.6, 1.8)
    time = _time(inward + outward + 0.2)
    breath_in = random.uniform(0.1, 0.5) * np.sin(np.pi * np.clip(time / inward, 0, 1)) ** 2
    along = np.clip((time - inward - 0.05) / outward, 0, 1)
    breath_out = np.minimum(along / 0.15, 1) * np.exp(-random.uniform(1.5, 3.5) * along) * (1 - along)
    f0 = speaker.f0 * random.uniform(0.9, 1.4) * 2 ** (-random.uniform(0.3, 1) * along)
    voiced = random.uniform(0, 0.4) * (random.random() < 0.5)
    return Articulation(f0, voiced * breath_out, breath_in + breath_out, *_vowel(speaker, random, opening=1.8))


def scream(speaker: Speaker, random: np.random.Generator) -> Articulation:
    """High and rough: F0 of 600 to 1500 Hz, loudness modulated at 30 to 150 Hz (Arnal et al., Curr. Biol. 25, 2015)."""
    seconds = random.uniform(0.5, 1.8)
    time = _time(seconds + 0.1)
    along = np.clip(time / seconds, 0, 1)
    height = np.clip(speaker.f0 * random.uniform(3.5, 6), 600, 1500)
    f0 = height * 2 ** (random.uniform(0.1, 0.5) * (np.sin(np.pi * along**0.6) - 1)) * _vibrato(time, random, 0.02)
    roughness = random.uniform(0.2, 0.9)
    modulation = 1 - roughness * (0.5 + 0.5 * np.sin(2 * np.pi * random.uniform(30, 150) * time))
    voice = np.clip(np.minimum(along / 0.08, (1 - along) / 0.15), 0, 1) * modulation
    return Articulation(f0, voice, random.uniform(0.05, 0.4) * voice, *_vowel(speaker, random))


def hum(speaker: Speaker, random: np.random.Generator) -> Articulation:
    """A nasal murmur, lips closed: one strong formant near 300 Hz, little above (Fujimura, JASA 34, 1962)."""
    seconds = random.uniform(0.6, 2.4)
    time = _time(seconds + 0.1)
    along = np.clip(time / seconds, 0, 1)
    glide = 2 ** (random.uniform(-0.15, 0.15) * along)
    f0 = speaker.f0 * random.uniform(0.95, 1.5) * glide * _vibrato(time, random, random.uniform(0.001, 0.02))
    voice = np.clip(np.minimum(along / 0.1, (1 - along) / 0.2), 0, 1)
    formants = _tract(np.array([300, 1000, 2200]) * random.uniform(0.93, 1.07, 3), speaker)
    # The soft walls of the nose damp everything but the first formant.
    return Articulation(f0, voice, 0.02 * voice, formants, 80 + 0.2 * (formants - formants[0]))


CLASSES: dict[str, Callable[[Speaker, np.random.Generator], Articulation]] = {
    "cough": cough,
    "cry": cry,
    "hum": hum,
    "laugh": laugh,
    "scream": scream,
    "sigh": sigh,
}
"""Class to articulation. The order is part of every seed."""


def render(sound: Articulation, speaker: Speaker, random: np.random.Generator) -> np.ndarray:
    """Synthesise an articulation: source, formants and radiation, ``(T,)`` float64 at 16 kHz, dry, of any level."""
    flow = glottal_flow(sound.f0, speaker, random)
    turbulence = random.standard_normal(len(flow))
    # Radiation at the lips differentiates the flow; turbulence is taken as flat after radiation.
    source = sound.voice * np.gradient(flow) * RATE / sound.f0 / 4
    source += turbulence * (sound.noise + speaker.breathiness * sound.voice * flow)
    return _filtered(source, sound.formants, sound.bandwidths)


def glottal_flow(f0: np.ndarray, speaker: Speaker, random: np.random.Generator) -> np.ndarray:
    """Return Rosenberg's pulses in [0, 1] along a contour in Hz, ``(T,)``, with the speaker's jitter and shimmer."""
    cycle = np.cumsum(f0 / RATE).astype(np.int64)
    periods = np.exp(speaker.jitter * random.standard_normal(cycle[-1] + 1))
    phase = np.cumsum(f0 / RATE / periods[cycle])
    cycle = phase.astype(np.int64)
    heights = np.exp(speaker.shimmer * random.standard_normal(cycle[-1] + 1))
    opening, closing = speaker.open_quotient * 0.67, speaker.open_quotient * 0.33
    within = phase - cycle
    rise = np.clip(within / opening, 0, 1)
    fall = np.clip((within - opening) / closing, 0, 1)
    pulse: np.ndarray = (3 * rise**2 - 2 * rise**3) * (1 - fall**2)
    pulse *= heights[cycle]
    return pulse


def record(sound: np.ndarray, speaker: Speaker, random: np.random.Generator) -> np.ndarray:
    """Put a dry sound, ``(T,)``, into the speaker's room at a random level; float32 with a peak below 0.9."""
    decay = np.arange(int(speaker.reverberation * SAMPLE_RATE)) / (speaker.reverberation * SAMPLE_RATE)
    tail = random.standard_normal(len(decay)) * 10 ** (-3 * decay)
    tail *= random.uniform(0.1, 0.5) / np.linalg.norm(tail)
    tail[0] += 1
    size = _fft_size(len(sound) + len(tail))
    wet = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(tail, size), size)[: len(sound)]
    spectrum = np.fft.rfft(random.standard_normal(len(wet)))
    # Rooms and microphones hum and rumble: noise that falls by 3 dB an octave.
    hiss = np.fft.irfft(spectrum / np.sqrt(np.arange(1, len(spectrum) + 1)), len(wet))
    wet += hiss * speaker.noise_level * np.sqrt(np.mean(wet**2) / np.mean(hiss**2))
    result: np.ndarray = wet * (0.9 * 10 ** random.uniform(-1, -0.01) / np.abs(wet).max())
    return result.astype(np.float32)


def _filtered(source: np.ndarray, formants: np.ndarray, bandwidths: np.ndarray) -> np.ndarray:
    """Halve the rate of a source by cutting its spectrum, and pass it through Klatt's resonators in cascade."""
    size = _fft_size(len(source) + RATE // 10)  # room for the ringing, which would otherwise wrap around
    spectrum = np.fft.rfft(source, size)[: size // 2 // OVERSAMPLING + 1]
    delay = np.exp(-2j * np.pi * np.fft.rfftfreq(size // OVERSAMPLING))  # of one sample at the final rate
    for formant, bandwidth in zip(formants, bandwidths, strict=True):
        radius = np.exp(-np.pi * bandwidth / SAMPLE_RATE)
        b = 2 * radius * np.cos(2 * np.pi * formant / SAMPLE_RATE)
        c = -(radius**2)
        spectrum *= (1 - b - c) / (1 - b * delay - c * delay**2)
    filtered: np.ndarray = np.fft.irfft(spectrum)
    return filtered[: len(source) // OVERSAMPLING]


def _vowel(speaker: Speaker, random: np.random.Generator, opening: float = 1) -> tuple[np.ndarray, np.ndarray]:
    """Draw a vowel in the speaker's tract: formants and bandwidths, ``(F,)`` each, in Hz.

    ``opening`` widens the bandwidths, as an open glottis does.
    """
    low = VOWELS[random.integers(len(VOWELS))] * random.uniform(0.92, 1.08, 3)
    formants = _tract(low, speaker)
    return formants, opening * (60 + 0.04 * formants)


def _tract(low: np.ndarray, speaker: Speaker) -> np.ndarray:
    """Scale formants to the speaker's tract, and add those of a uniform tube above them, as far as the rate allows."""
    reference = np.concatenate([low, np.arange(3500, SAMPLE_RATE / 2, 1000)])
    scaled: np.ndarray = reference * (REFERENCE_TRACT / speaker.tract_length)
    return scaled[scaled < 0.48 * SAMPLE_RATE]


def _vibrato(time: np.ndarray, random: np.random.Generator, depth: float) -> np.ndarray:
    swing: np.ndarray = 1 + depth * np.sin(2 * np.pi * (random.uniform(4, 7) * time + random.random()))
    return swing


def _time(seconds: float) -> np.ndarray:
    """Return the times of a contour's samples in seconds; their number is even."""
    return np.arange(int(seconds * SAMPLE_RATE) * OVERSAMPLING) / RATE


def _fft_size(samples: int) -> int:
    """Round up to a length whose transform is fast: a multiple of 4096."""
    return -(-samples // 4096) * 4096
