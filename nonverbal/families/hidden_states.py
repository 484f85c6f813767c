"""Hidden states of encoders by layer."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from nonverbal.families.base import Encoders, States
from nonverbal.models.checkpoints.base import Checkpoint
from nonverbal.models.wav2vec2 import normalised


def fixed_signal() -> np.ndarray:
    """Return 2 s of a synthetic laugh, ``(T,)`` float32, the same on all machines."""
    from nonverbal.data.synthetic import vocal_sound

    return np.resize(vocal_sound("laugh", speaker=0, take=0, seed=0), 32_000)


def prepared(waveform: np.ndarray, normalise: bool) -> Tensor:
    """Return the waveform ``(1, T)`` as the input of an encoder."""
    samples = torch.from_numpy(waveform)[None]
    return normalised(samples, torch.tensor([samples.shape[1]])) if normalise else samples


def states_of(model: Any, inputs: Tensor) -> States:
    """Return the hidden states for ``(1, T)`` of an encoder with transformers' interface."""
    with torch.inference_mode():
        return [state[0] for state in layers_of(model(inputs, output_hidden_states=True, return_dict=True))]


def layers_of(output: Any) -> States:
    """Return the hidden states ``(N, S, M)`` of a model without an adapter; the last is the encoder's output.

    A pre-norm encoder ends with a LayerNorm. The last of the hidden states is taken before it in transformers 5, and
    after it in transformers 4.
    """
    return [*output.hidden_states[:-1], output.last_hidden_state]


def own_states(kind: Encoders, checkpoint: Checkpoint, inputs: Tensor) -> tuple[States, str]:
    """Return the hidden states, computed by the implementation of the file's format if installed, and its name."""
    if kind.states is not None:
        return kind.states(checkpoint, inputs)
    return states_of(kind.encoder(checkpoint), inputs), "this toolkit"
