"""How an encoder reads waveforms, by the settings of the feature extractor beside its weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import Wav2Vec2FeatureExtractor

from nonverbal.errors import UserError
from nonverbal.models.checkpoints.hugging_face import unloadable
from nonverbal.models.checkpoints.quiet import LOADING_ERRORS

SAMPLE_RATE = 16_000
"""Hz, of all waveforms here."""

ALONE, WITHIN = "preprocessor_config.json", "processor_config.json"
"""Where transformers keeps the settings: in a file of their own, or as ``feature_extractor`` among a processor's."""

KINDS = (None, "Wav2Vec2FeatureExtractor")
"""Extractors that give waveforms, by ``feature_extractor_type``."""


def normalises(source: str, folder: Path | None) -> bool | None:
    """Return whether waveforms are brought to zero mean and unit variance; None where the folder does not say.

    Args:
        source: as the user gave it; a name of the Hub where there is no folder.
        folder: in Hugging Face format.

    Raises:
        UserError: the settings cannot be read, are of another extractor or sample rate, or contradict each other; the
            Hub has none of this name.
    """
    given = _in_a_folder(folder) if folder else {source: _on_the_hub(source)}
    read = {_checked(where, settings) for where, settings in given.items()}
    if len(read) > 1:
        # Which of the two counts hangs on the version of transformers.
        raise UserError(f"{folder}: {ALONE} and {WITHIN} differ in do_normalize; delete the one that is not meant")
    return read.pop() if read else None


def _in_a_folder(folder: Path) -> dict[str, Any]:
    """Return the settings by the file in which they stand."""
    found = {}
    for path in (folder / ALONE, folder / WITHIN):
        if path.is_file():
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise UserError(f"{path} is not valid JSON ({error}); download or export it again") from error
            within = content.get("feature_extractor") if isinstance(content, dict) else None
            if path.name == ALONE or within is not None:
                found[str(path)] = content if within is None else within
    return found


def _on_the_hub(name: str) -> Any:
    try:
        return Wav2Vec2FeatureExtractor.get_feature_extractor_dict(name)[0]
    except LOADING_ERRORS as error:
        raise unloadable(name, None, error) from error


def _checked(where: str, settings: Any) -> bool:
    """Return whether waveforms are normalised; what is not said is as transformers has it."""
    if not isinstance(settings, Mapping):
        raise UserError(f"{where} holds {settings!r}, not a feature extractor's settings; download or export it again")
    said = {**Wav2Vec2FeatureExtractor().to_dict(), "feature_extractor_type": None, **settings}
    if said["feature_extractor_type"] not in KINDS:
        raise UserError(f"{where} asks for {said['feature_extractor_type']}, but waveforms as they are are read here")
    if said["sampling_rate"] != SAMPLE_RATE:
        raise UserError(
            f"{where} asks for {said['sampling_rate']!r} Hz, but waveforms of {SAMPLE_RATE} Hz are read here"
        )
    if said["do_normalize"] not in (False, True):
        raise UserError(f"{where} says do_normalize: {said['do_normalize']!r}, which is neither true nor false")
    return bool(said["do_normalize"])
