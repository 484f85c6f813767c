"""What of an encoder a task trains, and how."""

from dataclasses import dataclass, field
from typing import Literal

from nonverbal import config
from nonverbal.errors import UserError


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters (Hu et al., 2022), with `train: lora`; merged into the weights where the encoder is written."""

    rank: int = 8
    """Rank of what is added to a weight."""
    alpha: float = 16.0
    """What is added is times `alpha` / `rank`."""
    dropout: float = 0.0
    """Share of an adapter's input that is dropped in training."""
    targets: list[str] = field(default_factory=list)
    """Maps that get an adapter, by the ends of their names. Unset: those of queries and values (Hu et al., section
    4.2); of an Audio Mamba, the one into each block."""

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
    """What of an encoder a task trains, and how."""

    train: Literal["all", "no_convolutions", "head", "last", "lora"] = "no_convolutions"
    """`all`; `no_convolutions`, all but those (transformers' `freeze_feature_encoder`; of an Audio Mamba and an AST,
    what maps patches); `head`, nothing of the encoder; `last`, the last blocks; `lora`, adapters alone."""
    last_layers: int = 2
    """Blocks that `train: last` trains."""
    lora: LoraSettings = field(default_factory=LoraSettings)
    """Adapters of `train: lora`."""
    hidden_dropout: float | None = None
    """Share dropped of the values after attention, after the feed-forward layers, and that enter the first block.
    Unset, as of the other dropouts: what the checkpoint's configuration says."""
    attention_dropout: float | None = None
    """Share dropped of the attention weights."""
    activation_dropout: float | None = None
    """Share dropped of the values inside the feed-forward layers."""
    feature_dropout: float | None = None
    """Share dropped of the values of the frames, before they are masked."""
    layer_drop: float | None = None
    """Share of the blocks that are passed by, drawn once a step."""
    gradient_checkpointing: bool = False
    """Keep of each block its input alone, and compute it again in the backward pass: less memory, a third more time."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if self.train != "lora" and (given := config.given(self.lora)):
            raise UserError(
                f"encoder.train is {self.train}, so encoder.lora.{given[0]} would not count; leave it out, or set "
                "encoder.train to lora"
            )
        if self.last_layers < 1:
            raise UserError(f"encoder.last_layers must be at least 1, but is {self.last_layers}")
        for name in DROPOUTS:
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise UserError(f"encoder.{name} must be at least 0 and below 1, but is {value}")
