"""Frozen encoders by name: a folder, a model of the Hugging Face Hub, its random twin, or log-mel bands."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from nonverbal.errors import UserError
from nonverbal.models.checkpoints.quiet import LOADING_ERRORS, quiet
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
    """All hidden states of a model that transformers knows, Audio Mamba too; layer 0 is the first block's input."""

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
    from nonverbal.models.checkpoints.reading import place_of

    path = place_of(source)
    if path is not None and path.is_file():
        raise UserError(
            f"{source} is a file, where a folder in Hugging Face format is read; make one of it: nonverbal convert "
            f"{source} --to transformers --out FOLDER"
        )
    return source if path is None else str(path)


def _pretrained(source: str) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModel, PretrainedConfig

    import nonverbal.models.ssam  # noqa: F401  (lets transformers know Audio Mamba)
    from nonverbal.models.checkpoints.config_keys import AS_CALLED, check_foreign_code
    from nonverbal.models.checkpoints.reading import refuse_not_finite

    try:
        check_foreign_code(source, PretrainedConfig.get_config_dict(source)[0])
        # Never the code that lies beside a checkpoint.
        model, found = AutoModel.from_pretrained(
            source, use_safetensors=True, output_loading_info=True, trust_remote_code=False, **AS_CALLED
        )
    except SafetensorError as error:
        raise UserError(
            f"{source}/model.safetensors is cut short or damaged ({error}); copy, download or export it again"
        ) from error
    except UserError:
        raise
    except LOADING_ERRORS as error:
        raise _unloadable(source, error) from error
    # transformers draws missing weights at random; the mask embedding alone plays no part in a frozen encoder.
    missing = sorted(key for key in found["missing_keys"] if not key.endswith("masked_spec_embed"))
    if missing or found["mismatched_keys"]:
        raise UserError(
            f"the weights in {source} are not whole: {len(missing)} are missing ({', '.join(missing[:3])}), "
            f"{len(found['mismatched_keys'])} have another shape; export or download it again"
        )
    # Heads of other tasks are left over rightly; parts of the encoder are not.
    parts = sorted(key for key in found["unexpected_keys"] if PART.search(key))
    if parts:
        raise UserError(
            f"{source} has weights of the encoder that its config.json has not ({', '.join(parts[:2])}), which would "
            "be left out; download or export it again"
        )
    refuse_not_finite(source, model.state_dict())
    return _checked(model, source)


def _initialised(source: str, seed: int) -> Any:
    import torch
    from transformers import AutoConfig, AutoModel, PretrainedConfig

    import nonverbal.models.ssam  # noqa: F401  (lets transformers know Audio Mamba)
    from nonverbal.models.checkpoints.config_keys import AS_CALLED, check_foreign_code

    try:
        check_foreign_code(source, PretrainedConfig.get_config_dict(source)[0])
        config = AutoConfig.from_pretrained(source, trust_remote_code=False, **AS_CALLED)
    except UserError:
        raise
    except LOADING_ERRORS as error:
        raise _unloadable(source, error) from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch_seed(seed, Stream.INIT))
        return _checked(AutoModel.from_config(config, trust_remote_code=False), source)


def _checked(model: Any, source: str) -> Any:
    reads_waveforms = hasattr(model.config, "conv_kernel") or model.config.model_type == "audio_mamba"
    if not reads_waveforms or not hasattr(model.config, "num_hidden_layers"):
        raise UserError(
            f"{source} is a {model.config.model_type!r} model, which does not read waveforms frame by frame; "
            "give an Audio Mamba or one of the wav2vec2 family (wav2vec2, hubert, wavlm, unispeech-sat, data2vec-audio)"
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

    folder = Path(source)
    try:
        said = normalises(source, folder if folder.is_dir() else None)
        if said is None:
            raise FileNotFoundError(f"there is no preprocessor_config.json in {source}")
    except UserError:
        raise
    except LOADING_ERRORS as error:
        raise _unloadable(source, error) from error
    return said


def _unloadable(source: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:300]
    return UserError(
        f"cannot load the encoder {source!r} ({reason}); expected a folder with config.json, model.safetensors and "
        "preprocessor_config.json (runs/NAME/encoder, say), a Hub id with such files, or logmel"
    )


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
