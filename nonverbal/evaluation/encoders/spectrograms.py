"""Feature extractors of transformers that make spectrograms: read whole, and held to what is computed here."""

from collections.abc import Mapping
from typing import Any

from nonverbal.data.index import SAMPLE_RATE
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders.base import Named
from nonverbal.models.checkpoints.quiet import LOADING_ERRORS, quiet


def extractor_of(named: Named, kind: Any, only: Mapping[str, Any]) -> Any:
    """Return a checkpoint's feature extractor.

    Args:
        named: a folder or name of the Hub.
        kind: its class.
        only: settings that must be these, besides 16 kHz.

    Raises:
        UserError: there is none, it cannot be read, is of another kind, or reads otherwise.
    """
    from nonverbal.models.checkpoints.hugging_face import unloadable

    where = f"preprocessor_config.json in {named.source}"
    if named.folder is not None and not (named.folder / "preprocessor_config.json").is_file():
        raise UserError(
            f"there is no {where}, so nothing says what spectrogram the model reads; download or export it again"
        )
    try:
        with quiet():
            given = dict(kind.get_feature_extractor_dict(named.source)[0])
            found = given.get("feature_extractor_type") or kind.__name__
            if found != kind.__name__:
                raise UserError(f"the {where} asks for {found}, where the model reads {kind.__name__}; export it again")
            extractor = kind.from_dict(given)
    except LOADING_ERRORS as error:
        raise unloadable(named.source, named.folder, error) from error
    for key, value in {"sampling_rate": SAMPLE_RATE, **only}.items():
        # What an extractor does not know it does as transformers always did.
        if getattr(extractor, key, value) != value:
            raise UserError(f"the {where} says {key}: {getattr(extractor, key)!r}, but {value!r} is read here")
    return extractor
