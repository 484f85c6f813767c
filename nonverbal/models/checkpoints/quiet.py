"""Libraries that talk while they load, kept silent: what matters is checked, and said, here."""

import contextlib
from collections.abc import Iterator

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

LOADING_ERRORS = (
    *(ArithmeticError, AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError),
    *(SafetensorError, StrictDataclassError),
)
"""What transformers raises of files, configurations and names of the Hub that it cannot make a model of."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep notes on retries and on heads that are not loaded off the terminal."""
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
