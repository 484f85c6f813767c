"""Settings of the encoder in fine-tuning."""

from dataclasses import dataclass, field
from typing import Literal

from nonverbal import config
from nonverbal.errors import UserError


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters (Hu et al., 2022) for `train: lora`. They are merged into the weights when it is saved."""

    rank: int = 8
    """Rank of the adapters."""
    alpha: float = 16.0
    """An adapter's output is multiplied by `alpha` / `rank`."""
    dropout: float = 0.0
    """Share of an adapter's input that is dropped in training."""
    targets: list[str] = field(default_factory=list)
    """Linear layers that get an adapter, by the ends of their names. Unset: those of queries and values (Hu et al.,
    section 4.2); for an Audio Mamba, the input projection of each block."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if self.rank < 1:
            raise UserError(f"encoder.lora.rank must be at least 1, but is {self.rank}")
        if not self.alpha > 0:
            raise UserError(f"encoder.lora.alpha must be above 0, but is {self.alpha}")
        if not 0 <= self.dropout < 1:
            raise UserError(f"encoder.lora.dropout must be at least 0 and below 1, but is {self.dropout}")


DROPOUTS = ("hidden_dropout", "attention_dropout", "activation_dropout", "feature_dropout", "layer_drop")


@dataclass(frozen=True)
class TunedSettings:
    """Which weights of the encoder are trained, and how."""

    train: Literal["all", "no_convolutions", "head", "last", "lora"] = "no_convolutions"
    """What is trained: `all`; `no_convolutions`, all but the convolutions (transformers' `freeze_feature_encoder`), or
    the patch embedding of an Audio Mamba or AST; `head`, nothing in the encoder; `last`, the last blocks; `lora`, only
    adapters."""
    last_layers: int = 2
    """Number of blocks that `train: last` trains."""
    lora: LoraSettings = field(default_factory=LoraSettings)
    """Adapters for `train: lora`."""
    hidden_dropout: float | None = None
    """Share of the values dropped after attention, after the feed-forward layers, and before the first block. This
    dropout and the following, if unset, are those of the checkpoint's configuration."""
    attention_dropout: float | None = None
    """Share of the attention weights dropped."""
    activation_dropout: float | None = None
    """Share of the values dropped inside the feed-forward layers."""
    feature_dropout: float | None = None
    """Share of the values of frames dropped before frames are masked."""
    layer_drop: float | None = None
    """Share of the blocks skipped, drawn once per step."""
    gradient_checkpointing: bool = False
    """Store only the input of each block, and compute the block again in the backward pass: less memory, a third more
    time."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if self.train != "lora" and (given := config.given(self.lora)):
            raise UserError(
                f"encoder.lora.{given[0]} is set, but has no effect because encoder.train is {self.train}; leave it "
                "out, or set encoder.train to lora"
            )
        if self.last_layers < 1:
            raise UserError(f"encoder.last_layers must be at least 1, but is {self.last_layers}")
        for name in DROPOUTS:
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise UserError(f"encoder.{name} must be at least 0 and below 1, but is {value}")
