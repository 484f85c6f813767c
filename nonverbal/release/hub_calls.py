"""Requests to the Hugging Face Hub: temporary faults are retried, and others end in a message with a remedy.

The client is huggingface_hub, 0.36 or newer. Its HTTP errors are those of ``requests`` up to 0.36, and those of
``httpx`` or a successor from 1.0 on. Only one of these libraries is installed, and their errors have no base class in
common, so errors are recognised by the answer that they carry, or by the names of their classes.
"""

import contextlib
import errno
import glob
import json
import logging
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nonverbal.errors import UserError
from nonverbal.files import room_for
from nonverbal.release.contents import leaves
from nonverbal.release.hub_contents import KEPT
from nonverbal.release.tokens import TOKENS
from nonverbal.text import one_line, shown

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

WAITS = (1.0, 4.0)
"""Seconds before each retry. The client itself retries file transfers, for about 20 s."""

PASSING = (408, 425, 429, 500, 502, 503, 504)
"""HTTP status codes of temporary faults."""

CONNECTION = ("RequestException", "TransportError", "HTTPError", "ConnectionError", "TimeoutError", "IncompleteRead")
"""Names of the classes of errors without an answer: those of requests, httpx and Python."""

UNREAD = (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError, RecursionError)
"""What the client raises when an answer lacks a field or has a value of the wrong type."""

HEADER = re.compile(r"(?<=Bearer )\S+")
"""The credential in a request's header, whatever it looks like."""

LOGIN = "log in with `hf auth login`, or set HF_TOKEN; create a token at https://huggingface.co/settings/tokens"


@dataclass(frozen=True)
class Fault:
    """What went wrong with a request.

    Attributes:
        status: HTTP status of the answer; None if there was no answer.
        said: the message of the server or of the connection.
    """

    status: int | None
    said: str

    @property
    def passing(self) -> bool:
        """Whether the fault is temporary, so that the same request may succeed later."""
        return self.status is None or self.status in PASSING


def fault_of(error: BaseException) -> Fault | None:
    """Return the fault of the request behind an error of the client, or behind one of its causes; None if none is."""
    chain: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in chain:
        chain.append(step)
        step = step.__cause__ or step.__context__
    for link in chain:
        response = getattr(link, "response", None)
        if response is not None and getattr(response, "status_code", None):
            return Fault(int(response.status_code), _said(response))
    for link in reversed(chain):
        names = {base.__name__ for base in type(link).__mro__}
        if names & set(CONNECTION) or isinstance(link, json.JSONDecodeError):
            return Fault(None, str(link) or type(link).__name__)
    # The client raises this if a file is shorter than announced.
    short = isinstance(error, OSError) and "Consistency check failed" in str(error)
    return Fault(None, "a file was received only in part") if short else None


def _said(response: Any) -> str:
    """Return the server's message, from a header or from JSON; empty if there is none."""
    if header := response.headers.get("X-Error-Message"):
        return str(header)
    try:
        content = response.json()
    # The body is not JSON; the connection ended before all of it came (OSError of requests); or it was never read
    # (RuntimeError of httpx).
    except (ValueError, OSError, RuntimeError):
        return ""
    said = content.get("error", "") if isinstance(content, dict) else ""
    return ", ".join(map(str, said)) if isinstance(said, list) else str(said)


def _is_unread(error: Exception) -> bool:
    """Whether the client could not read an answer. It takes names of files from answers, so these errors count too."""
    strange = (errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EINVAL)
    return isinstance(error, UNREAD) or (isinstance(error, OSError) and error.errno in strange)


