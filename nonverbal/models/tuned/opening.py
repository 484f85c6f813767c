"""Encoders to be fine-tuned, by where they are: the kind of a source says which of the readers reads it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from nonverbal.errors import UserError
from nonverbal.models.checkpoints.hugging_face import place_of, read_config
from nonverbal.models.checkpoints.quiet import quiet
from nonverbal.models.tuned.base import Opened, TunedEncoder
from nonverbal.models.tuned.reading import Asked, read_convolutional
from nonverbal.models.tuned.settings import TunedSettings
from nonverbal.models.tuned.waveforms import TunedWaveformEncoder

INITIALISED = "initialised:"
"""Before a source: the same architecture with random weights."""


class _Kind(NamedTuple):
    computed: type[TunedEncoder]
    read: Callable[[Asked], Opened]


KINDS: Mapping[str, _Kind] = {
    "wav2vec2": _Kind(TunedWaveformEncoder, read_convolutional),
    "hubert": _Kind(TunedWaveformEncoder, read_convolutional),
}
"""By ``model_type``."""


def open_tuned(source: str, settings: TunedSettings, seed: int) -> TunedEncoder:
    """Return an encoder as fine-tuning trains it, in float32.

    Args:
        source: a run of ours, or its ``encoder/``; a folder or name of the Hub in Hugging Face format, with a head or
            without; a file of fairseq, fairseq2 or SSAM's authors; or ``initialised:`` before one of these, for its
            architecture with random weights.
        settings: what of it is trained, and how.
        seed: draws weights that are not there, and adapters.

    Raises:
        UserError: it cannot be read whole, is of a kind that is not trained here, or does not fit the settings.
    """
    named = source.removeprefix(INITIALISED)
    path = place_of(named)
    with quiet():
        model_type = _type_of(named, path)
        if model_type not in KINDS:
            raise UserError(
                f"{named} is a {model_type!r} model, which cannot be fine-tuned here; give one of {', '.join(KINDS)}"
            )
        kind = KINDS[model_type]
        opened = kind.read(Asked(source, named, path, model_type, named != source, seed))
        return kind.computed(opened, settings, seed)


def _type_of(source: str, path: Path | None) -> str:
    if path is not None and path.is_file():
        return "wav2vec2"
    return str(read_config(source, path).get("model_type"))
