"""Targets that are what the Hugging Face Hub answers: to a push, and to a download."""

import hashlib
import io
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import unquote, urlsplit

from bench import Target
from hub_sessions import hub_sessions

RELEASE = {"README.md": b"# A model\n", "config.json": b"{}", "passport.json": b"{}"}
REPO, TOKEN, WHEN = "org/model", "hf_writesWritesWritesWritesWritesWrites", "2026-01-02T03:04:05.000Z"
BEFORE, MAIN, HERE = (letter * 40 for letter in "abc")
"""Commits: the first one, that of main, and that of the pull request."""

PATIENCE = 60
"""Requests that are answered; a push needs about 30."""

ROUTES = {
    r"GET /api/whoami-v2": "whoami",
    rf"GET /api/models/{REPO}(/revision/.*)?": "info",
    rf"GET /api/models/{REPO}/tree/main": "tree",
    rf"GET /api/models/{REPO}/tree/.*": "request",
    rf"GET /api/models/{REPO}/commits/.*": "commits",
    rf"GET /api/models/{REPO}/refs": "refs",
    rf"GET /api/models/{REPO}/discussions": "discussions",
    rf"POST /api/models/{REPO}/discussions/\d+/merge": "merge",
    rf"POST /api/models/{REPO}/tag/.*": "tag",
}
"""Requests, and the file of what is answered."""


def _listed(path: str, data: bytes) -> dict[str, Any]:
    git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    return {"type": "file", "path": path, "size": len(data), "oid": git}


def _title(folder: Path) -> str:
    from nonverbal.release.hub_contents import identities_of, key_of
    from nonverbal.release.hub_steps import TITLE

    return TITLE.format(key_of(identities_of(folder)))


def make_answers(folder: Path) -> None:
    """Write a release, and the answers to a push whose files are in a pull request already."""
    for name, data in RELEASE.items():
        (folder / "release").mkdir(exist_ok=True)
        (folder / "release" / name).write_bytes(data)
    siblings = [{"rfilename": name} for name in RELEASE]
    request = {"num": 1, "title": _title(folder / "release"), "status": "open", "author": {"name": "me"}}
    request |= {"createdAt": WHEN, "isPullRequest": True, "repo": {"name": REPO, "type": "model"}}
    tags = [{"name": "v1", "ref": "refs/tags/v1", "targetCommit": BEFORE}]
    answers: dict[str, Any] = {
        "whoami": {"type": "user", "name": "me", "auth": {"accessToken": {"displayName": "x", "role": "write"}}},
        "info": {"id": REPO, "modelId": REPO, "sha": MAIN, "private": True, "siblings": siblings},
        "tree": [_listed("README.md", b"before")],
        "request": [_listed(name, data) for name, data in RELEASE.items()],
        "commits": [
            {"id": one, "authors": [{"user": "me"}], "date": WHEN, "title": "x", "message": ""}
            for one in (HERE, MAIN, BEFORE)
        ],
        "refs": {
            "branches": [],
            "converts": [],
            "tags": tags,
        },
        "discussions": {"count": 1, "start": 0, "discussions": [request]},
        "merge": {},
        "tag": {},
        "headers": {"ETag": '"0123"', "X-Repo-Commit": HERE},
        "statuses": dict.fromkeys([*ROUTES.values(), "download"], 200),
    }
    for name, answer in answers.items():
        (folder / f"{name}.json").write_text(json.dumps(answer))


class Answers:
    """A Hub that answers what files say; a merge lets main hold what the pull request holds."""

    def __init__(self, folder: Path) -> None:
        """Read the answers as they are, JSON or not."""
        self._said = {path.stem: path.read_bytes() for path in folder.glob("*.json")}
        self._heard = 0
        self._files = {name: (folder / "release" / name) for name in RELEASE}

    def __call__(self, method: str, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return the status, headers and body of an answer."""
        self._heard += 1
        if self._heard > PATIENCE:
            # The client asks for another page as long as it is told that there is one.
            raise ConnectionError("the Hub is gone")
        name = next((name for route, name in ROUTES.items() if re.fullmatch(route, f"{method} {path}")), "")
        if name == "merge" and "request" in self._said:
            self._said["tree"] = self._said["request"]
        if name:
            return self._status(name), {"Content-Type": "application/json"}, self._said.get(name, b"{}")
        file = self._files.get(path.rpartition("/")[2])
        if "/resolve/" not in path or file is None or not file.is_file():
            return 404, {"X-Error-Code": "EntryNotFound"}, b"{}"
        data = file.read_bytes()
        return self._status("download"), {"Content-Length": str(len(data)), **self._headers()}, data

    def _status(self, name: str) -> int:
        status = self._json("statuses").get(name, 200)
        return status if type(status) is int and 100 <= status <= 599 else 200

    def _headers(self) -> dict[str, str]:
        # A header is a line of Latin-1.
        given = {
            name: str(value).encode("latin-1", "replace").decode("latin-1")
            for name, value in self._json("headers").items()
        }
        return {name: value.replace("\n", " ").replace("\r", " ").replace("\0", " ") for name, value in given.items()}

    def _json(self, name: str) -> dict[str, Any]:
        try:
            said = json.loads(self._said.get(name, b"{}"))
        except (ValueError, RecursionError):
            return {}
        return said if isinstance(said, dict) else {}


@contextmanager
def answering(answers: Answers) -> Iterator[None]:
    """Let the client of the Hub hear these answers, without a network and without waiting."""
    sessions = hub_sessions(offline=False)
    with sessions, patch("time.sleep"), patch.dict("os.environ", {"HF_TOKEN": TOKEN}), _transport(answers):
        yield


def _transport(answers: Answers) -> Any:
    """Answer in the place of the network: of ``requests``, which the client has up to 0.36, or of ``httpx``."""
    import huggingface_hub

    if hasattr(huggingface_hub, "configure_http_backend"):
        import requests

        def send(_: object, request: Any, **more: object) -> Any:
            said = requests.Response()
            said.url, said.request = request.url, request
            said.status_code, headers, body = answers(request.method, unquote(urlsplit(request.url).path))
            said.headers.update(headers)
            said.raw = io.BytesIO(b"" if request.method == "HEAD" else body)
            return said

        return patch("requests.adapters.HTTPAdapter.send", send)
    import httpx

    def handle(_: object, request: Any) -> Any:
        status, headers, body = answers(request.method, unquote(request.url.path))
        return httpx.Response(status, headers=headers, content=b"" if request.method == "HEAD" else body)

    return patch("httpx.HTTPTransport.handle_request", handle)


def read_push(folder: Path) -> object:
    """Push the release."""
    from nonverbal.release.hub import push

    said = list[str]()
    with answering(Answers(folder)):
        return push(folder / "release", REPO, lambda _: [], say=said.append), said


def read_download(folder: Path) -> object:
    """Download the release."""
    from nonverbal.release.hub import download

    into = folder.parent / "down"
    try:
        with answering(Answers(folder)):
            download(REPO, into)
        return sorted(path.name for path in into.rglob("*"))
    finally:
        shutil.rmtree(into, ignore_errors=True)


FIXED = tuple(f"release/{name}" for name in RELEASE)

TARGETS = [
    Target("push", make_answers, read_push, fixed=FIXED, smoke=20),
    Target("download", make_answers, read_download, smoke=20),
]
