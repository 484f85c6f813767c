"""wav2vec 2.0's objective: distinguish the code of a masked frame from the codes of other masked frames of the clip.

Baevski et al., 2020 (arXiv 2006.11477), equations 2 to 4; constants as in fairseq's base configuration. Only what the
loss needs is computed: only masked frames are quantised and projected, and similarities to the negatives are gathered
from one matrix product per clip.

Shapes: N rows, S frames, C convolution channels, K masked frames per row, G codebooks of V codes, D width of
comparison.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Wav2Vec2ForPreTraining

from nonverbal.batch import Batch, Loss, Rows, Targets, TargetSampler
from nonverbal.curves import Panel
from nonverbal.errors import UserError, check_ranges
from nonverbal.models import wav2vec2
from nonverbal.models.checkpoints.starting import start_from
from nonverbal.models.functional import dropout
from nonverbal.models.parts import Part, encoder_part
from nonverbal.models.wav2vec2 import Architecture, Dropouts
from nonverbal.objectives.base import Objective, Symptom
from nonverbal.objectives.encoding import encode, masked_frames
from nonverbal.objectives.masking import draw_negatives, frame_tensors, span_mask
from nonverbal.paths import PathOrName

COLLAPSED = 0.03
"""Share of the codes, beyond one of each codebook, below which a codebook counts as collapsed."""

AT_CHANCE = 1.1
"""Ratio of contrastive accuracy to chance up to which nothing has been learned."""


@dataclass(frozen=True)
class ContrastiveSettings:
    """The objective. Defaults are those of fairseq's wav2vec 2.0 base."""

    mask_probability: float = 0.65
    """Share of frames that the masked spans would cover if they did not overlap; about 49% are masked."""
    mask_length: int = 10
    """Number of frames in a masked span."""
    negatives: int = 100
    """Number of negatives per target, drawn with replacement from the other masked frames of the clip."""
    temperature: float = 0.1
    """Temperature of the softmax over cosine similarities."""
    diversity_weight: float = 0.1
    """Weight of the diversity loss of the codes, equation 4."""
    penalty_weight: float = 10.0
    """Weight of the penalty on the mean square of the convolutions' output."""
    conv_gradient_scale: float = 0.1
    """Factor on the gradient that reaches the convolutions."""
    gumbel_start: float = 2.0
    """Temperature of the Gumbel softmax at the first step."""
    gumbel_end: float = 0.5
    """Lowest temperature of the Gumbel softmax."""
    gumbel_decay: float = 0.999995
    """Factor on the temperature at each step."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_ranges(
            self,
            "objective",
            ("mask_probability", 0 < self.mask_probability <= 1, "in (0, 1]"),
            ("mask_length", self.mask_length >= 1, "at least 1"),
            ("negatives", self.negatives >= 1, "at least 1"),
            ("temperature", self.temperature > 0, "above 0"),
            ("gumbel_end", 0 < self.gumbel_end <= self.gumbel_start, "above 0 and at most gumbel_start"),
            ("gumbel_decay", 0 < self.gumbel_decay <= 1, "in (0, 1]"),
        )


@dataclass(frozen=True)
class Wav2Vec2Settings:
    """A wav2vec 2.0 encoder and its objective."""

    init: PathOrName | None = None
    """Checkpoint to continue from: a folder or Hugging Face id (wav2vec 2.0 or HuBERT), a run, or a `.pt` of fairseq or
    fairseq2. Unset: random weights, drawn from the seed."""
    warm_quantiser_steps: int = 0
    """Number of steps at the beginning in which only quantiser, projections and mask embedding are trained. Set it, for
    example to 1000, for a checkpoint without a quantiser, because random codes would disturb the encoder."""
    normalise: bool | None = None
    """Normalise waveforms to zero mean and unit variance. Unset: as in the checkpoint; for a new model, yes for the
    large layout and no for base."""
    architecture: Architecture = field(default_factory=Architecture)
    """Shape of the encoder."""
    dropouts: Dropouts = field(default_factory=Dropouts)
    """Dropout in training."""
    objective: ContrastiveSettings = field(default_factory=ContrastiveSettings)
    """Masking, negatives and the loss."""

    def __post_init__(self) -> None:
        """Refuse a negative number of steps."""
        if self.warm_quantiser_steps < 0:
            raise UserError(f"wav2vec2.warm_quantiser_steps must be at least 0, but is {self.warm_quantiser_steps}")


@dataclass(frozen=True)
class ContrastiveTargetSampler(TargetSampler):
    """Draws the masks and negatives of a micro-batch."""

    mask_probability: float = 0.65
    mask_length: int = 10
    negatives: int = 100
    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)

    def __call__(self, rows: Rows, random: np.random.Generator) -> Targets:
        """Return the tensors of ``frame_tensors``, and ``negatives`` ``(N, K, negatives)`` int64, indices below K."""
        frames = wav2vec2.frames_of(rows.lengths, self.kernels, self.strides)
        mask = span_mask(frames, self.mask_probability, self.mask_length, random)
        masked = int(mask[0].sum())
        negatives = draw_negatives(len(frames), masked, self.negatives, random)
        tensors = {**frame_tensors(mask, frames), "negatives": torch.from_numpy(negatives)}
        return Targets(count=len(frames) * masked, tensors=tensors)


@dataclass(frozen=True)
class Codes:
    """Quantised frames."""

    vectors: Tensor
    """``(N x K, width)``."""
    ids: Tensor
    """``(N x K,)`` int64, the combination of codes of all codebooks as one number."""
    usage: Tensor
    """``(G, V)``, the mean softmax over the frames."""


class Wav2Vec2Objective(Objective):
    """A wav2vec 2.0 model and its loss. Its gradient is that of a sum over the masked frames."""

    shown = ("loss {loss:.3f}", "accuracy {accuracy:.3f} (chance {chance:.3f})", "perplexity {perplexity:.1f}")
    panels = (
        *Objective.panels,
        Panel("accuracy", "accuracy (share of targets)", "chance", "chance (train)"),
        Panel("perplexity", "perplexity (codes in use)"),
    )

    def __init__(self, settings: Wav2Vec2Settings, model: Wav2Vec2ForPreTraining, normalise: bool) -> None:
        super().__init__()
        self.settings, self.model, self.normalise = settings, model, normalise
        objective, config = settings.objective, model.config
        self.kernels, self.strides = tuple(config.conv_kernel), tuple(config.conv_stride)
        self.target_sampler = ContrastiveTargetSampler(
            objective.mask_probability, objective.mask_length, objective.negatives, self.kernels, self.strides
        )
        self.symptoms = symptoms(config.num_codevector_groups, config.num_codevectors_per_group)
        self.warm_steps = settings.warm_quantiser_steps

    def forward(self, batch: Batch) -> Loss:
        """Return the loss of a batch, summed over its masked frames."""
        model, settings = self.model, self.settings
        scale = settings.objective.conv_gradient_scale
        encoded = encode(model.wav2vec2, batch, self.normalise, settings.dropouts, scale)
        # (N, S, C) -> (N x K, C)
        seen = masked_frames(encoded.features, batch)
        seen = dropout(seen, settings.dropouts.quantiser if self.training else 0.0)
        codes = self._quantise(seen, batch.step)
        # (N, S, M) -> (N x K, M) -> (N x K, D)
        predicted = model.project_hid(masked_frames(encoded.context, batch))
        true = model.project_q(codes.vectors)
        with torch.autocast(predicted.device.type, enabled=False):
            negatives = batch.targets.tensors["negatives"]
            return self._loss(predicted.float(), true.float(), codes, negatives, encoded.penalty)

    def part(self, name: str) -> Part:
        """Return the part of the model that a parameter belongs to."""
        return encoder_part(name, self.model.config.num_hidden_layers, self.model.config.do_stable_layer_norm)

    def export(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the encoder in Hugging Face format."""
        weights = {name.removeprefix("model."): tensor for name, tensor in weights.items()}
        wav2vec2.export(self.model, weights, self.normalise, folder)

    def _quantise(self, features: Tensor, step: int) -> Codes:
        """Return the codes of ``(N x K, C)``: by the hard Gumbel softmax in training, otherwise the most likely."""
        quantiser = self.model.quantizer
        groups, codes = quantiser.num_groups, quantiser.num_vars
        with torch.autocast(features.device.type, enabled=False):
            # (N x K, C) -> (N x K, G, V)
            logits = quantiser.weight_proj(features.float()).view(len(features), groups, codes)
            usage = logits.softmax(-1).mean(0)
            if self.training:
                sample = F.softmax((logits + gumbel_noise(logits)) / self._gumbel_temperature(step), -1)
                ids = sample.argmax(-1)
                # The hard choice in the forward pass, the soft one in the backward pass (straight through, Jang et al.,
                # 2017).
                weights = _one_hot(ids, sample) + sample - sample.detach()
            else:
                ids = logits.argmax(-1)
                weights = _one_hot(ids, logits)
            # (1, G x V, width / G) -> (G, V, width / G)
            book = quantiser.codevectors.view(groups, codes, -1)
            # (N x K, G, V) -> (N x K, G, width / G) -> (N x K, width)
            vectors = torch.einsum("kgv,gvd->kgd", weights, book).flatten(1)
            place = codes ** torch.arange(groups, device=ids.device)
            return Codes(vectors, (ids * place).sum(-1), usage)

    def _gumbel_temperature(self, step: int) -> float:
        objective = self.settings.objective
        return max(objective.gumbel_start * objective.gumbel_decay**step, objective.gumbel_end)

    def _loss(self, predicted: Tensor, true: Tensor, codes: Codes, negatives: Tensor, penalty: Tensor) -> Loss:
        """Return the sum of the cross entropies (equation 3), plus n times diversity loss (equation 4) and penalty.

        Args:
            predicted: ``(N x K, D)`` projected contexts.
            true: ``(N x K, D)`` projected codes.
            codes: the quantised frames.
            negatives: ``(N, K, negatives)``.
            penalty: scalar.
        """
        objective = self.settings.objective
        rows, masked, _ = negatives.shape
        n = rows * masked
        # (N x K, D) -> (N, K, D)
        predicted, true = (F.normalize(x, dim=-1, eps=1e-8).view(rows, masked, -1) for x in (predicted, true))
        # (N, K, D) x (N, D, K) -> (N, K, K)
        similarity = predicted @ true.transpose(1, 2) / objective.temperature
        positive = similarity.diagonal(dim1=1, dim2=2)
        ids = codes.ids.view(rows, masked)
        negative_ids = ids.gather(1, negatives.flatten(1)).view_as(negatives)
        # A negative with the same code as the positive is excluded.
        same = negative_ids == ids[..., None]
        negative = similarity.gather(2, negatives).masked_fill(same, float("-inf"))
        # the positive term of log softmax, without joining both in one tensor
        contrastive = (torch.logsumexp(torch.cat([positive[..., None], negative], -1), -1) - positive).sum()
        perplexity = torch.exp(-(codes.usage * torch.log(codes.usage + 1e-7)).sum(-1)).sum()
        diversity = (codes.usage.numel() - perplexity) / codes.usage.numel()
        total = contrastive + n * (objective.diversity_weight * diversity + objective.penalty_weight * penalty)
        sums = {
            "loss": total.detach(),
            "contrastive": contrastive.detach(),
            "accuracy": (positive > negative.amax(-1)).sum(dtype=torch.float32),
            "chance": chance(negative_ids, same).sum(),
            "diversity": diversity.detach() * n,
            "perplexity": perplexity.detach() * n,
            "penalty": penalty.detach() * n,
        }
        weight = total.new_full((), n)
        return Loss(total, {name: (value, weight) for name, value in sums.items()})


