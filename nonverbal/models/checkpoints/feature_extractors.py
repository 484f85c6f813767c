"""Settings of the feature extractor beside an encoder's weights, which say how the encoder reads waveforms."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import ASTFeatureExtractor, Wav2Vec2FeatureExtractor, WhisperFeatureExtractor

from nonverbal.errors import UserError
from nonverbal.files import read_json
from nonverbal.models.checkpoints.hugging_face import unloadable
from nonverbal.models.checkpoints.quiet import LOADING_ERRORS, quiet

SAMPLE_RATE = 16_000
"""Sample rate of all waveforms here, in Hz."""

ALONE, WITHIN = "preprocessor_config.json", "processor_config.json"
"""transformers' files with the settings: one of their own, or that of a processor, under ``feature_extractor``."""

SIZES = ("feature_size", "num_mel_bins", "n_fft", "hop_length", "chunk_length", "max_length")
LARGEST = 10_000
"""Largest accepted size of a spectrogram, because transformers allocates filters for any number of bands."""

KINDS = (None, "Wav2Vec2FeatureExtractor")
"""Values of ``feature_extractor_type`` for extractors that return waveforms."""


def normalises(source: str, folder: Path | None) -> bool | None:
    """Return whether waveforms are normalised to zero mean and unit variance; None if the folder does not say.

    Args:
        source: as the user gave it; a Hub id if there is no folder.
        folder: in Hugging Face format.

    Raises:
        UserError: the settings cannot be read, are for another extractor or sample rate, or contradict each other; or
            the Hub has no such id.
    """
    given = _in_a_folder(folder) if folder else {source: _on_the_hub(source)}
    read = {_checked(where, settings) for where, settings in given.items()}
    if len(read) > 1:
        # Which of the two files is used depends on the version of transformers.
        raise UserError(f"{ALONE} and {WITHIN} in {folder} differ in do_normalize; delete the one that is wrong")
    return read.pop() if read else None


def _in_a_folder(folder: Path) -> dict[str, Any]:
    """Return the settings by the file that contains them."""
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
    """Return whether waveforms are normalised; missing settings have transformers' defaults."""
    if not isinstance(settings, Mapping):
        raise UserError(f"{where} holds {settings!r}, not a feature extractor's settings; download or export it again")
    said = {**Wav2Vec2FeatureExtractor().to_dict(), "feature_extractor_type": None, **settings}
    if said["feature_extractor_type"] not in KINDS:
        raise UserError(f"{where} is for {said['feature_extractor_type']}, but only encoders of waveforms can be read")
    if said["sampling_rate"] != SAMPLE_RATE:
        raise UserError(
            f"{where} has a sampling_rate of {said['sampling_rate']!r} Hz, but only {SAMPLE_RATE} Hz is supported"
        )
    if said["do_normalize"] not in (False, True):
        raise UserError(f"{where} has do_normalize: {said['do_normalize']!r}; expected true or false; correct it there")
    return bool(said["do_normalize"])


def whisper_extractor(source: str, folder: Path | None) -> WhisperFeatureExtractor:
    """Return the feature extractor of a Whisper; see ``_spectral``."""
    only = {"hop_length": 160, "n_fft": 400, "padding_value": 0.0, "dither": 0.0, "do_normalize": False}
    return _spectral(source, folder, WhisperFeatureExtractor, only)


def ast_extractor(source: str, folder: Path | None) -> ASTFeatureExtractor:
    """Return the feature extractor of an AST; see ``_spectral``."""
    return _spectral(source, folder, ASTFeatureExtractor, {"padding_value": 0.0})


def check_spectrogram(source: str, made: tuple[int, int], read: tuple[int, int]) -> None:
    """Refuse a feature extractor whose bands and frames differ from those that its model reads.

    Raises:
        UserError: they differ.
    """
    if made != read:
        raise UserError(
            f"{ALONE} in {source} gives {made[0]} bands of {made[1]} frames, but its model reads {read[0]} of "
            f"{read[1]}; export it again"
        )


def _spectral(source: str, folder: Path | None, kind: Any, only: Mapping[str, Any]) -> Any:
    """Return a feature extractor that computes spectrograms.

    Args:
        source: as the user gave it; a Hub id if there is no folder.
        folder: in Hugging Face format.
        kind: its class.
        only: required settings, besides 16 kHz.

    Raises:
        UserError: there is none, it cannot be read, has another class, or other settings.
    """
    where = f"{ALONE} in {source}"
    if folder is not None and not (folder / ALONE).is_file():
        raise UserError(
            f"there is no {where}, which describes the spectrogram that the model reads; download or export it again"
        )
    try:
        with quiet():
            given = dict(kind.get_feature_extractor_dict(str(folder or source))[0])
            found = given.get("feature_extractor_type") or kind.__name__
            if found != kind.__name__:
                raise UserError(f"{where} is for {found}, but the model needs {kind.__name__}; export it again")
            if large := [key for key in SIZES if isinstance(given.get(key), int | float) and given[key] > LARGEST]:
                raise UserError(f"{where} has {large[0]}: {given[large[0]]!r}, more than any spectrogram has")
            extractor = kind.from_dict(given)
    except LOADING_ERRORS as error:
        raise unloadable(source, folder, error) from error
    for key, value in {"sampling_rate": SAMPLE_RATE, **only}.items():
        # A setting that an extractor does not have is as it always was in transformers.
        if getattr(extractor, key, value) != value:
            raise UserError(f"{where} has {key}: {getattr(extractor, key)!r}, but only {value!r} is supported")
    return extractor
