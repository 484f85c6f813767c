"""The sessions that the Hub's client keeps in a process."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from huggingface_hub import utils


@contextmanager
def hub_sessions(offline: bool) -> Iterator[None]:
    """Let the client use the network or not, whatever the environment says, in sessions of its own.

    Up to 0.36, a session that was opened offline stays offline.
    """
    close = getattr(utils, "reset_sessions" if hasattr(utils, "reset_sessions") else "close_session")
    close()
    try:
        with patch("huggingface_hub.constants.HF_HUB_OFFLINE", offline):
            yield
    finally:
        close()
