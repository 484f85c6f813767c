"""Requests to the Hugging Face Hub: tried again where a fault passes, and told in words where it does not.

The client is huggingface_hub, 0.36 or newer. Its errors are those of ``requests`` up to 0.36, of ``httpx`` and its
successors from 1.0 on, and are known here by what they carry, not by their class.
"""

import contextlib
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
from nonverbal.release.file_checks import leaves
from nonverbal.release.hub_contents import KEPT
from nonverbal.release.tokens import TOKENS
from nonverbal.text import one_line, shown

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

WAITS = (1.0, 4.0)
"""Seconds before each new try. The client itself tries transfers of files again, for some 20 s."""

PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers that may be others a moment later."""

CONNECTION = ("RequestException", "TransportError", "HTTPError", "ConnectionError", "TimeoutError", "IncompleteRead")
"""Classes, by name, of which errors without an answer are: those of requests, httpx and Python."""

UNREAD = (AttributeError, KeyError, IndexError, TypeError, ValueError, OverflowError, RecursionError)
"""What the client raises at an answer that lacks something, or has it of another kind."""

HEADER = re.compile(r"(?<=Bearer )\S+")
"""What a header of a request says that it may, whatever it looks like."""

LOGIN = "log in with `hf auth login`, or set HF_TOKEN; create a token at https://huggingface.co/settings/tokens"


@dataclass(frozen=True)
class Fault:
    """What went wrong with a request.

    Attributes:
        status: of the answer; None where none came.
        said: by the server or the connection.
    """

    status: int | None
    said: str

    @property
    def passing(self) -> bool:
        """Whether the same request may go well a moment later."""
        return self.status is None or self.status in PASSING


def fault_of(error: BaseException) -> Fault | None:
    """Find the request that an error of the client is about: in the error itself, or in what it came from."""
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
    # The client finds a file shorter than was announced.
    short = isinstance(error, OSError) and "Consistency check failed" in str(error)
    return Fault(None, "a file was received only in part") if short else None


def _said(response: Any) -> str:
    """What the server says of it, in a header or as JSON."""
    if header := response.headers.get("X-Error-Message"):
        return str(header)
    try:
        said = response.json().get("error", "")
    except Exception:
        return ""
    return ", ".join(map(str, said)) if isinstance(said, list) else str(said)


class Calls:
    """Requests about one repository.

    Attributes:
        repo: ``ORGANISATION/NAME``.
        token: which is in no message.
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
        """Return a text on one line, without the token and what looks like one."""
        text = text.replace(self.token, "<token>") if self.token else text
        return one_line(HEADER.sub("<token>", TOKENS.sub("<token>", text)))

    def error(self, text: str) -> UserError:
        """Make an error about the repository."""
        return UserError(self.clean(f"{self.repo}: {text}"))

    def call(self, doing: str, request: Callable[[], T]) -> T:
        """Make a request, again where a fault passes.

        Args:
            doing: what it is for, for messages: "creating the repository".
            request: looks first whether it has been done, as the answer to an earlier try may have been lost.

        Raises:
            UserError: names the repository, what was done, what went wrong, and the remedy.
        """
        for wait in (*WAITS, None):
            try:
                return request()
            except UserError:
                raise
            except Exception as error:
                fault = fault_of(error)
                if fault is None:
                    raise self._unread(doing, error) if isinstance(error, UNREAD) else self._bare(error) from None
                if wait is None or not fault.passing:
                    # Without what it came from, which may hold headers.
                    raise self.error(f"{doing} failed: {_what(fault)}; {self._remedy(fault)}") from None
            self.say(f"{doing}: {_what(fault)}; trying again in {wait:g} s")
            time.sleep(wait)
        raise AssertionError

    def _unread(self, doing: str, error: Exception) -> UserError:
        said = str(error)[:200]
        return self.error(
            f"{doing} failed: the Hub answered what its client does not understand ({type(error).__name__}: {said}); "
            "run the same command again, and update huggingface_hub where that does not help"
        )

    def _bare(self, error: Exception) -> Exception:
        """What is neither the Hub's nor the network's fault, without the token in it."""
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
    """Keep the client from logging addresses that files go to, which carry signatures; what fails is told by us.

    Progress is shown to those alone who look on. Whatever is logged all the same, by whom and for whom it may be, is
    without the token.
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
    """Whether a file system has no such name."""
    return any(len(part.encode("utf-8", "replace")) > 255 for part in name.split("/")) or len(name) > 1000


def fetch(api: "HfApi", calls: Calls, revision: str | None, into: Path) -> None:
    """Download all files of a revision, those aside that are not of a release.

    Raises:
        UserError: they do not come down, or a name leads out of the folder.
    """

    def fresh() -> None:
        info = api.repo_info(calls.repo, revision=revision)
        names = [str(file.rfilename) for file in info.siblings or []]
        if not isinstance(info.sha, str):
            raise calls.error("the Hub does not say which commit the files are of; run the same command again")
        if strange := [name for name in names if leaves(name) or "\0" in name or _is_long(name)]:
            raise calls.error(f"the repository has a file {shown(strange[0])}, which leads out of it or is no name")
        # What an earlier try left is not to be taken for an answer, which the client does where it gets none.
        shutil.rmtree(into, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="nonverbal-") as cache:
            api.snapshot_download(
                calls.repo,
                revision=revision,
                local_dir=into,
                cache_dir=cache,
                # The client follows any name, and asks for the names once more.
                allow_patterns=[glob.escape(name) for name in names],
                ignore_patterns=[*KEPT],
                max_workers=4,
            )
        shutil.rmtree(into / ".cache", ignore_errors=True)

    with room_for(into):
        calls.call("downloading", fresh)