def symptoms(codebooks: int, codes: int) -> tuple[Symptom, ...]:
    """Return the symptoms of failure of this objective, for ``codebooks`` codebooks of ``codes`` codes."""
    few = codebooks + COLLAPSED * codebooks * (codes - 1)
    return (
        Symptom(
            name="the codebook has collapsed",
            holds=lambda row: row.get("perplexity", few) < few,
            reading=("perplexity",),
            causes="a diversity weight that is too low for a small model (wav2vec2.objective.diversity_weight), too "
            "little audio per step (batches), or a learning rate that is too high (trainer.optimizer.lr)",
        ),
        Symptom(
            name="the contrastive loss is zero",
            holds=lambda row: row.get("contrastive", 1.0) < 0.01,
            reading=("contrastive", "accuracy", "chance"),
            causes="codes that encode time rather than sound, or so few codes that no negative differs; raise "
            "wav2vec2.objective.diversity_weight, and look for clips that are silent or identical",
        ),
        Symptom(
            name="the contrastive accuracy is still at chance",
            holds=lambda row: row.get("accuracy", 1.0) < AT_CHANCE * row.get("chance", 0.0),
            reading=("accuracy", "chance"),
            causes="too little audio per step (batches), the post-norm layout in a small model "
            "(wav2vec2.architecture.layout large is pre-norm), a learning rate that is too high or too low "
            "(trainer.optimizer.lr), or a temperature that is too high (wav2vec2.objective.temperature)",
            slow=True,
        ),
    )


