"""Settings that all heads of fine-tuning share: when the training of the encoder begins, and masks."""

from dataclasses import dataclass

from nonverbal.errors import UserError
from nonverbal.models.tuned.base import TunedEncoder
from nonverbal.objectives.class_targets import Masking


@dataclass(frozen=True)
class HeadSettings:
    """When the training of the encoder begins, and masks."""

    GROUP = "head"

    head_steps: int = 0
    """Number of steps at the beginning in which only the head is trained."""
    time_masking: float = 0.0
    """Share of frames that masked spans would cover if they did not overlap (transformers: 0.05; fairseq, for speech:
    0.65). Default 0, because a few spans mask most of a clip of one second, which has 49 frames."""
    time_mask_length: int = 10
    """Number of frames in a masked span."""
    feature_masking: float = 0.0
    """Share of the values of frames that masked spans would cover, the same in all frames of a clip (fairseq: 0.5).
    Default 0, as in transformers."""
    feature_mask_length: int = 64
    """Number of values in such a span, as in fairseq."""

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        for name, least in (("head_steps", 0), ("time_mask_length", 1), ("feature_mask_length", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{self.GROUP}.{name} must be at least {least}, but is {getattr(self, name)}")
        for name in ("time_masking", "feature_masking"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{self.GROUP}.{name} must be at least 0 and below 1, but is {getattr(self, name)}")

    def masking(self, encoder: TunedEncoder) -> Masking | None:
        """Return how to mask in training; None without masks.

        Raises:
            UserError: spans of masked values are wider than a frame.
        """
        if self.feature_masking and self.feature_mask_length >= encoder.width:
            raise UserError(
                f"{self.GROUP}.feature_mask_length must be below {encoder.width}, the number of values of a frame of "
                f"{encoder.source}, but is {self.feature_mask_length}"
            )
        if not (self.time_masking or self.feature_masking):
            return None
        return Masking(
            self.time_masking,
            self.time_mask_length,
            self.feature_masking,
            self.feature_mask_length,
            encoder.width,
            encoder.without_model().frames,
        )
