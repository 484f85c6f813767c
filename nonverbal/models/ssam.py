"""SSAM's Audio Mamba: its shape, the model that is pretrained, what computes its scans, and its export."""

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

NO_HEAD = "the checkpoint has no whole head: what it lacks starts at random"


@dataclass(frozen=True)
class Architecture:
    """Shape of the encoder. Defaults are SSAM tiny's; small and base differ in the width alone."""

    hidden_size: int = 192
    """Width: 192, 384 and 768 are tiny, small and base."""
    layers: int = 12
    """Mamba blocks."""
    state_size: int = 24
    """States of each channel."""
    conv_width: int = 4
    """Tokens that a block's convolution sees."""
    expand: int = 3
    """Width inside a block, over `hidden_size`."""

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
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
    """Return the model in float32, its weights drawn from ``seed``, or a checkpoint's and what was taken from it.

    Args:
        init: where the checkpoint is; see ``read_checkpoint``.
        architecture: shape of a new model; with ``init`` the default, or the checkpoint's own.
        options: of the configuration, which hold whatever the checkpoint says.
        seed: draws weights.

    Raises:
        UserError: the checkpoint cannot be read, or is of another architecture.
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
            f"the checkpoint {init!r} has {own}, but ssam.architecture asks for {architecture}; leave it out to take "
            "the checkpoint's own"
        )
    for name, value in options.items():
        setattr(config, name, value)
    with drawn_from(seed):
        model = model_of(checkpoint)
    return model, _start_account(checkpoint, model)


def model_of(checkpoint: Checkpoint) -> AudioMambaForPreTraining:
    """Return the model with the checkpoint's weights; what it lacks of the head is drawn."""
    model = AudioMambaForPreTraining(checkpoint.config)
    model.load_state_dict(checkpoint.weights, strict=False)
    return model


def use_scan(model: nn.Module, scan: Scan, device: torch.device) -> Scan:
    """Let the blocks in ``model`` compute their scans by ``scan`` on ``device``; return the one that it comes to.

    Raises:
        UserError: it cannot run there.
    """
    if why := refusal(scan, device):
        raise UserError(
            f"ssam.scan asks for {scan}, which cannot compute scans on {device}: {why}; mend that, or choose "
            "--ssam.scan auto, which takes what works"
        )
    for module in model.modules():
        if isinstance(module, Mixer):
            module.scan = scan
    return scan_name(device) if scan == "auto" else scan


def _start_account(checkpoint: Checkpoint, model: nn.Module) -> Account:
    """Say which of the model's weights came from the checkpoint, which were drawn, and which found no place."""
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
    """Write the feature extractor: waveforms as they are, filled up, and which samples are their own."""
    Wav2Vec2FeatureExtractor(
        feature_size=1, sampling_rate=SAMPLE_RATE, do_normalize=False, return_attention_mask=True
    ).save_pretrained(folder)
