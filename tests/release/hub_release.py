"""A small release to push, and what has become of it on the Hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hub_repositories import WRITE
from hub_server import HubServer, serving
from hub_sessions import hub_sessions

from nonverbal.release import hub_calls
from nonverbal.release.findings import Finding

FILES = {
    "README.md": b"---\nlicense: apache-2.0\n---\n# A model\n",
    "code/modeling.py": b"import torch\n",
    "config.json": b"{}",
    "model.safetensors": bytes(range(256)) * 12,
    "passport.json": b"{}",
}


@contextmanager
def hub_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Serve a Hub, and let the client of this process speak to it, as HF_ENDPOINT would before it is imported.

    The client never waits.
    """
    with serving() as hub, hub_sessions(offline=False):
        monkeypatch.setenv("HF_TOKEN", WRITE)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
        template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        for module in ("constants", "file_download"):
            monkeypatch.setattr(f"huggingface_hub.{module}.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(hub_calls, "WAITS", (0.0, 0.0))
        # The client's own waits.
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        yield hub


def finding(
    check: str = "loads", ok: bool = True, value: str = "", expected: str = "", remedy: str = "", file: str = ""
) -> Finding:
    """What a check found: all well, unless said otherwise."""
    return Finding(check, ok, file, value, expected, remedy)


DRAWN = finding(
    "key drawn at random",
    False,
    "masked_spec_embed",
    "the same weights each time that it is loaded",
    "release the model again",
    "model.safetensors",
)
"""What a check finds if the files lack a weight, which is then drawn at random."""


def write_release(folder: Path) -> Path:
    """Write the release into a new folder, and return it."""
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def released(hub: HubServer, name: str = "org/model") -> tuple[dict[str, bytes], list[str], dict[str, bool], bool]:
    """Return main's files, the states of its pull requests, its tags and whether each is of main, whether private."""
    there = hub.repositories[name]
    tags = {ref.split("/")[-1]: sha == there.resolve("main") for ref, sha in there.refs.items() if "/tags/" in ref}
    return there.files(), [discussion["status"] for discussion in there.discussions], tags, there.private
