"""Transcription of clips: connectionist temporal classification over an encoder's frames (Graves et al., 2006).

The head is that of transformers' recognisers, a linear layer from each frame to the tokens. The loss is the negative
logarithm of the sum over all alignments of a clip's characters with its frames (section 3.1). It is averaged over the
characters of a step, as in fairseq's fine-tuning of wav2vec 2.0, so that any number of micro-batches gives the same
gradient; this is transformers' ``sum`` divided by the number of characters. Its ``mean`` averages over each clip's
characters first.

Shapes: N rows, one per clip; S frames, V tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nonverbal.batch import Batch, Loss
from nonverbal.curves import Panel
from nonverbal.data.batching.clip_rows import RowLimits
from nonverbal.data.transcripts import Vocabulary, check_jiwer, edits
from nonverbal.errors import UserError
from nonverbal.models.drawn import drawn_from
from nonverbal.models.functional import dropout, exact
from nonverbal.models.parts import Part
from nonverbal.models.tuned.base import TunedEncoder
from nonverbal.objectives.base import Best, Objective
from nonverbal.objectives.character_targets import Characters, CharacterTargets, Shown, check_lengths
from nonverbal.objectives.head_settings import HeadSettings
from nonverbal.objectives.recogniser_files import check_recogniser, write_recogniser

SUM = 2
"""The code for a sum in torch's internal ``ctc_loss``, which takes lengths as lists."""


