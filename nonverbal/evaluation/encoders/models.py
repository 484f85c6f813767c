"""What all encoders with weights share: how models are found, loaded completely or drawn at random, and run."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from nonverbal.errors import UserError
from nonverbal.evaluation.encoders.base import Batching, Named, refuse_short
from nonverbal.models.checkpoints.quiet import quiet
from nonverbal.system import set_up_gpus

WINDOW = 30.0
"""``max_seconds`` of models that take waveforms of any length, as for Whisper: attention grows quadratically."""


class ModelEncoder:
    """All hidden states of a model of transformers or of one of the families; layer 0 is the first block's input."""

    batching: Batching = "any"
    """Which clips may be given to ``many``; any, for fixed windows."""
    one_frame = False
    max_seconds = WINDOW
    shortest = 1

    def __init__(self, named: Named, kind: str, model: Any, reading: str) -> None:
        """Take a model, and put it on a GPU if there is one.

        Args:
            named: the encoder as requested by the user.
            kind: the name of its kind.
            model: takes the stacked results of ``inputs``, and returns hidden states as transformers does.
            reading: a text for the key that describes how waveforms become inputs.
        """
        self.name, self.kind = named.name, kind
        self.model = model.float().eval()
        self.device = device()
        self.key = f"{digest(self.model)}-{reading}-{self.device}"
        self.model.to(self.device)
        self.layers = blocks_of(self.model.config) + 1

    @cached_property
    def dimensions(self) -> int:
        """Number of values per frame that it returns."""
        return int(self.frames(np.zeros(max(self.shortest, 400), dtype=np.float32)).shape[-1])

    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """Return ``(layers, S, M)``, computed for one clip at a time, without others in a batch."""
        frames: np.ndarray = self.many([waveform])[0].cpu().numpy()
        return frames

    def many(self, waveforms: Sequence[np.ndarray]) -> list[Any]:
        """Return for each waveform the result of ``frames``, as a tensor on the device; see ``batching``.

        The results differ by rounding only: at most 1e-5 of a layer's RMS (``nonverbal.evaluation.exactness``).
        """
        import torch

        for waveform in waveforms:
            refuse_short(self.name, len(waveform), self.shortest)
        each = self.states_of_each([self.inputs(waveform) for waveform in waveforms])
        # layers x (1, S, M) -> (layers, S, M)
        return [torch.cat(self.own(states, len(w))) for w, states in zip(waveforms, each, strict=True)]

    def states_of_each(self, inputs: list[Any]) -> list[list[Any]]:
        """Return the hidden states of each input, ``(1, S, M)`` for each layer."""
        import torch

        states = self.states(torch.stack(inputs))
        return [[state[i : i + 1] for state in states] for i in range(len(inputs))]

    def inputs(self, waveform: np.ndarray) -> Any:
        """Return the model's input for a clip, a tensor on its device without a batch axis."""
        raise NotImplementedError

    def states(self, inputs: Any) -> list[Any]:
        """Return the hidden states ``(N, S, M)`` of each layer, for inputs ``(N, ...)``."""
        import torch

        from nonverbal.families.hidden_states import layers_of

        with torch.inference_mode():
            states = layers_of(self.model(inputs, output_hidden_states=True, return_dict=True))
        if len(states) != self.layers:
            raise UserError(f"{self.name} gives {len(states)} layers of hidden states instead of {self.layers}")
        return states

    def own(self, states: list[Any], samples: int) -> list[Any]:
        """Return which of the states ``(N, S, M)`` belong to a clip of ``samples`` samples, in the order of time."""
        return states

    def own_tokens(self, tokens: int, samples: int) -> Any:
        """Return which of a model's tokens belong to a clip of ``samples`` samples: a slice, or positions."""
        return slice(None)


def place(source: str) -> str:
    """Return the folder or Hub id of an encoder; for a run, the folder of its encoder."""
    from nonverbal.models.checkpoints.hugging_face import place_of

    path = place_of(source)
    if path is not None and path.is_file():
        raise UserError(
            f"{source} is a file, but a folder in Hugging Face format is needed; convert it: nonverbal convert "
            f"{source} --to transformers --out FOLDER"
        )
    return source if path is None else str(path)


def model_of(named: Named, spare: tuple[str, ...] = ()) -> Any:
    """Load a model, or draw the weights of one with the same configuration.

    Args:
        named: the encoder as requested.
        spare: prefixes of the names of weights that do not belong to the encoder, and may be missing.

    Raises:
        UserError: it cannot be loaded, or not completely.
    """
    # This registers the families' models with transformers, so that code beside checkpoints is not needed.
    import nonverbal.families  # noqa: F401

    with quiet():
        return _initialised(named) if named.initialised else _pretrained(named, spare)


def blocks_of(config: Any) -> int:
    """Return the number of an encoder's blocks."""
    return int(config.encoder_layers if config.model_type == "whisper" else config.num_hidden_layers)


def digest(model: Any) -> str:
    """Return the SHA-256 of a model's configuration and weights, wherever they were loaded from."""
    volatile = {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures"}
    config = {key: value for key, value in model.config.to_diff_dict().items() if key not in volatile}
    found = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def device() -> str:
    """Return the device on which encoders run, in float32."""
    import torch

    set_up_gpus()
    return "cuda" if torch.cuda.is_available() else "cpu"


def _pretrained(named: Named, spare: tuple[str, ...]) -> Any:
    from nonverbal.models.checkpoints.hugging_face import load_whole

    # Only the mask embedding may be drawn at random, because a frozen encoder does not use it.
    return load_whole(named.source, named.folder, spare).model


def _initialised(named: Named) -> Any:

    from nonverbal.models.checkpoints.hugging_face import new_model
    from nonverbal.models.drawn import drawn_from

    with drawn_from(named.seed):
        return new_model(named.source, named.folder)
