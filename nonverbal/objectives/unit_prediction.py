"""HuBERT's objective: predict the unit of each masked frame. The units were computed beforehand by k-means.

Hsu et al., 2021 (arXiv 2106.07447), equation 3 with alpha = 1 (only masked frames) and the similarities of section
II-C; constants as in fairseq's base configuration.

Shapes: N rows, S frames, K masked frames per row, V units, D width of comparison.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import HubertModel

from nonverbal.batch import Batch, Loss, Rows, Targets, TargetSampler
from nonverbal.curves import Panel
from nonverbal.data.batching.units import HOP, WINDOW
from nonverbal.errors import UserError, check_ranges
from nonverbal.models import hubert, wav2vec2
from nonverbal.models.checkpoints.starting import hubert_from
from nonverbal.models.drawn import drawn_from
from nonverbal.models.hubert import Architecture
from nonverbal.models.parts import Part, encoder_part
from nonverbal.models.wav2vec2 import EncoderDropouts
from nonverbal.objectives.base import Objective, Symptom
from nonverbal.objectives.encoding import encode, masked_frames
from nonverbal.objectives.masking import frame_tensors, span_mask
from nonverbal.paths import PathOrName

AT_CHANCE = 1.1
"""Ratio of accuracy to the share of the most frequent unit, up to which nothing has been learned."""


@dataclass(frozen=True)
class ClusterSettings:
    """The objective. Defaults are those of fairseq's HuBERT base."""

    mask_probability: float = 0.8
    """Share of frames that the masked spans would cover if they did not overlap; about 57% are masked."""
    mask_length: int = 10
    """Number of frames in a masked span."""
    temperature: float = 0.1
    """Temperature of the softmax over cosine similarities."""
    penalty_weight: float = 10.0
    """Weight of the penalty on the mean square of the convolutions' output."""
    conv_gradient_scale: float = 0.1
    """Factor on the gradient that reaches the convolutions."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_ranges(
            self,
            "objective",
            ("mask_probability", 0 < self.mask_probability <= 1, "in (0, 1]"),
            ("mask_length", self.mask_length >= 1, "at least 1"),
            ("temperature", self.temperature > 0, "above 0"),
        )


@dataclass(frozen=True)
class HubertSettings:
    """A HuBERT encoder and its objective."""

    units: Path | None = None
    """Folder with the units of the data, as `nonverbal cluster` makes it; required."""
    init: PathOrName | None = None
    """Checkpoint to continue from, as for wav2vec2.init. Unset: random weights, drawn from the seed."""
    normalise: bool | None = None
    """Normalise waveforms to zero mean and unit variance. Unset: as in the checkpoint; for a new model, yes for the
    large layout and no for base."""
    architecture: Architecture = field(default_factory=Architecture)
    """Shape of the encoder."""
    dropouts: EncoderDropouts = field(default_factory=EncoderDropouts)
    """Dropout in training."""
    objective: ClusterSettings = field(default_factory=ClusterSettings)
    """Masking and the loss."""


@dataclass(frozen=True)
class MaskSampler(TargetSampler):
    """Draws the masks of a micro-batch."""

    mask_probability: float
    mask_length: int
    kernels: tuple[int, ...]
    strides: tuple[int, ...]

    def __call__(self, rows: Rows, random: np.random.Generator) -> Targets:
        """Return the tensors of ``frame_tensors``."""
        frames = wav2vec2.frames_of(rows.lengths, self.kernels, self.strides)
        mask = span_mask(frames, self.mask_probability, self.mask_length, random)
        return Targets(count=int(mask.sum()), tensors=frame_tensors(mask, frames))


class HubertObjective(Objective):
    """A HuBERT encoder, an embedding of each unit, and the loss. Its gradient is that of a sum over masked frames."""

    shown = ("loss {loss:.3f}", "accuracy {accuracy:.3f} (chance {chance:.3f})", "perplexity {perplexity:.1f}")
    panels = (
        *Objective.panels,
        Panel("accuracy", "accuracy (share of targets)", "chance", "chance (train)"),
        Panel("perplexity", "perplexity (units in use)"),
    )

    def __init__(self, settings: HubertSettings, encoder: HubertModel, normalise: bool, units: int, seed: int) -> None:
        super().__init__()
        self.settings, self.encoder, self.normalise = settings, encoder, normalise
        objective, config, width = settings.objective, encoder.config, settings.architecture.projection_size
        with drawn_from(seed, 1):
            self.projection = nn.Linear(config.hidden_size, width)
            # fairseq's initialisation: uniform in [0, 1).
            self.units = nn.Parameter(torch.rand(units, width))
        self.target_sampler = MaskSampler(
            objective.mask_probability, objective.mask_length, tuple(config.conv_kernel), tuple(config.conv_stride)
        )
        self.symptoms = SYMPTOMS

    def forward(self, batch: Batch) -> Loss:
        """Return the loss of a batch, summed over its masked frames."""
        objective = self.settings.objective
        encoded = encode(self.encoder, batch, self.normalise, self.settings.dropouts, objective.conv_gradient_scale)
        # (N, S, M) -> (N x K, M) -> (N x K, D)
        predicted = self.projection(masked_frames(encoded.context, batch))
        # (N, S) -> (N x K,)
        true = masked_frames(batch.targets.tensors["units"], batch)
        with torch.autocast(predicted.device.type, enabled=False):
            # (N x K, D) x (D, V) -> (N x K, V)
            similarity = F.normalize(predicted.float(), dim=-1) @ F.normalize(self.units, dim=-1).T
            return self._loss(similarity / objective.temperature, true, encoded.penalty)

    def part(self, name: str) -> Part:
        """Return the part of the model that a parameter belongs to."""
        config = self.encoder.config
        return encoder_part(name.removeprefix("encoder."), config.num_hidden_layers, config.do_stable_layer_norm)

    def export(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the encoder in Hugging Face format; the embeddings of units are only kept in the run's checkpoints."""
        prefix = "encoder."
        encoder = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        wav2vec2.export(self.encoder, encoder, self.normalise, folder)

    def _loss(self, logits: Tensor, true: Tensor, penalty: Tensor) -> Loss:
        """Return the sum of the cross entropies of ``(N x K, V)`` and ``(N x K,)``, plus the penalty times n."""
        n = len(true)
        prediction = F.cross_entropy(logits, true, reduction="sum")
        total = prediction + n * self.settings.objective.penalty_weight * penalty
        # The accuracy of always predicting the most frequent unit of the batch.
        frequent = logits.new_zeros(logits.shape[1]).index_add_(0, true, logits.new_ones(n)).max()
        spread = torch.softmax(logits.detach(), -1).mean(0)
        sums = {
            "loss": total.detach(),
            "prediction": prediction.detach(),
            "accuracy": (logits.argmax(-1) == true).sum(dtype=torch.float32),
            "chance": frequent,
            "perplexity": torch.exp(-(spread * torch.log(spread + 1e-7)).sum()) * n,
            "penalty": penalty.detach() * n,
        }
        weight = total.new_full((), n)
        return Loss(total, {name: (value, weight) for name, value in sums.items()})


