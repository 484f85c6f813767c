"""Silences libraries that print while they load; this package checks and reports what matters."""

import contextlib
from collections.abc import Iterator

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

LOADING_ERRORS = (
    *(
        ArithmeticError,
        AssertionError,
        AttributeError,
        ImportError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
    ),
    *(SafetensorError, StrictDataclassError),
)
"""Exceptions of transformers for files, configurations and Hub ids from which it cannot build a model."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress notes on retries and on heads that are not loaded."""
    from huggingface_hub.utils import logging as hub
    from transformers.utils import logging as transformers

    loggers = (hub, hub.get_verbosity()), (transformers, transformers.get_verbosity())
    for logger, _ in loggers:
        logger.set_verbosity_error()
    try:
        yield
    finally:
        for logger, verbosity in loggers:
            logger.set_verbosity(verbosity)
