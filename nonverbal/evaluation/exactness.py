"""Measures whether a clip's embedding depends on anything that it should not: other clips, padding, the run.

A result is exact if it differs by at most 1e-5 of the layer's RMS, in float32; for encoders without weights, whose
values have units, of each value's RMS over clips. The effect of a padded batch in plain transformers is measured too,
but is not a fault of this toolkit.
"""

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from nonverbal.data.index import SAMPLE_RATE
from nonverbal.data.synthetic import CLASSES, vocal_sound
from nonverbal.data.workers import over_processes
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import FrameEncoder, load_frame_encoder
from nonverbal.evaluation.encoders.models import ModelEncoder
from nonverbal.evaluation.pieces import embed_clips, frames_of
from nonverbal.evaluation.pooling import Pool

EXACT = 1e-5
"""Largest difference that counts as exact, divided by the RMS; see ``scale_of``."""

SECONDS = (0.4, 0.9, 1.0, 1.7, 2.0, 3.1)
"""Seconds of the clips, besides the shortest that the encoder accepts."""


@dataclass(frozen=True)
class Exactness:
    """The results for an encoder. Differences are the largest of any value, divided by an RMS; see ``scale``."""

    encoder: str
    scale: Literal["layer", "value"]
    """What the RMS is taken over: a layer's values of all clips, or each value of all clips."""
    shortest: int
    """Smallest number of samples that it accepts. One sample fewer is refused, rather than giving a wrong result."""
    run: float
    """Difference between two processes, each of which loads the encoder."""
    neighbours: float | None
    """Difference between a clip alone and in a batch of equally long clips, in this toolkit; None if never batched."""
    padding: float | None
    """Difference between a clip alone and in a batch with longer clips, in this toolkit; None if it is never padded."""
    plain: float | None
    """The same in plain transformers: a padded batch, with the attention mask that is documented for its layout; None
    if it is not such a model."""
    audio_per_second: float
    """Seconds of audio embedded per second, one clip at a time."""
    memory: int
    """Largest number of bytes used by the process, or on a GPU by torch."""

    @property
    def faults(self) -> list[str]:
        """What a clip's embedding in this toolkit depends on, but should not; empty if it is exact."""
        found = {"run": self.run, "neighbours": self.neighbours, "padding": self.padding}
        # A NaN does not count as a small difference.
        return [name for name, value in found.items() if value is not None and not value <= EXACT]


def check_exactness(name: str, seed: int = 0) -> Exactness:
    """Measure an encoder on synthetic vocal sounds of several lengths.

    Args:
        name: see ``load_frame_encoder``.
        seed: see ``load_frame_encoder``.

    Raises:
        UserError: it cannot be loaded, or makes no frames from sound.
    """
    encoder = load_frame_encoder(name, seed)
    shortest = shortest_of(encoder)
    clips = sounds(encoder, shortest)
    began = time.perf_counter()
    alone = embedded(encoder, clips)
    spent = time.perf_counter() - began
    scale = scale_of(encoder)
    return Exactness(
        encoder=name,
        scale=scale,
        shortest=shortest,
        run=difference(alone, _in_another_process(name, seed, clips), scale),
        neighbours=with_neighbours(encoder, clips, alone),
        padding=padded(encoder, clips, alone),
        plain=_plain(encoder, clips),
        audio_per_second=sum(map(len, clips)) / SAMPLE_RATE / spent,
        memory=_memory(encoder),
    )


def shortest_of(encoder: FrameEncoder) -> int:
    """Return the smallest number of samples that an encoder accepts, by trying.

    Raises:
        UserError: it makes no frames from one second.
    """
    least, most = 0, SAMPLE_RATE
    encoder.frames(sound(most))
    while most - least > 1:
        middle = (least + most) // 2
        try:
            taken = encoder.frames(sound(middle)).shape[1] > 0
        except UserError:
            taken = False
        least, most = (least, middle) if taken else (middle, most)
    return most


def sound(samples: int, take: int = 0) -> np.ndarray:
    """Return ``samples`` samples of a synthetic vocal sound, ``(T,)`` float32."""
    kinds = sorted(CLASSES)
    whole = vocal_sound(kinds[take % len(kinds)], speaker=take, take=take, seed=0)
    return np.resize(whole, samples).astype(np.float32)


def sounds(encoder: FrameEncoder, shortest: int) -> list[np.ndarray]:
    """Return the clips on which an encoder is tested, none of which is longer than its longest input."""
    lengths = [round(min(seconds, encoder.max_seconds) * SAMPLE_RATE) for seconds in SECONDS]
    return [sound(max(samples, shortest), take) for take, samples in enumerate([shortest, *lengths])]