SYMPTOMS = (
    Symptom(
        name="the accuracy is still that of predicting the most frequent unit",
        holds=lambda row: row.get("accuracy", 1.0) < AT_CHANCE * row.get("chance", 0.0),
        reading=("accuracy", "chance", "perplexity"),
        causes="too little audio per step (batches), the post-norm layout in a small model "
        "(hubert.architecture.layout large is pre-norm), a learning rate that is too high or too low "
        "(trainer.optimizer.lr), or units of which nearly all frames have one (nonverbal cluster prints how many are "
        "in use)",
        slow=True,
    ),
)


def build_hubert_objective(settings: HubertSettings, units: int, seed: int) -> HubertObjective:
    """Return the objective with ``units`` units, for a new encoder or for the checkpoint in the settings."""
    if settings.init is None:
        encoder, normalise = hubert.new_encoder(settings.architecture, settings.normalise, seed)
        return HubertObjective(settings, encoder, normalise, units, seed)
    start = hubert_from(settings.init, settings.architecture, settings.normalise, seed)
    _check_frames(start.model, settings.init)
    objective = HubertObjective(settings, start.model, start.normalise, units, seed)
    objective.account = start.account
    return objective


def _check_frames(encoder: HubertModel, init: str | None) -> None:
    """Refuse an encoder whose frames differ from those of the units."""
    kernels, strides = encoder.config.conv_kernel, encoder.config.conv_stride
    window, hop = wav2vec2.frame_size(kernels, strides)
    if (window, hop) != (WINDOW, HOP):
        raise UserError(
            f"hubert.init: {init} has frames of {window} samples every {hop}, but units have frames of {WINDOW} "
            f"samples every {HOP}; use an encoder with convolutions of strides 5, 2, 2, 2, 2, 2, 2"
        )
