"""The interface of HEAR (Turian et al., NeurIPS 2021) for every encoder of this toolkit that takes audio.

``python -m heareval.embeddings.runner nonverbal.hear --model FOLDER`` takes a folder. Pass a name or Hub id, as for
``nonverbal.load_encoder``, as ``--model-options '{"model_file_path": "logmel"}'``.

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
"""Milliseconds between timestamps; HEAR warns if there are more. Also the hop of windows for an encoder that makes a
single frame per clip."""

WINDOW = 1.0
"""Length in seconds of the windows for an encoder that makes a single frame per clip."""


@dataclass(frozen=True)
class Grid:
    """The positions of an encoder's frames in a clip: frame i covers ``support`` samples from sample ``i * hop``."""

    support: int
    hop: int

    @property
    def margin(self) -> int:
        """Samples of silence to add before and after a clip, so that frames with a support of more than two hops reach
        the last two steps, as HEAR requires. 0 for other frames."""
        return (self.support - self.hop) // 2 if self.support > 2 * self.hop else 0

    def count(self, samples: int) -> int:
        """Return the number of frames of a clip of ``samples`` samples, including margins; at least one."""
        return max((samples - self.support) // self.hop + 1, 1)

    def times(self, samples: int) -> np.ndarray:
        """Return ``(S,)`` float32: the centres of the frames of a clip, in milliseconds; all are within the clip."""
        given = samples + 2 * self.margin
        middle = min(self.support, given) / 2 - self.margin
        return ((middle + np.arange(self.count(given)) * self.hop) * (1000 / SAMPLE_RATE)).astype(np.float32)


class HearModel(nn.Module):
    """The result of ``load_model``. It has no parameters: the encoder is frozen and stays on its device."""

    sample_rate = SAMPLE_RATE

    def __init__(self, encoder: FrameEncoder, layer: int) -> None:
        """Take an encoder, and the layer for embeddings."""
        super().__init__()
        self.encoder = encoder
        self.layer = layer
        self.timestamp_embedding_size = int(encoder.dimensions)
        self.scene_embedding_size = self.timestamp_embedding_size * (1 if encoder.one_frame else 2)

    @cached_property
    def grid(self) -> Grid:
        """Grid of the frames, or of the windows for an encoder that makes a single frame per clip."""
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
        layer: for embeddings; 0 is the input of the first block; None: the last.
        seed: of the weights of ``initialised:``.

    Raises:
        UserError: it cannot be loaded completely, takes no audio, or has no such layer.
    """
    if not model_file_path:
        raise UserError(
            "no encoder is given; set --model to a folder, or --model-options to '{\"model_file_path\": NAME}' with a "
            "name that nonverbal encoders lists, or a Hub id"
        )
    encoder = load_frame_encoder(str(model_file_path), seed)
    last = encoder.layers - 1
    if layer is not None and not 0 <= layer <= last:
        raise UserError(f"layer must be 0 to {last} for {encoder.name}, but is {layer}")
    return HearModel(encoder, last if layer is None else layer)


def get_scene_embeddings(audio: Tensor, model: HearModel) -> Tensor:
    """Return ``(N, scene_embedding_size)`` float32 for sounds ``(N, T)`` in [-1, 1], as used by ``nonverbal probe``.

    These are the means over the frames of a clip, followed by the standard deviations; or the frame itself for an
    encoder that makes a single one. A sound that is too short for one frame is padded with zeros.
    """
    rows = _rows(audio, model.encoder.shortest)
    return torch.from_numpy(embed_clips(model.encoder, rows)[0][:, model.layer]).to(audio.device)


def get_timestamp_embeddings(audio: Tensor, model: HearModel) -> tuple[Tensor, Tensor]:
    """Return embeddings ``(N, S, timestamp_embedding_size)`` and their times ``(N, S)`` in milliseconds, float32.

    A time is the centre of the samples that a frame covers. A sound that is too long for the encoder is cut into pieces
    whose frames continue at the same hop.

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
    """Return the frames ``(N, S, M)`` of rows of the same length, each encoded as one piece."""
    given = [_filled(row, model.encoder.shortest) for row in rows]
    frames = embed_clips(model.encoder, given, frames=True, half=False)[1]
    return np.stack([own[model.layer] for own in frames])


def _of_pieces(model: HearModel, rows: list[np.ndarray]) -> np.ndarray:
    """Return the frames of rows that are encoded in pieces, which overlap as frames do."""
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
    """Return the frames of windows around each time, which are cropped at the ends of the sound."""
    samples, half = len(rows[0]), round(WINDOW * SAMPLE_RATE / 2)
    made = []
    for place in range(model.grid.count(samples)):
        middle = place * model.grid.hop
        made.append(_frames(model, [row[max(middle - half, 0) : middle + half] for row in rows]))
    return np.concatenate(made, axis=1)


def measured_grid(encoder: FrameEncoder) -> Grid:
    """Infer the grid of an encoder's frames from their numbers for clips of chosen lengths."""
    count = _counter(encoder)
    first = count(encoder.shortest)
    # A clip shorter than a frame may still get one, so the lengths for two and more frames are used.
    second = _fewest(count, encoder.shortest, first + 1)
    hop = _fewest(count, second, first + 2) - second
    return Grid(second - first * hop, hop)


def _fewest(count: Any, low: int, wanted: int) -> int:
    """Return the least number of samples with ``wanted`` frames; ``low`` samples have fewer."""
    high = low
    while count(high) < wanted:
        low, high = high, 2 * high
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if count(middle) >= wanted else (middle, high)
    return high


def _counter(encoder: FrameEncoder) -> Any:
    """Return ``count(samples)``, the number of frames that an encoder makes for a clip.

    The number of states of a model depends only on the shape of its inputs, so a fixed window is computed only once.
    """
    known: dict[tuple[int, ...], list[Any]] = {}

    def count(samples: int) -> int:
        # Faint noise, because some features of silence are NaN.
        waveform = (np.random.default_rng(0).standard_normal(samples) * 1e-3).astype(np.float32)
        if not isinstance(encoder, ModelEncoder):
            return len(encoder.frames(waveform)[0])
        inputs = encoder.inputs(waveform)
        shape = tuple(inputs.shape)
        if shape not in known:
            known[shape] = encoder.states(inputs[None])[:1]
        return int(encoder.own(known[shape], samples)[0].shape[1])

    return count