def _one_hot(ids: Tensor, like: Tensor) -> Tensor:
    """Return one-hot vectors ``(..., codes)`` for ``ids`` ``(...)``."""
    return torch.zeros_like(like).scatter_(-1, ids[..., None], 1.0)


def gumbel_noise(like: Tensor) -> Tensor:
    """Draw standard Gumbel noise in the shape of ``like``."""
    return -torch.empty_like(like).exponential_().log()


def chance(negative_ids: Tensor, same: Tensor) -> Tensor:
    """Return the accuracy of guessing among the distinct codes that each target is compared with.

    Frames with equal codes have equal similarities, so they count once.

    Args:
        negative_ids: ``(N, K, negatives)``, the codes of the negatives.
        same: ``(N, K, negatives)`` bool, True for a code that equals that of the positive.

    Returns:
        ``(N, K)``, 1 / (1 + number of distinct negative codes).
    """
    ordered = negative_ids.masked_fill(same, -1).sort(-1).values
    new = torch.ones_like(same)
    new[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    return 1 / (1 + (new & (ordered >= 0)).sum(-1))


def build_objective(settings: Wav2Vec2Settings, seed: int) -> Wav2Vec2Objective:
    """Return the objective for a new model, or for the checkpoint in the settings."""
    if settings.init is None:
        model, normalise = wav2vec2.new_model(settings.architecture, settings.normalise, seed)
        return Wav2Vec2Objective(settings, model, normalise)
    start = start_from(settings.init, settings.architecture, settings.normalise, seed)
    objective = Wav2Vec2Objective(settings, start.model, start.normalise)
    objective.account = start.account
    if start.account.warning is not None and settings.warm_quantiser_steps:
        done = f"the checkpoint has no quantiser; a new one is trained alone for {settings.warm_quantiser_steps} steps"
        objective.account = replace(start.account, warning=done)
    return objective
