"""How an encoder reads waveforms, by the settings of the feature extractor beside its weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import ASTFeatureExtractor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from nonverbal.errors import UserError
from nonverbal.files import read_json
from nonverbal.models.checkpoints.hugging_face import unloadable
from nonverbal.models.checkpoints.quiet import LOADING_ERRORS, quiet

SAMPLE_RATE = 16_000
"""Hz, of all waveforms here."""

ALONE, WITHIN = "preprocessor_config.json", "processor_config.json"
"""Where transformers keeps the settings: in a file of their own, or as ``feature_extractor`` among a processor's."""

SIZES = ("feature_size", "num_mel_bins", "n_fft", "hop_length", "chunk_length", "max_length")
LARGEST = 10_000
"""Of any size of a spectrogram: transformers makes room for the filters of as many bands as it is told."""

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
                content = read_json(path)
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


def whisper_extractor(source: str, folder: Path | None) -> WhisperFeatureExtractor:
    """Return a Whisper's feature extractor; see ``_spectral``."""
    only = {"hop_length": 160, "n_fft": 400, "padding_value": 0.0, "dither": 0.0, "do_normalize": False}
    return _spectral(source, folder, WhisperFeatureExtractor, only)


def ast_extractor(source: str, folder: Path | None) -> ASTFeatureExtractor:
    """Return an AST's feature extractor; see ``_spectral``."""
    return _spectral(source, folder, ASTFeatureExtractor, {"padding_value": 0.0})


def check_spectrogram(source: str, made: tuple[int, int], read: tuple[int, int]) -> None:
    """Refuse bands and frames that a feature extractor makes, where its model reads others.

    Raises:
        UserError: they differ.
    """
    if made != read:
        raise UserError(
            f"{source}: its {ALONE} makes {made[0]} bands of {made[1]} frames, but its model reads {read[0]} of "
            f"{read[1]}; export it again"
        )


def _spectral(source: str, folder: Path | None, kind: Any, only: Mapping[str, Any]) -> Any:
    """Return a feature extractor that makes spectrograms.

    Args:
        source: as the user gave it; a name of the Hub where there is no folder.
        folder: in Hugging Face format.
        kind: its class.
        only: settings that must be these, besides 16 kHz.

    Raises:
        UserError: there is none, it cannot be read, is of another kind, or reads otherwise.
    """
    where = f"{ALONE} in {source}"
    if folder is not None and not (folder / ALONE).is_file():
        raise UserError(
            f"there is no {where}, so nothing says what spectrogram the model reads; download or export it again"
        )
    try:
        with quiet():
            given = dict(kind.get_feature_extractor_dict(str(folder or source))[0])
            found = given.get("feature_extractor_type") or kind.__name__
            if found != kind.__name__:
                raise UserError(f"the {where} asks for {found}, where the model reads {kind.__name__}; export it again")
            if large := [key for key in SIZES if isinstance(given.get(key), int | float) and given[key] > LARGEST]:
                raise UserError(f"the {where} says {large[0]}: {given[large[0]]!r}, more than any spectrogram has")
            extractor = kind.from_dict(given)
    except LOADING_ERRORS as error:
        raise unloadable(source, folder, error) from error
    for key, value in {"sampling_rate": SAMPLE_RATE, **only}.items():
        # What an extractor does not know it does as transformers always did.
        if getattr(extractor, key, value) != value:
            raise UserError(f"the {where} says {key}: {getattr(extractor, key)!r}, but {value!r} is read here")
    return extractor