@dataclass(frozen=True)
class CtcSettings(HeadSettings):
    """The recogniser on an encoder's frames."""

    GROUP = "ctc"

    dropout: float = 0.1
    """Share of the values of the encoder's output that training drops; transformers' `final_dropout`. fairseq: 0."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        super().__post_init__()
        if not 0 <= self.dropout < 1:
            raise UserError(f"ctc.dropout must be at least 0 and below 1, but is {self.dropout}")


class CtcObjective(Objective):
    """An encoder, a head, and the loss. Its gradient is that of a sum over characters.

    The head is always new: if the encoder comes from a recogniser, that recogniser's head is not used.
    """

    shown = ("loss {loss:.3f}", "blank {blank:.3f}", "WER {wer:.3f}", "CER {cer:.3f}")
    panels = (
        *Objective.panels,
        Panel("wer", "word error rate"),
        Panel("cer", "character error rate"),
        Panel("blank", "share of frames with the blank token"),
    )
    # There are more characters than words: on few validation clips, many epochs have the same WER.
    best = Best("cer", highest=False)

    def __init__(self, encoder: TunedEncoder, vocabulary: Vocabulary, settings: CtcSettings, seed: int) -> None:
        """Put a new head on an encoder.

        Args:
            encoder: in float32.
            vocabulary: of the texts of the task.
            settings: of the head.
            seed: of the head's weights.

        Raises:
            UserError: transformers has no recogniser for such an encoder, ``jiwer`` is not installed, or spans of
                masked values are wider than a frame.
        """
        super().__init__()
        check_recogniser(encoder)
        check_jiwer()
        self.masking = settings.masking(encoder)
        self.encoder, self.vocabulary, self.settings = encoder, vocabulary, settings
        self.account, self.warm_steps = encoder.account, settings.head_steps
        if settings.time_masking:
            encoder.learn_mask()
        self.head = nn.Linear(encoder.width, len(vocabulary.tokens))
        with drawn_from(seed, 2):
            nn.init.normal_(self.head.weight, std=encoder.config.initializer_range)
            nn.init.zeros_(self.head.bias)

    def targets(
        self,
        clips: Sequence[str],
        texts: Sequence[str],
        samples: np.ndarray,
        limits: RowLimits,
        speeds: tuple[float, float] = (1.0, 1.0),
    ) -> Characters:
        """Return the targets of clips.

        Args:
            clips: ids of all clips of the task, for messages.
            texts: the text of each clip, as returned by ``spoken``.
            samples: number of samples of each clip at 16 kHz, ``(clips,)`` int64.
            limits: shortest and longest rows.
            speeds: slowest and fastest speed at which clips are played in training, as factors.

        Raises:
            UserError: a clip would be cropped, or has fewer frames than its text needs.
        """
        encoded = [self.vocabulary.encode(text) for text in texts]
        frames = self.encoder.without_model().frames
        check_lengths(clips, encoded, samples, Shown(frames, limits, speeds))
        return Characters(encoded, frames, self.masking)

    def logits(self, batch: Batch) -> Tensor:
        """Return logits ``(N, S, V)`` float32 of the tokens at each frame."""
        last = self.encoder(batch).states[-1]
        last = dropout(last, self.settings.dropout if self.training else 0.0)
        logits: Tensor = self.head(last)
        return logits.float()

    def forward(self, batch: Batch) -> Loss:
        """Return the loss summed over clips; in evaluation mode also the word and character errors."""
        targets = batch.targets
        assert isinstance(targets, CharacterTargets), f"these are not characters, but {type(targets).__name__}"
        logits = self.logits(batch)
        with exact(logits.device):
            total = self._loss(logits, targets)
        best = logits.detach().argmax(-1)
        frames = torch.arange(best.shape[1], device=best.device) < targets.tensors["frames"][:, None]
        pairs: dict[str, tuple[Tensor | float, float]] = {
            "loss": (total.detach(), targets.count),
            "blank": (((best == 0) & frames).sum(dtype=torch.float32), float(sum(targets.frames))),
        }
        if not self.training:
            pairs |= self._errors(best, targets)
        return Loss(total, {name: (_scalar(a, total), _scalar(b, total)) for name, (a, b) in pairs.items()})

    def transcripts(self, batch: Batch) -> list[str]:
        """Return the text of each clip, from the most likely token of each frame."""
        targets = batch.targets
        assert isinstance(targets, CharacterTargets), f"these are not characters, but {type(targets).__name__}"
        return self._texts(self.logits(batch).argmax(-1), targets)

    def part(self, name: str) -> Part:
        """Return the part of the model that a parameter belongs to."""
        if name.startswith("encoder."):
            return self.encoder.part(name.removeprefix("encoder."))
        return Part("head", 0)

    def export(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Write a recogniser of transformers, with its processor (feature extractor and tokenizer)."""
        inner, head = (
            {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
            for prefix in ("encoder.model.", "head.")
        )
        write_recogniser(self.encoder, self.vocabulary, self.settings.dropout, inner, head, folder)

    def _loss(self, logits: Tensor, targets: CharacterTargets) -> Tensor:
        # (N, S, V) -> (S, N, V)
        log_probabilities = F.log_softmax(logits, dim=-1).transpose(0, 1)
        # The lengths are passed from the host, to avoid waiting for the device.
        lengths = targets.frames, targets.lengths
        return torch.ctc_loss(log_probabilities, targets.tensors["characters"], *lengths, reduction=SUM)

    def _errors(self, best: Tensor, targets: CharacterTargets) -> dict[str, tuple[Tensor | float, float]]:
        """Return numbers of errors, with their totals, for the most likely token of each frame ``(N, S)``."""
        said = iter(targets.tensors["characters"].tolist())
        texts = [self.vocabulary.spell([next(said) for _ in range(length)]) for length in targets.lengths]
        found = edits(texts, self._texts(best, targets))
        return {
            "wer": (float(found.word_errors.sum()), float(found.words.sum())),
            "cer": (float(found.character_errors.sum()), float(found.characters.sum())),
        }

    def _texts(self, best: Tensor, targets: CharacterTargets) -> list[str]:
        rows = zip(best.tolist(), targets.frames, strict=True)
        return [self.vocabulary.decode(row[:frames]) for row, frames in rows]


def _scalar(value: Tensor | float, like: Tensor) -> Tensor:
    return value if isinstance(value, Tensor) else like.new_full((), value)