def embedded(encoder: FrameEncoder, clips: Sequence[np.ndarray]) -> np.ndarray:
    """Return the embeddings of clips, computed one at a time, which is their definition."""
    return embed_clips(encoder, clips, 0)[0]


def pooled(encoder: FrameEncoder, frames: Any) -> np.ndarray:
    """Return the embedding of a clip's frames."""
    pool = Pool(encoder.one_frame)
    pool.add(frames)
    return pool.result()


def scale_of(encoder: FrameEncoder) -> Literal["layer", "value"]:
    """Return which RMS differences are divided by: the values of a model have no units."""
    return "layer" if isinstance(encoder, ModelEncoder) else "value"


def difference(one: np.ndarray, other: np.ndarray, of: Literal["layer", "value"] = "layer") -> float:
    """Return the largest difference between embeddings ``(clips, layers, values)``, divided by the RMS of ``one``.

    Args:
        one: embeddings of some clips.
        other: embeddings of the same clips.
        of: whether the RMS is over clips and values of a layer, or over clips for each value.
    """
    axes = (0, 2) if of == "layer" else (0,)
    scale = np.sqrt(np.square(one.astype(np.float64)).mean(axes, keepdims=True))
    gap = np.abs(other.astype(np.float64) - one)
    return float(np.divide(gap, scale, out=np.where(gap > 0, np.inf, 0.0), where=scale > 0).max())


def _in_another_process(name: str, seed: int, clips: list[np.ndarray]) -> np.ndarray:
    (done,) = over_processes(partial(_embedded_anew, name, seed), [clips], 1)
    if done.result is None:
        raise UserError(f"{name} crashed its process ({done.crash})")
    return done.result


def _embedded_anew(name: str, seed: int, clips: list[np.ndarray]) -> np.ndarray:
    return embedded(load_frame_encoder(name, seed), clips)


def with_neighbours(encoder: FrameEncoder, clips: list[np.ndarray], alone: np.ndarray) -> float | None:
    """Return the difference between each clip alone and between two others of its length; see ``Exactness``."""
    if not isinstance(encoder, ModelEncoder):
        return None
    beside = []
    for number, clip in enumerate(clips):
        batch = [sound(len(clip), number + 1), clip, sound(len(clip), number + 2)]
        beside.append(pooled(encoder, frames_of(encoder, batch)[1]))
    return difference(alone, np.stack(beside))


def padded(encoder: FrameEncoder, clips: list[np.ndarray], alone: np.ndarray) -> float | None:
    """Return the difference between each clip alone and all in one batch; see ``Exactness``."""
    if not isinstance(encoder, ModelEncoder) or encoder.batching != "any":
        return None
    return difference(alone, np.stack([pooled(encoder, own) for own in frames_of(encoder, clips)]))


def _plain(encoder: FrameEncoder, clips: list[np.ndarray]) -> float | None:
    """Return the difference with all clips in one batch in plain transformers, over each clip's own frames."""
    if not isinstance(encoder, ModelEncoder) or not hasattr(encoder.model.config, "conv_kernel"):
        return None
    import torch

    from nonverbal.families.hidden_states import layers_of
    from nonverbal.models.wav2vec2 import frames_of as frames_in

    config = encoder.model.config
    rows = [encoder.inputs(clip) for clip in clips]
    filled = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.stack([torch.arange(filled.shape[1], device=filled.device) < len(row) for row in rows]).long()
    # According to transformers' documentation, models with group norm were trained without a mask.
    options = {} if getattr(config, "feat_extract_norm", "layer") == "group" else {"attention_mask": mask}
    with torch.inference_mode():
        states = layers_of(encoder.model(filled, output_hidden_states=True, return_dict=True, **options))
        alone = [layers_of(encoder.model(row[None], output_hidden_states=True, return_dict=True)) for row in rows]
    counts = [frames_in(len(row), config.conv_kernel, config.conv_stride) for row in rows]
    own = [torch.stack([state[i, :count] for state in states]) for i, count in enumerate(counts)]
    by_clip = [np.stack([pooled(encoder, frames) for frames in side]) for side in (map(torch.cat, alone), own)]
    return difference(by_clip[0], by_clip[1])


def _memory(encoder: FrameEncoder) -> int:
    if getattr(encoder, "device", "cpu") == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    # Linux gives kibibytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
