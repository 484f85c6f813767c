"""What all encoders with weights share: how checkpoints are found, loaded whole, or drawn at random, and run."""

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
"""Seconds: ``max_seconds`` of models that take waveforms of any length. As Whisper's: attention grows as its square."""


class ModelEncoder:
    """All hidden states of a model of transformers or of one of the families; layer 0 is the first block's input."""

    batching: Batching = "any"
    """Which clips may be given to ``many``; of fixed windows, any."""
    one_frame = False
    max_seconds = WINDOW
    shortest = 1

    def __init__(self, named: Named, kind: str, model: Any, reading: str) -> None:
        """Take a model that is to be run, on a GPU where there is one.

        Args:
            named: as the user asked for it.
            kind: its name.
            model: takes what ``inputs`` returns, several stacked, and returns hidden states as transformers do.
            reading: says how waveforms become inputs, as part of the key.
        """
        self.name, self.kind = named.name, kind
        self.model = model.float().eval()
        self.device = device()
        self.key = f"{digest(self.model)}-{reading}-{self.device}"
        self.model.to(self.device)
        self.layers = blocks_of(self.model.config) + 1

    @cached_property
    def dimensions(self) -> int:
        """Values of a frame, as it gives them."""
        return int(self.frames(np.zeros(max(self.shortest, 400), dtype=np.float32)).shape[-1])

    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """Return ``(layers, S, M)``. One clip at a time: no neighbours in a batch."""
        frames: np.ndarray = self.many([waveform])[0].cpu().numpy()
        return frames

    def many(self, waveforms: Sequence[np.ndarray]) -> list[Any]:
        """Return for each waveform what ``frames`` gives of it, as a tensor on the device: see ``batching``.

        The difference is rounding: at most 1e-5 of a layer's RMS (``nonverbal.evaluation.exactness``).
        """
        import torch

        for waveform in waveforms:
            refuse_short(self.name, len(waveform), self.shortest)
        each = self.states_of_each([self.inputs(waveform) for waveform in waveforms])
        # layers x (1, S, M) -> (layers, S, M)
        return [torch.cat(self.own(states, len(w))) for w, states in zip(waveforms, each, strict=True)]

    def states_of_each(self, inputs: list[Any]) -> list[list[Any]]:
        """Return for each of the inputs its hidden states, ``(1, S, M)`` of each layer."""
        import torch

        states = self.states(torch.stack(inputs))
        return [[state[i : i + 1] for state in states] for i in range(len(inputs))]

    def inputs(self, waveform: np.ndarray) -> Any:
        """Return what the model takes of a clip, a tensor on its device without an axis for a batch."""
        raise NotImplementedError

    def states(self, inputs: Any) -> list[Any]:
        """Return the hidden states ``(N, S, M)`` of each layer, of inputs ``(N, ...)``."""
        import torch

        from nonverbal.families.hidden_states import layers_of

        with torch.inference_mode():
            states = layers_of(self.model(inputs, output_hidden_states=True, return_dict=True))
        if len(states) != self.layers:
            raise UserError(f"{self.name} gives {len(states)} layers of hidden states instead of {self.layers}")
        return states

    def own(self, states: list[Any], samples: int) -> list[Any]:
        """Return of states ``(N, S, M)`` the frames that are of a clip of so many samples, in the order of time."""
        return states

    def own_tokens(self, tokens: int, samples: int) -> Any:
        """Return which of a model's tokens its frames are of, of a clip of so many samples: a slice, or places."""
        return slice(None)


def place(source: str) -> str:
    """Return the folder or name of the Hub: of a run, that of its encoder."""
    from nonverbal.models.checkpoints.hugging_face import place_of

    path = place_of(source)
    if path is not None and path.is_file():
        raise UserError(
            f"{source} is a file, but a folder in Hugging Face format is needed; convert it: nonverbal convert "
            f"{source} --to transformers --out FOLDER"
        )
    return source if path is None else str(path)


def model_of(named: Named, spare: tuple[str, ...] = ()) -> Any:
    """Load a model, or draw one of the same configuration.

    Args:
        named: what is asked for.
        spare: beginnings of the names of weights that are not of the encoder, and may be missing.

    Raises:
        UserError: it cannot be loaded, or not whole.
    """
    # They let transformers know their models, without the code that lies beside checkpoints.
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
    """Return where encoders run, in float32."""
    import torch

    set_up_gpus()
    return "cuda" if torch.cuda.is_available() else "cpu"


def _pretrained(named: Named, spare: tuple[str, ...]) -> Any:
    from nonverbal.models.checkpoints.hugging_face import load_whole

    # The mask embedding alone may be drawn: it plays no part in a frozen encoder.
    return load_whole(named.source, named.folder, spare).model


def _initialised(named: Named) -> Any:

    from nonverbal.models.checkpoints.hugging_face import new_model
    from nonverbal.models.drawn import drawn_from

    with drawn_from(named.seed):
        return new_model(named.source, named.folder)
