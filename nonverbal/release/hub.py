"""Releases on the Hugging Face Hub: a folder becomes a repository's main branch at once, verified, or not at all.

The repository itself says how far a push has come, so nothing is kept here: whatever ends a push, the same command
continues it. Files go up in one commit of a pull request, which is downloaded into a fresh folder and verified. Only
then is it merged, which main sees as one change, then tagged, and only then made public.
"""

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nonverbal.errors import UserError
from nonverbal.release.hub_calls import LOGIN, Calls, fetch, quiet
from nonverbal.release.hub_steps import ASKING, Push, Verify, user_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TAG = re.compile(r"[A-Za-z0-9](?:[\w.-]*[\w-])?", re.ASCII)


def push(
    folder: Path,
    repo: str,
    verify: Verify,
    private: bool = True,
    tag: str | None = None,
    say: Callable[[str], None] = print,
) -> str:
    """Release a folder on the Hub, or continue to.

    Args:
        folder: exactly the files of the release.
        repo: ``ORGANISATION/NAME``; made, private, where it is not there.
        verify: looks at the folder that the files came down to again.
        private: whether the repository stays private.
        tag: of the commit; None: the next of v1, v2, ...
        say: prints a line.

    Returns:
        The address of the release.

    Raises:
        UserError: names the repository, what happened, and the remedy. Nothing is half released: main is as it was,
            or holds all.
    """
    api, calls = _opened(repo, tag, say)
    with quiet(calls):
        return Push(api, calls, folder, verify).run(private, tag)


def check_push(repo: str, tag: str | None = None) -> None:
    """Look whether there is a token that may write and names are names, before a folder is written to be pushed.

    Raises:
        UserError: as of ``push``.
    """
    api, calls = _opened(repo, tag, lambda _: None)
    with quiet(calls):
        calls.call(ASKING, lambda: user_of(api, calls))


def _opened(repo: str, tag: str | None, say: Callable[[str], None]) -> tuple["HfApi", Calls]:
    from huggingface_hub import HfApi, constants, get_token

    token = get_token()
    calls = Calls(_checked(repo), token, say)
    if tag is not None and not TAG.fullmatch(tag):
        raise calls.error(f"--tag is {tag!r}, but must have letters and digits, with . _ - between them, such as v1")
    if constants.HF_HUB_OFFLINE:
        raise calls.error("HF_HUB_OFFLINE is set, which blocks the network; unset it to push")
    if not token:
        raise calls.error(f"there is no token to push with: {LOGIN}")
    return HfApi(token=token), calls


def download(repo: str, into: Path, revision: str | None = None) -> Path:
    """Download a repository into a folder that is fresh or empty, past every cache, and return it.

    Args:
        repo: ``ORGANISATION/NAME``; a private one by the token of the login or of HF_TOKEN.
        into: the folder.
        revision: a branch, tag or commit; None: main.

    Raises:
        UserError: the folder holds something, there is no such repository or revision, or it does not come down.
    """
    from huggingface_hub import HfApi, get_token

    if into.exists() and any(into.iterdir()):
        raise UserError(f"{into} is not empty; give a folder that does not exist yet")
    token = get_token()
    calls = Calls(_checked(repo), token, lambda _: None)
    with quiet(calls):
        fetch(HfApi(token=token or False), calls, revision, into)
    return into


def _checked(repo: str) -> str:
    from huggingface_hub.errors import HFValidationError

    client: Any = import_module("huggingface_hub.utils")
    try:
        client.validate_repo_id(repo)
    except HFValidationError as error:
        raise UserError(f"--repo: {error}") from None
    if repo.count("/") != 1:
        raise UserError(f"--repo is {repo!r}, but must be ORGANISATION/NAME, or USER/NAME")
    return repo
