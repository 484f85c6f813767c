"""SSAM's objective: predict the masked patches of a spectrogram from the others.

Yadav and Tan, Interspeech 2024 (arXiv 2406.02178), section 3, with the constants of the released code. Patches are not
normalised individually. Whether the loss includes only masked patches or all, and whether masked patches have
positions, are settings of ``nonverbal.models.audio_mamba.AudioMambaConfig``.

Shapes: N rows of 200 frames, P patches per row (250).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from nonverbal.batch import Batch, Loss, Rows, Targets, TargetSampler
from nonverbal.curves import Panel
from nonverbal.errors import UserError
from nonverbal.models import ssam
from nonverbal.models.audio_mamba import (
    BANDS,
    FRAMES,
    HOP,
    TIMES,
    AudioMambaForPreTraining,
    log_mel,
    log_mel_of_windows,
    standardise,
)
from nonverbal.models.parts import Part, mamba_part
from nonverbal.models.scan_choice import Scan
from nonverbal.models.ssam import Architecture
from nonverbal.objectives.base import Objective, Symptom
from nonverbal.paths import PathOrName

PATCHES = TIMES * BANDS
"""Number of patches per row."""

FLAT = 1e-4
"""Standard deviation of a log-mel spectrogram below which it counts as digital silence, whose values are all equal."""

AT_MEAN = 0.97
"""Ratio of the error to that of predicting the spectrogram's mean everywhere, above which nothing has been learned."""


@dataclass(frozen=True)
class ReconstructionSettings:
    """The objective. Defaults are those of the released code, except for the loss, which is over all patches there."""

    mask_ratio: float = 0.5
    """Share of the 250 patches of two seconds that are masked."""
    loss: Literal["masked", "official"] = "masked"
    """Patches in the loss: the masked ones, or, with `official`, all."""
    masked_positions: Literal["official", "kept"] = "official"
    """Whether masked patches get position embeddings: `kept`; or not, with `official`, so that only their place in the
    sequence distinguishes them."""

    def __post_init__(self) -> None:
        """Refuse to mask none or all."""
        if not 0 < round(self.mask_ratio * PATCHES) < PATCHES:
            raise UserError(f"objective.mask_ratio must mask some of {PATCHES} patches, but is {self.mask_ratio}")


@dataclass(frozen=True)
class SsamSettings:
    """An Audio Mamba and its objective."""

    init: PathOrName | None = None
    """Checkpoint to continue from: a folder or Hugging Face id, a run, or a `.pth` of the released code. Unset: random
    weights, drawn from the seed."""
    architecture: Architecture = field(default_factory=Architecture)
    """Shape of the encoder."""
    objective: ReconstructionSettings = field(default_factory=ReconstructionSettings)
    """Masking and the loss."""
    scan: Scan = "auto"
    """Implementation of the selective scan: `mamba-ssm` or `Triton` on CUDA, `C++` on a CPU, `PyTorch` anywhere, which
    is many times slower; `auto`: the first of these that works."""


@dataclass(frozen=True)
class PatchSampler(TargetSampler):
    """Draws for each row where its two seconds begin, and which patches are masked."""

    mask_ratio: float
    loss: str

    def __call__(self, rows: Rows, random: np.random.Generator) -> Targets:
        """Return ``starts`` ``(N,)`` int64, in frames, and ``mask`` ``(N, 250)`` bool."""
        frames, count = rows.lengths // HOP + 1, len(rows.lengths)
        starts = (random.random(count) * np.maximum(frames - FRAMES + 1, 1)).astype(np.int64)
        hidden = round(self.mask_ratio * PATCHES)
        mask = random.random((count, PATCHES)).argsort(1) < hidden
        counted = hidden if self.loss == "masked" else PATCHES
        return Targets(count * counted, {"starts": torch.from_numpy(starts), "mask": torch.from_numpy(mask)})


