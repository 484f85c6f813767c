"""Releases on the Hugging Face Hub: a verified folder becomes a repository's main branch in one step, or not at all.

The state of a push is read from the repository, and nothing is stored on this disk: if a push is interrupted, the same
command continues it. All files are uploaded in one commit of a pull request, which is downloaded into a fresh folder
and verified. Then it is merged, which changes main in one step; then main is tagged; finally the repository is made
public.
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
    """Release a folder on the Hub, or continue an interrupted push.

    Args:
        folder: exactly the files of the release.
        repo: ``ORGANISATION/NAME``; created as a private repository if it does not exist.
        verify: checks the folder into which the pull request was downloaded.
        private: whether the repository stays private.
        tag: tag of the release; None: the next of v1, v2, ...
        say: prints a line.

    Returns:
        The address of the release.

    Raises:
        UserError: the message names the repository, what happened, and the remedy. Main is unchanged, or holds the
            complete release.
    """
    api, calls = _opened(repo, tag, say)
    with quiet(calls):
        return Push(api, calls, folder, verify).run(private, tag)


def check_push(repo: str, tag: str | None = None) -> None:
    """Check names and the token before the folder is written.

    Raises:
        UserError: a name is not valid, or there is no token with write access.
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
    """Download a repository into a new or empty folder, without any cache, and return the folder.

    Args:
        repo: ``ORGANISATION/NAME``; a private repository needs the token of a login or HF_TOKEN.
        into: the folder.
        revision: a branch, tag or commit; None: main.

    Raises:
        UserError: the folder is not empty, there is no such repository or revision, or the download fails.
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
