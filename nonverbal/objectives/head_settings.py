"""What the heads of fine-tuning have in common: when the encoder begins to learn, and what is hidden from it."""

from dataclasses import dataclass

from nonverbal.errors import UserError
from nonverbal.models.tuned.base import TunedEncoder
from nonverbal.objectives.class_targets import Masking


@dataclass(frozen=True)
class HeadSettings:
    """When the encoder begins to learn, and what is hidden from it."""

    GROUP = "head"

    head_steps: int = 0
    """Steps at the beginning in which the head learns alone."""
    time_masking: float = 0.0
    """Share of frames that masked spans would cover if they did not overlap (transformers: 0.05; fairseq, of speech:
    0.65). 0: of a clip of a second, which has 49 frames, a few spans hide most of the sound."""
    time_mask_length: int = 10
    """Frames in a masked span."""
    feature_masking: float = 0.0
    """Share of the values of all frames of a clip that masked spans would cover (fairseq: 0.5). 0: as transformers."""
    feature_mask_length: int = 64
    """Values in such a span; fairseq's."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        for name, least in (("head_steps", 0), ("time_mask_length", 1), ("feature_mask_length", 1)):
            if getattr(self, name) < least:
                raise UserError(f"{self.GROUP}.{name} must be at least {least}, but is {getattr(self, name)}")
        for name in ("time_masking", "feature_masking"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{self.GROUP}.{name} must be at least 0 and below 1, but is {getattr(self, name)}")

    def masking(self, encoder: TunedEncoder) -> Masking | None:
        """Return what is hidden in training; None where nothing is.

        Raises:
            UserError: spans of masked values that are wider than a frame.
        """
        if self.feature_masking and self.feature_mask_length >= encoder.width:
            raise UserError(
                f"{self.GROUP}.feature_mask_length must be below the {encoder.width} values of a frame of "
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
