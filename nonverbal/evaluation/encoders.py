"""Frozen encoders by name: a folder, a model of the Hugging Face Hub, its random twin, or log-mel bands."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nonverbal.errors import UserError
from nonverbal.models.checkpoints.quiet import quiet
from nonverbal.seeding import Stream, torch_seed
from nonverbal.system import set_up_gpus

INITIALISED = "initialised:"

PART = re.compile(r"\b(layers|blocks|conv_layers)\.\d+\.|(^|\.)(encoder|feature_extractor|feature_projection)\.")
"""In the names of an encoder's own weights."""


class FrameEncoder(Protocol):
    """Turns a waveform into frames. Frozen: the same waveform always gives the same frames."""

    name: str
    """As the user gave it."""
    key: str
    """Names everything that its frames depend on."""
    layers: int

    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """Return ``(layers, frames, dim)`` float32 of a waveform ``(T,)``, float32 in [-1, 1], 16 kHz."""


def load_encoder(name: str, seed: int = 0) -> FrameEncoder:
    """Load an encoder by name.

    Args:
        name: ``logmel``; a folder or Hub id in Hugging Face format (safetensors only, no code of the model's own);
            or ``initialised:`` before either, for the same configuration with random weights.
        seed: draws the weights of ``initialised:``; nothing else depends on it.

    Raises:
        UserError: it cannot be loaded whole, or does not read waveforms at 16 kHz.
    """
    if name == "logmel":
        from nonverbal.evaluation.logmel import LogMel

        return LogMel()
    return TransformersEncoder(name, seed)


def check_encoder(name: str) -> None:
    """Raise the ``UserError`` of an encoder that is not there or reads another sample rate, before it is needed."""
    if name != "logmel":
        with quiet():
            _normalises(_place(name.removeprefix(INITIALISED)))


class TransformersEncoder:
    """All hidden states of a model of transformers or of one of the families; layer 0 is the first block's input."""

    def __init__(self, name: str, seed: int) -> None:
        source = _place(name.removeprefix(INITIALISED))
        with quiet():
            self.normalise = _normalises(source)
            self.model = _initialised(source, seed) if name.startswith(INITIALISED) else _pretrained(source)
        self.name = name
        self.layers = self.model.config.num_hidden_layers + 1
        self.shortest = _shortest(self.model.config)
        self.device = _device()
        self.key = f"{_hash(self.model)}-{'normalised' if self.normalise else 'as it is'}-{self.device}"
        self.model.to(self.device)

    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """Return ``(layers, frames, dim)``. One clip at a time: no padding, and no neighbours in a batch."""
        import torch

        from nonverbal.families.hidden_states import layers_of

        samples = torch.from_numpy(waveform).to(self.device)
        if self.normalise:
            # As transformers' Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm.
            samples = (samples - samples.mean()) / torch.sqrt(samples.var(correction=0) + 1e-7)
        if len(waveform) < self.shortest:
            raise UserError(
                f"{self.name} makes a frame of {self.shortest} samples, but a part of a clip has {len(waveform)}; "
                "leave such clips out, or take another encoder"
            )
        with torch.inference_mode():
            states = layers_of(self.model(samples[None], output_hidden_states=True, return_dict=True))
        if len(states) != self.layers:
            raise UserError(f"{self.name} gives {len(states)} layers of hidden states, and not {self.layers}")
        frames: np.ndarray = torch.cat(states).cpu().numpy()  # layers x (1, T, D) -> (layers, T, D)
        return frames


def _place(source: str) -> str:
    """Return the folder or name of the Hub: of a run, that of its encoder."""
    from nonverbal.models.checkpoints.hugging_face import place_of

    path = place_of(source)
    if path is not None and path.is_file():
        raise UserError(
            f"{source} is a file, where a folder in Hugging Face format is read; make one of it: nonverbal convert "
            f"{source} --to transformers --out FOLDER"
        )
    return source if path is None else str(path)


def _pretrained(source: str) -> Any:
    from nonverbal.models.checkpoints.hugging_face import check_whole, load, refuse_not_finite

    loaded = load(source, _folder(source))
    # transformers draws missing weights at random; the mask embedding alone plays no part in a frozen encoder.
    missing = [key for key in loaded.missing if not key.endswith("masked_spec_embed")]
    # Heads of other tasks are left over rightly; parts of the encoder are not.
    parts = [key for key in loaded.unexpected if PART.search(key)]
    check_whole(source, missing, parts, loaded.mismatched, "the weights of the model that its config.json describes")
    refuse_not_finite(source, loaded.model.state_dict())
    return _checked(loaded.model, source)


def _initialised(source: str, seed: int) -> Any:
    import torch

    from nonverbal.models.checkpoints.hugging_face import new_model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, Stream.INIT))
        return _checked(new_model(source, _folder(source)), source)


def _folder(source: str) -> Path | None:
    return Path(source) if Path(source).is_dir() else None


def _checked(model: Any, source: str) -> Any:
    from nonverbal.families import kinds

    own = [model_type for kind in kinds() for model_type in kind.model_types]
    reads_waveforms = hasattr(model.config, "conv_kernel") or model.config.model_type in own
    if not reads_waveforms or not hasattr(model.config, "num_hidden_layers"):
        raise UserError(
            f"{source} is a {model.config.model_type!r} model, which does not read waveforms frame by frame; give one "
            f"of {', '.join(own)}, or of transformers' encoders like them (wavlm, unispeech-sat, data2vec-audio)"
        )
    if getattr(model, "adapter", None) is not None:
        # It comes after the encoder, whose layers alone are looked at.
        model.adapter = None
    return model.float().eval()


def _shortest(config: Any) -> int:
    """The fewest samples of which an encoder makes a frame."""
    from nonverbal.models.wav2vec2 import frame_size

    return frame_size(config.conv_kernel, config.conv_stride)[0] if hasattr(config, "conv_kernel") else 1


def _normalises(source: str) -> bool:
    """Whether an encoder's waveforms are to have zero mean and unit variance."""
    from nonverbal.models.checkpoints.feature_extractors import normalises

    said = normalises(source, _folder(source))
    if said is None:
        raise UserError(
            f"there is no preprocessor_config.json in {source}, so nothing says whether waveforms are normalised; "
            "download or export it again"
        )
    return said


def _hash(model: Any) -> str:
    """SHA-256 of a model's configuration and weights, wherever they were loaded from."""
    volatile = {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures"}
    config = {key: value for key, value in model.config.to_diff_dict().items() if key not in volatile}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _device() -> str:
    """Where encoders run, in float32."""
    import torch

    set_up_gpus()
    return "cuda" if torch.cuda.is_available() else "cpu"
