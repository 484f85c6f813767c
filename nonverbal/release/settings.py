"""What ``nonverbal release`` takes."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from nonverbal.errors import UserError

_PART = r"[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?"
REPO = re.compile(rf"{_PART}/{_PART}", re.ASCII)
"""What the Hub takes as the name of a repository, besides that it has neither ``--`` nor ``..`` in it."""


@dataclass(kw_only=True)
class ReleaseConfig:
    """Which model is released, and what only a person knows of it."""

    source: Path
    """A run of pretrain, one of finetune that has a --final model, or a folder in Hugging Face format; it may stand
    first, without `--source`."""
    repo: str
    """Where it will be on the Hugging Face Hub: ORG/NAME. Nothing is sent there without `--push`."""
    out: Path
    """Folder of the release, which is made. The same command again makes it anew."""
    scores: list[Path] = field(default_factory=list)
    """Files of scores, or folders, which stand for every scores.jsonl in them. Rows of the very weights are shown, and
    beside them encoders without checkpoints, public ones, and the same with random weights. Those of a fine-tuning are
    found."""
    data: list[Path] = field(default_factory=list)
    """Folders of shards: those of the run, where they are not where it says, and those that it was scored on, whose
    samples are compared with what it has heard."""
    base_model: str | None = None
    """Id on the Hub of the checkpoint that it started from, where the run names a folder or file."""
    acknowledge: list[str] = field(default_factory=list)
    """Corpora and checkpoints whose terms on data, such as an agreement, you know and keep to. The card names them."""
    i_have_permission: str | None = None
    """Why a model may be released whose terms forbid it: who has permitted it, and how. The card prints it."""
    language: list[str] = field(default_factory=list)
    """ISO 639 codes of what is spoken; none for sounds without words."""
    description: str | None = None
    """A text in Markdown that opens the card, or a file that holds it."""
    citation: str | None = None
    """BibTeX, or a file that holds it."""
    may_name: list[str] = field(default_factory=list)
    """Speakers, as the manifests call them, whose names may stand in the card: a licence or a citation names them, or
    they are called like a word that stands there. No other may."""
    python: list[Path] = field(default_factory=list)
    """Interpreters of other environments with torch and transformers: the passport has their figures too."""
    push: bool = False
    """Release the folder on the Hub: as a pull request that is downloaded, verified, merged and tagged. The token is
    that of `hf auth login`, or of HF_TOKEN. The same command again continues."""
    public: bool = False
    """With `--push`: for everybody to see, from when all is done. Unset: the repository is private."""
    tag: str | None = None
    """With `--push`: tag of the release, such as v1. Unset: the next of v1, v2, ..."""

    def __post_init__(self) -> None:
        """Refuse a name that the Hub would, and an output that would destroy its source."""
        if not REPO.fullmatch(self.repo) or "--" in self.repo or ".." in self.repo or self.repo.endswith(".git"):
            raise UserError(
                f"--repo must be ORG/NAME of letters, digits, -, _ and ., at most 96 each, but is {self.repo!r}"
            )
        if self.out.name in ("", ".."):
            raise UserError(f"--out is {self.out}; give the name of a folder, which is made")
        out, source = self.out.resolve(), self.source.resolve()
        if out == source or out in source.parents:
            raise UserError(f"--out is {self.out}, which holds the model itself; give a folder of its own")
        if not self.push and (self.public or self.tag is not None):
            raise UserError(f"--{'public' if self.public else 'tag'} says how to push; give --push too")

    @property
    def name(self) -> str:
        """What the model is called."""
        return self.repo.partition("/")[2]


def text_of(given: str | None) -> str:
    """Return a text, or what the file holds that it names."""
    if given is None:
        return ""
    try:
        is_file = "\n" not in given and len(given) < 1000 and Path(given).is_file()
        return (Path(given).read_text(encoding="utf-8") if is_file else given).strip()
    except (OSError, ValueError) as error:
        raise UserError(f"{given} cannot be read ({error}); give a text, or a file of UTF-8") from error
