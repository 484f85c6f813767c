"""Sources of encoders that are fine-tuned: read whole, or drawn at random, with an account of what was taken."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import HubertModel, PretrainedConfig, Wav2Vec2Model

from nonverbal.models.checkpoints import reading
from nonverbal.models.checkpoints.base import Account, Checkpoint, account_of
from nonverbal.models.checkpoints.hugging_face import refuse_not_finite
from nonverbal.models.tuned.base import Opened
from nonverbal.seeding import Stream, torch_seed

MASK = "masked_spec_embed"


@dataclass(frozen=True)
class Asked:
    """An encoder that is asked for."""

    source: str
    """As the user gave it."""
    named: str
    """The same without ``initialised:``."""
    path: Path | None
    """The folder or file; None for a name of the Hub."""
    model_type: str
    initialised: bool
    """Whether its weights are to be drawn at random."""
    seed: int


def read_convolutional(asked: Asked) -> Opened:
    """Read a wav2vec 2.0 or a HuBERT."""
    kind = cast(reading.Kind, asked.model_type)
    prefix = "wav2vec2."
    if asked.initialised:
        config, normalise, notes = reading.read_shape(asked.named, asked.path, kind)
        checkpoint = Checkpoint(asked.source, "", config, {}, normalise, False, notes=notes)
    else:
        checkpoint = reading.read_checkpoint(asked.named, kind=kind)
        refuse_not_finite(asked.named, checkpoint.weights)
    model_class = HubertModel if asked.model_type == "hubert" else Wav2Vec2Model
    with drawn_from(asked.seed):
        model: Any = model_class(reading.with_mask(checkpoint.config))
    weights = {name.removeprefix(prefix): value for name, value in checkpoint.weights.items()}
    own = model.state_dict().keys()
    model.load_state_dict({name: value for name, value in weights.items() if name in own}, strict=False)
    left = (*checkpoint.left_over, *(name for name in weights if name not in own))
    account = account_for(asked, model, weights.keys(), left, checkpoint.notes)
    return Opened(asked.source, model.float(), checkpoint.normalise, account)


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Draw weights from ``seed`` in the block."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, Stream.INIT))
        yield


def account_for(
    asked: Asked, model: nn.Module, taken: Iterable[str], left_over: Iterable[str], notes: tuple[str, ...] = ()
) -> Account:
    """Say which weights of a model came from the source, which were drawn, and which found no place."""
    state: Mapping[str, Tensor] = model.state_dict()
    weights = {name: state[name] for name in taken if name in state}
    config: PretrainedConfig = cast(Any, model).config
    checkpoint = Checkpoint(asked.source, "", config, weights, False, False, tuple(sorted(left_over)), notes)
    groups = {
        "encoder": [name for name in state if name != MASK],
        "mask embedding": [name for name in state if name == MASK],
    }
    return account_of(checkpoint, state, groups, None)