class Calls:
    """Requests about one repository.

    Attributes:
        repo: ``ORGANISATION/NAME``.
        token: appears in no message.
        say: prints a line.
    """

    def __init__(self, repo: str, token: str | None, say: Callable[[str], None]):
        self.repo = repo
        self.token = token
        self._say = say

    def say(self, text: str) -> None:
        """Print a line about the repository."""
        self._say(self.clean(f"{self.repo}: {text}"))

    def clean(self, text: str) -> str:
        """Return a text on one line, without the token and without anything that looks like a token."""
        text = text.replace(self.token, "<token>") if self.token else text
        return one_line(HEADER.sub("<token>", TOKENS.sub("<token>", text)))

    def error(self, text: str) -> UserError:
        """Return an error about the repository."""
        return UserError(self.clean(f"{self.repo}: {text}"))

    def call(self, doing: str, request: Callable[[], T]) -> T:
        """Make a request, and retry it after a temporary fault.

        Args:
            doing: the purpose, for messages: "creating the repository".
            request: must check first whether its work is done, because the answer to an earlier try may have been lost.

        Raises:
            UserError: the message names the repository, what was being done, what went wrong, and the remedy.
        """
        for wait in (*WAITS, None):
            try:
                return request()
            except UserError:
                raise
            # Every kind: the client wraps errors of requests in RuntimeError, ValueError and classes of its own, which
            # differ by version.
            except Exception as error:
                fault = fault_of(error)
                if fault is None:
                    raise self._unread(doing, error) if _is_unread(error) else self._bare(error) from None
                if wait is None or not fault.passing:
                    # Without its causes, which may contain headers.
                    raise self.error(f"{doing} failed: {_what(fault)}; {self._remedy(fault)}") from None
            self.say(f"{doing}: {_what(fault)}; trying again in {wait:g} s")
            time.sleep(wait)
        raise AssertionError

    def _unread(self, doing: str, error: Exception) -> UserError:
        said = str(error)[:200]
        return self.error(
            f"{doing} failed: the client cannot read the Hub's answer ({type(error).__name__}: {said}); run the same "
            "command again, and update huggingface_hub if that does not help"
        )

    def _bare(self, error: Exception) -> Exception:
        """Return an error that is not a fault of the Hub or the network, without the token in its message."""
        return RuntimeError(self.clean(str(error))) if type(error) is RuntimeError else error

    def _remedy(self, fault: Fault) -> str:
        again = "run the same command again: it continues"
        organisation = self.repo.partition("/")[0]
        remedies = {
            401: f"the token is wrong or was revoked: {LOGIN}",
            403: f"give the token write access to {self.repo}, ask the owner of {organisation}, or choose another "
            "--repo",
            404: "check that its name is right, and that the token can see it",
            409: "check the repository, and run the same command again",
            412: f"somebody else changed main: check it, and {again}",
            413: "release smaller files",
            429: f"wait a few minutes, and {again}",
        }
        return remedies.get(fault.status or 0, again)


def _what(fault: Fault) -> str:
    said = fault.said[:300]
    if fault.status is None:
        return f"the connection failed ({said})"
    return f"the Hub answered {fault.status}" + (f" ({said})" if said else "")


@contextlib.contextmanager
def quiet(calls: Calls) -> Iterator[None]:
    """Keep the client from logging upload addresses, which contain signatures.

    Faults are reported by this module. Progress bars are shown only on a terminal. The token is removed from every log
    record, of any library and for any handler.
    """
    client: Any = import_module("huggingface_hub.utils")
    level, hidden = client.logging.get_verbosity(), client.are_progress_bars_disabled()
    make = logging.getLogRecordFactory()

    def cleaned(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if calls.token and calls.token in (text := record.getMessage()):
            record.msg, record.args = calls.clean(text), ()
        return record

    client.logging.set_verbosity_error()
    if not (hidden or sys.stderr.isatty()):
        client.disable_progress_bars()
    logging.setLogRecordFactory(cleaned)
    try:
        yield
    finally:
        logging.setLogRecordFactory(make)
        client.logging.set_verbosity(level)
        if not hidden:
            client.enable_progress_bars()


def _is_long(name: str) -> bool:
    """Whether a name is too long for a file system."""
    return any(len(part.encode("utf-8", "replace")) > 255 for part in name.split("/")) or len(name) > 1000


def fetch(api: "HfApi", calls: Calls, revision: str | None, into: Path) -> None:
    """Download all files of a revision, except those that are not part of a release.

    Raises:
        UserError: the download fails, or a file's name leads out of the folder.
    """

    def fresh() -> None:
        info = api.repo_info(calls.repo, revision=revision)
        names = [str(file.rfilename) for file in info.siblings or []]
        if not isinstance(info.sha, str):
            raise calls.error("the Hub does not say which commit the files belong to; run the same command again")
        if strange := [name for name in names if leaves(name) or "\0" in name or _is_long(name)]:
            raise calls.error(f"the repository has a file {shown(strange[0])}, which leads out of it or is no name")
        # Without an answer, the client would return the files of an earlier try.
        shutil.rmtree(into, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="nonverbal-") as cache:
            api.snapshot_download(
                calls.repo,
                revision=revision,
                local_dir=into,
                cache_dir=cache,
                # The client asks for the names again, and writes wherever they lead.
                allow_patterns=[glob.escape(name) for name in names],
                ignore_patterns=[*KEPT],
                max_workers=4,
            )
        shutil.rmtree(into / ".cache", ignore_errors=True)

    with room_for(into):
        calls.call("downloading", fresh)
