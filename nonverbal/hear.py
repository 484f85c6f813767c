"""The interface of HEAR (Turian et al., NeurIPS 2021) for every encoder of this toolkit that hears its clips.

``python -m heareval.embeddings.runner nonverbal.hear --model FOLDER`` takes a folder; a name or Hub id, as
``nonverbal.load_encoder`` takes it, goes by ``--model-options '{"model_file_path": "logmel"}'``.

Shapes: N sounds, T samples, S frames, M values of a frame.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nonverbal.data.index import SAMPLE_RATE
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import FrameEncoder, load_frame_encoder
from nonverbal.evaluation.encoders.models import ModelEncoder
from nonverbal.evaluation.pieces import embed_clips

MOST_HOP = 50.0
"""Milliseconds from one timestamp to the next: HEAR warns of more. What makes one frame of a clip is given windows so
far apart."""

WINDOW = 1.0
"""Seconds: the windows of what makes one frame of a clip."""


@dataclass(frozen=True)
class Grid:
    """Where an encoder's frames lie in a clip: frame i is of ``support`` samples from ``i * hop`` on, in samples."""

    support: int
    hop: int

    @property
    def margin(self) -> int:
        """Samples of silence before and after a clip, so that frames whose support is more than two hops reach as far
        as HEAR asks: to the last two steps. None of the others."""
        return (self.support - self.hop) // 2 if self.support > 2 * self.hop else 0

    def count(self, samples: int) -> int:
        """Frames of a clip of so many samples, margins included; one at least."""
        return max((samples - self.support) // self.hop + 1, 1)

    def times(self, samples: int) -> np.ndarray:
        """Return ``(S,)`` float32: the middles of the frames of a clip, in milliseconds; all lie within it."""
        given = samples + 2 * self.margin
        middle = min(self.support, given) / 2 - self.margin
        return ((middle + np.arange(self.count(given)) * self.hop) * (1000 / SAMPLE_RATE)).astype(np.float32)


class HearModel(nn.Module):
    """What ``load_model`` returns. It holds no parameter: the encoder is frozen and stays where it was loaded."""

    sample_rate = SAMPLE_RATE

    def __init__(self, encoder: FrameEncoder, layer: int) -> None:
        """Take an encoder, and the layer of which embeddings are."""
        super().__init__()
        self.encoder = encoder
        self.layer = layer
        self.timestamp_embedding_size = int(encoder.dimensions)
        self.scene_embedding_size = self.timestamp_embedding_size * (1 if encoder.one_frame else 2)

    @cached_property
    def grid(self) -> Grid:
        """Of its frames; of what makes one frame of a clip, that of the windows that it is given."""
        if self.encoder.one_frame:
            return Grid(0, round(MOST_HOP * SAMPLE_RATE / 1000))
        return measured_grid(self.encoder)

    def forward(self, audio: Tensor) -> Tensor:
        """Return scene embeddings."""
        return get_scene_embeddings(audio, self)


def load_model(model_file_path: str = "", layer: int | None = None, seed: int = 0) -> HearModel:
    """Load an encoder.

    Args:
        model_file_path: a name that ``nonverbal encoders`` lists, a folder or Hub id in Hugging Face format, or
            ``initialised:`` before one of these.
        layer: of which embeddings are, from 0, what enters the first block; None: the last.
        seed: draws the weights of ``initialised:``.

    Raises:
        UserError: it cannot be loaded whole, hears nothing, or has no such layer.
    """
    if not model_file_path:
        raise UserError(
            "no encoder is named; give --model a folder, or --model-options '{\"model_file_path\": NAME}' with a name "
            "that nonverbal encoders lists, or a Hub id"
        )
    encoder = load_frame_encoder(str(model_file_path), seed)
    last = encoder.layers - 1
    if layer is not None and not 0 <= layer <= last:
        raise UserError(f"layer is {layer}, but {encoder.name} has layers 0 to {last}")
    return HearModel(encoder, last if layer is None else layer)


def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:
    """Return ``(N, scene_embedding_size)`` float32 of sounds ``(N, T)`` in [-1, 1]: what ``nonverbal probe`` reads.

    That is each value's mean over a clip's frames, then its deviation; of what makes one frame of a clip, that frame.
    A sound that is shorter than the encoder's first frame is filled with zeros to its length.
    """
    rows = _rows(audio, model.encoder.shortest)
    return torch.from_numpy(embed_clips(model.encoder, rows)[0][:, model.layer]).to(audio.device)


def get_timestamp_embeddings(audio: Tensor, model: HearModel) -> tuple[Tensor, Tensor]:
    """Return embeddings ``(N, S, timestamp_embedding_size)`` and their times ``(N, S)`` in milliseconds, float32.

    A time is the middle of what a frame is computed of. A sound that is longer than what the encoder is given at once
    is cut so that the frames go on at the same steps.

    Args:
        audio: ``(N, T)`` in [-1, 1].
        model: loaded.
    """
    samples, encoder = audio.shape[-1], model.encoder
    rows = [np.pad(row, model.grid.margin) for row in _rows(audio, 1)]
    frames = _of_windows(model, rows) if encoder.one_frame else _of_pieces(model, rows)
    times = torch.from_numpy(model.grid.times(samples)).expand(len(rows), -1)
    return torch.from_numpy(frames).to(audio.device), times.to(audio.device)


def _rows(audio: Tensor, shortest: int) -> list[np.ndarray]:
    if audio.ndim != 2 or not audio.dtype.is_floating_point or 0 in audio.shape:
        raise UserError(
            f"audio is {tuple(audio.shape)} of {audio.dtype}, but must be (sounds, samples) of floating point, none of "
            "them empty"
        )
    return [_filled(row, shortest) for row in audio.detach().cpu().float().numpy()]


def _filled(waveform: np.ndarray, shortest: int) -> np.ndarray:
    return np.pad(waveform, (0, max(shortest - len(waveform), 0)))


def _frames(model: HearModel, rows: list[np.ndarray]) -> np.ndarray:
    """Return the frames ``(N, S, M)`` of rows of one length, that are given whole."""
    given = [_filled(row, model.encoder.shortest) for row in rows]
    frames = embed_clips(model.encoder, given, frames=True, half=False)[1]
    return np.stack([own[model.layer] for own in frames])


def _of_pieces(model: HearModel, rows: list[np.ndarray]) -> np.ndarray:
    """Return the frames of rows, given in pieces of at most what an encoder takes, which overlap as its frames do."""
    grid, samples, longest = model.grid, len(rows[0]), model.encoder.max_seconds * SAMPLE_RATE
    total = grid.count(samples)
    most = total if samples <= longest else grid.count(int(longest))
    pieces = []
    for first in range(0, total, most):
        wanted = min(most, total - first)
        start = first * grid.hop
        stop = samples if first + wanted == total else start + max(grid.support + (wanted - 1) * grid.hop, grid.hop)
        stop = min(max(stop, start + wanted * grid.hop), start + int(min(longest, samples)), samples)
        pieces.append(_frames(model, [row[start:stop] for row in rows])[:, :wanted])
    return np.concatenate(pieces, axis=1)


def _of_windows(model: HearModel, rows: list[np.ndarray]) -> np.ndarray:
    """Return what an encoder makes of windows around each time, cut off at the ends of the sound."""
    samples, half = len(rows[0]), round(WINDOW * SAMPLE_RATE / 2)
    made = []
    for place in range(model.grid.count(samples)):
        middle = place * model.grid.hop
        made.append(_frames(model, [row[max(middle - half, 0) : middle + half] for row in rows]))
    return np.concatenate(made, axis=1)


def measured_grid(encoder: FrameEncoder) -> Grid:
    """Find where an encoder's frames lie, by how many it makes of clips of chosen lengths."""
    count = _counter(encoder)
    first = count(encoder.shortest)
    # What is shorter than a frame may have one all the same, so the next two say more.
    second = _fewest(count, encoder.shortest, first + 1)
    hop = _fewest(count, second, first + 2) - second
    return Grid(second - first * hop, hop)


def _fewest(count: Any, low: int, wanted: int) -> int:
    """Return the fewest samples of which there are so many frames; there are fewer of ``low``."""
    high = low
    while count(high) < wanted:
        low, high = high, 2 * high
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if count(middle) >= wanted else (middle, high)
    return high


def _counter(encoder: FrameEncoder) -> Any:
    """Return ``count(samples)``: how many frames an encoder makes of a clip.

    How many states a model has depends on the shape of its inputs, so that a fixed window is computed once.
    """
    known: dict[tuple[int, ...], list[Any]] = {}

    def count(samples: int) -> int:
        # Faint noise, as of silence some features are not numbers.
        waveform = (np.random.default_rng(0).standard_normal(samples) * 1e-3).astype(np.float32)
        if not isinstance(encoder, ModelEncoder):
            return len(encoder.frames(waveform)[0])
        inputs = encoder.inputs(waveform)
        shape = tuple(inputs.shape)
        if shape not in known:
            known[shape] = encoder.states(inputs[None])[:1]
        return int(encoder.own(known[shape], samples)[0].shape[1])

    return count
