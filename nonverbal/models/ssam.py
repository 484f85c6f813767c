"""SSAM's Audio Mamba: its shape, the model for pretraining, the choice of a scan, and its export."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Wav2Vec2FeatureExtractor

from nonverbal.errors import UserError
from nonverbal.models.audio_mamba import SAMPLE_RATE, AudioMambaConfig, AudioMambaForPreTraining, Mixer
from nonverbal.models.checkpoints.audio_mamba import HEAD, SHAPE, read_checkpoint
from nonverbal.models.checkpoints.base import Account, Checkpoint, account_of
from nonverbal.models.checkpoints.hugging_face import refuse_not_finite
from nonverbal.models.drawn import drawn_from
from nonverbal.models.scan_choice import Scan, refusal, scan_name

NO_HEAD = "the checkpoint's head is incomplete; the missing weights start at random"


@dataclass(frozen=True)
class Architecture:
    """Shape of the encoder. Defaults are those of SSAM tiny; small and base differ only in width."""

    hidden_size: int = 192
    """Width: 192, 384 and 768 are tiny, small and base."""
    layers: int = 12
    """Number of Mamba blocks."""
    state_size: int = 24
    """Number of states of each channel."""
    conv_width: int = 4
    """Kernel width of a block's convolution, in tokens."""
    expand: int = 3
    """Width inside a block, as a multiple of `hidden_size`."""

    def __post_init__(self) -> None:
        """Refuse sizes out of range."""
        if self.hidden_size < 4 or self.hidden_size % 4:
            raise UserError(
                f"architecture.hidden_size must be a multiple of 4 and at least 4, but is {self.hidden_size}"
            )
        for name in ("layers", "state_size", "conv_width", "expand"):
            if getattr(self, name) < 1:
                raise UserError(f"architecture.{name} must be at least 1, but is {getattr(self, name)}")


def config_of(architecture: Architecture, **options: Any) -> AudioMambaConfig:
    """Return the configuration of a shape."""
    return AudioMambaConfig(**dict(zip(SHAPE, astuple(architecture), strict=True)), **options)


def build_model(
    init: str | None, architecture: Architecture, options: Mapping[str, Any], seed: int
) -> tuple[AudioMambaForPreTraining, Account | None]:
    """Return a model in float32 with weights drawn from ``seed``, or that of a checkpoint and what was loaded from it.

    Args:
        init: the checkpoint; see ``read_checkpoint``.
        architecture: shape of a new model; with ``init``, the default or the same as the checkpoint's.
        options: of the configuration; they override those of the checkpoint.
        seed: of drawn weights.

    Raises:
        UserError: the checkpoint cannot be read, or has another architecture.
    """
    if init is None:
        with drawn_from(seed):
            return AudioMambaForPreTraining(config_of(architecture, **options)), None
    checkpoint = read_checkpoint(init)
    refuse_not_finite(init, checkpoint.weights)
    config = checkpoint.config
    own = Architecture(*(getattr(config, name) for name in SHAPE))
    if architecture not in (Architecture(), own):
        raise UserError(
            f"the checkpoint {init!r} has {own}, but ssam.architecture is {architecture}; leave ssam.architecture out "
            "to use the checkpoint's"
        )
    for name, value in options.items():
        setattr(config, name, value)
    with drawn_from(seed):
        model = model_of(checkpoint)
    return model, _start_account(checkpoint, model)


def model_of(checkpoint: Checkpoint) -> AudioMambaForPreTraining:
    """Return the model with the checkpoint's weights; missing weights of the head are drawn."""
    model = AudioMambaForPreTraining(checkpoint.config)
    model.load_state_dict(checkpoint.weights, strict=False)
    return model


def use_scan(model: nn.Module, scan: Scan, device: torch.device) -> Scan:
    """Make the blocks of ``model`` compute their scans by ``scan`` on ``device``. Returns the implementation chosen.

    Raises:
        UserError: it cannot run there.
    """
    if why := refusal(scan, device):
        raise UserError(
            f"ssam.scan is {scan}, which cannot compute scans on {device}: {why}; fix that, or choose "
            "--ssam.scan auto, which uses what works"
        )
    for module in model.modules():
        if isinstance(module, Mixer):
            module.scan = scan
    return scan_name(device) if scan == "auto" else scan


def _start_account(checkpoint: Checkpoint, model: nn.Module) -> Account:
    """Report which weights of the model were loaded, which were drawn, and which of the checkpoint were not used."""
    state = model.state_dict()
    groups = {
        "encoder": [name for name in state if not name.startswith(HEAD)],
        "head": [name for name in state if name.startswith(HEAD)],
    }
    return account_of(checkpoint, state, groups, None if checkpoint.has_head else NO_HEAD)


def export(model: AudioMambaForPreTraining, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write weights, configuration, feature extractor and code in Hugging Face format."""
    model.save_pretrained(folder, state_dict=dict(weights))
    save_extractor(folder)


def save_extractor(folder: Path) -> None:
    """Write the feature extractor, which pads unnormalised waveforms and returns their attention mask."""
    Wav2Vec2FeatureExtractor(
        feature_size=1, sampling_rate=SAMPLE_RATE, do_normalize=False, return_attention_mask=True
    ).save_pretrained(folder)
