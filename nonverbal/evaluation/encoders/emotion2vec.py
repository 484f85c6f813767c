"""emotion2vec (Ma et al., 2023): data2vec 2.0, pretrained further on emotional speech.

Paper: voc2vec (its features through two linear layers). Home: FunASR, which distributes weights on ModelScope and on
the Hugging Face Hub as folders with config.yaml and a pickle. Download the whole folder, and give its path. FunASR's
own class computes the frames; its pickle is read without running code in it, and its configuration is not evaluated.

Frames are 20 ms long. Layers are all blocks: emotion2vec base has four before FunASR's own count begins, and eight that
it counts. Extra tokens are left out. Waveforms have zero mean and unit variance where the configuration says normalize.
A clip is never padded: the convolutions that encode positions would read the padding.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from nonverbal.errors import UserError
from nonverbal.evaluation.encoders.base import Batching, Kind, Named, Size
from nonverbal.evaluation.encoders.models import WINDOW, ModelEncoder
from nonverbal.evaluation.encoders.waveforms import SHORTEST
from nonverbal.models.checkpoints.quiet import quiet
from nonverbal.seeding import Stream, torch_seed

PUBLISHED = {"emotion2vec/emotion2vec_plus_base": Size(768, 13)}


class Emotion2vecEncoder(ModelEncoder):
    """A model of FunASR."""

    batching: Batching = "equal"
    shortest = SHORTEST

    def __init__(self, named: Named) -> None:
        """Load it, or draw its weights at random.

        Raises:
            UserError: FunASR is not installed, or the model cannot be loaded completely.
        """
        check(named)
        from nonverbal.models.checkpoints.emotion2vec import new_emotion2vec, read_emotion2vec

        folder = Path(named.source)
        with quiet():
            seed = torch_seed(named.seed, Stream.INIT)
            model = new_emotion2vec(folder, seed) if named.initialised else read_emotion2vec(folder)
        self.normalise = bool(model.config.model_conf["normalize"])
        super().__init__(named, "emotion2vec", model, "layer-normalised" if self.normalise else "as it is")

    def inputs(self, waveform: np.ndarray) -> Any:
        """Return ``(T,)``, with zero mean and unit variance if the checkpoint requires that."""
        import torch

        samples = torch.from_numpy(waveform).to(self.device)
        return torch.nn.functional.layer_norm(samples, samples.shape) if self.normalise else samples

    def states(self, inputs: Any) -> list[Any]:
        """Return the hidden states ``(N, S, M)`` of each layer, for waveforms ``(N, T)``."""
        import torch

        with torch.inference_mode():
            states: list[Any] = self.model(inputs)
        return states


def is_of_this_kind(source: str) -> bool:
    """Whether an encoder's name is that of a checkpoint of FunASR."""
    from nonverbal.models.checkpoints.emotion2vec import is_emotion2vec

    return source in PUBLISHED or is_emotion2vec(Path(source))


def check(named: Named) -> None:
    """Raise the ``UserError`` for a package or folder that is missing."""
    if importlib.util.find_spec("funasr") is None:
        raise UserError(
            f"{named.name} is computed by FunASR, which is not installed: pip install 'nonverbal[emotion2vec]'"
        )
    if not Path(named.source).is_dir():
        raise UserError(
            f"{named.source} cannot be read from the Hub, where it is a pickle: download the whole repository (hf "
            f"download {named.source} --local-dir FOLDER), and give the folder"
        )
    from nonverbal.models.checkpoints.emotion2vec import read_settings

    read_settings(Path(named.source))


KINDS = (
    Kind(
        "emotion2vec",
        "emotion2vec, by FunASR",
        Emotion2vecEncoder,
        check,
        SHORTEST,
        WINDOW,
        published=PUBLISHED,
        needs="emotion2vec",
        notes=__doc__ or "",
    ),
)