class ReconstructionObjective(Objective):
    """An Audio Mamba and its loss. Its gradient is that of a sum over patches of the mean over a patch's values."""

    shown = ("loss {loss:.3f}", "masked {masked_error:.3f} (by the mean {mean_error:.3f})")
    panels = (
        *Objective.panels,
        Panel("masked_error", "error of masked patches (mean square)", "mean_error", "the clip's mean (train)"),
        Panel("visible_error", "error of visible patches (mean square)"),
    )

    def __init__(self, settings: SsamSettings, model: AudioMambaForPreTraining) -> None:
        super().__init__()
        self.settings, self.model = settings, model
        self.target_sampler = PatchSampler(settings.objective.mask_ratio, settings.objective.loss)
        self.symptoms = SYMPTOMS

    def forward(self, batch: Batch) -> Loss:
        """Return the loss of a batch, summed over the patches in the loss."""
        mask = batch.targets.tensors["mask"]
        with torch.no_grad():
            cut = self._cut(batch)
        predictions = self.model.predict(cut, mask)
        with torch.autocast(cut.device.type, enabled=False):
            return self._loss((predictions.float() - cut).square().mean(-1), cut, mask)

    def _cut(self, batch: Batch) -> Tensor:
        """Return the patches ``(N, 250, 64)`` of two seconds of each row, standardised over the whole row."""
        targets = batch.targets.tensors
        frames = batch.lengths // HOP + 1
        if "mean" not in targets:
            mel, _ = log_mel(batch.waveforms, batch.lengths)
            return self.model.crop(standardise(mel, frames, correction=0), frames, targets["starts"])
        # The waveforms contain only the samples of the two seconds.
        mean, deviation = targets["mean"][:, None, None], targets["deviation"][:, None, None]
        mel = (log_mel_of_windows(batch.waveforms) - mean) / (deviation + 1e-8)
        mel = mel.where(deviation > FLAT, 0)
        return self.model.crop(mel, frames.clamp(max=FRAMES), torch.zeros_like(frames))

    def part(self, name: str) -> Part:
        """Return the part of the model that a parameter belongs to."""
        return mamba_part(name, self.model.config.num_hidden_layers)

    def export(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write the model in Hugging Face format, with the code that it needs."""
        ssam.export(self.model, {name.removeprefix("model."): tensor for name, tensor in weights.items()}, folder)

    def _loss(self, error: Tensor, cut: Tensor, mask: Tensor) -> Loss:
        """Return the sum of the errors ``(N, 250)`` of patches ``(N, 250, 64)``."""
        # Products rather than boolean indexing, which would have to wait for the GPU.
        total = (error * mask).sum() if self.settings.objective.loss == "masked" else error.sum()
        seen = error.detach()
        # The error of predicting each clip's mean, which is zero, on the same patches.
        nothing = cut.square().mean(-1)
        hidden, visible = mask.sum().float(), (~mask).sum().float()
        counted = hidden if self.settings.objective.loss == "masked" else hidden + visible
        metrics = {
            "loss": (total.detach(), counted),
            "masked_error": ((seen * mask).sum(), hidden),
            "visible_error": ((seen * ~mask).sum(), visible),
            "mean_error": ((nothing * mask).sum(), hidden),
        }
        # (N, P x B) -> (N x P, B): bands from low to high
        by_band, where = (seen * mask).view(-1, BANDS).sum(0), mask.view(-1, BANDS).sum(0).float()
        metrics |= {f"masked_error.band{band}": (by_band[band], where[band]) for band in range(BANDS)}
        return Loss(total, metrics)


SYMPTOMS = (
    Symptom(
        name="masked patches are predicted no better than by the clip's mean",
        holds=lambda row: row.get("masked_error", 0.0) > AT_MEAN * row.get("mean_error", 1e9),
        reading=("masked_error", "mean_error", "visible_error"),
        causes="a learning rate that is too high or too low (trainer.optimizer.lr), too few clips per step (batches), "
        "or sounds that are only noise",
        slow=True,
    ),
)


def build_ssam_objective(settings: SsamSettings, seed: int) -> ReconstructionObjective:
    """Return the objective for a new model, or for the checkpoint in the settings."""
    objective = settings.objective
    options = {name: getattr(objective, name) for name in ("mask_ratio", "loss", "masked_positions")}
    model, account = ssam.build_model(settings.init, settings.architecture, options, seed)
    built = ReconstructionObjective(settings, model)
    built.account = account
    return built
