"""What lets somebody in is one and the same in messages, in texts of a release, and in whatever goes up."""

from pathlib import Path

import pytest

from nonverbal.errors import UserError
from nonverbal.release.contents import contents_of
from nonverbal.release.hub_calls import Calls
from nonverbal.release.hub_contents import identities_of
from nonverbal.release.text_checks import check_tokens

LETTERS = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"

SECRET = [
    *(f"hf_{LETTERS[:n]}" for n in (16, 30)),
    *(f"gh{kind}_{LETTERS[:20]}" for kind in "opsu"),
    f"github_pat_{LETTERS[:20]}",
    f"glpat-{LETTERS[:20]}",
    f"sk-{LETTERS[:20]}",
    f"AKIA{LETTERS[:16].upper()}",
    f"AIza{LETTERS[:30]}",
    f"xoxb-{LETTERS[:10]}",
    f"eyJ{LETTERS[:10]}.eyJ{LETTERS[:10]}.{LETTERS[:10]}",
    "-----BEGIN OPENSSH PRIVATE KEY-----",
    "bo:secret",
]

HARMLESS = ["hf_wav2vec2", f"task-{LETTERS}", "https://example.org:80/x@y", "A Bearer", "s3://bucket/a:b", "a:b@c"]


def around(secret: str) -> str:
    """Return a text with a secret in it; a password stands in an address."""
    return f"see https://{secret}@host/x" if secret == "bo:secret" else f"see {secret} there"


@pytest.mark.parametrize(("text", "secret"), [*((one, True) for one in SECRET), *((one, False) for one in HARMLESS)])
def test_messages_texts_and_uploads_know_the_same_tokens(text: str, secret: bool, tmp_path: Path) -> None:
    said = around(text) if secret else text
    cleaned = Calls("org/model", None, print).clean(said)
    assert cleaned == (said.replace(text, "<token>") if secret else said)
    (tmp_path / "README.md").write_text(said)
    found = list(check_tokens(contents_of(tmp_path)))
    assert len(found) == secret
    assert "secret" not in str(found)
    (tmp_path / "README.md").unlink()
    (tmp_path / "model.safetensors").write_bytes(bytes(2**20 - 7) + said.encode() + b"\xff\x00")
    if secret:
        with pytest.raises(UserError, match="contains a token, key or password") as error:
            identities_of(tmp_path)
        assert text not in str(error.value)
    else:
        assert identities_of(tmp_path).keys() == {"model.safetensors"}
