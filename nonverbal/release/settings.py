"""The settings of ``nonverbal release``."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from nonverbal.errors import UserError

_PART = r"[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?"
REPO = re.compile(rf"{_PART}/{_PART}", re.ASCII)
"""Names of repositories that the Hub accepts, provided that they contain neither ``--`` nor ``..``."""


@dataclass(kw_only=True)
class ReleaseConfig:
    """Which model is released, and what only a person knows of it."""

    source: Path
    """A run of pretrain, a run of finetune with a --final model, or a folder in Hugging Face format. It may come first,
    without `--source`."""
    repo: str
    """Repository on the Hugging Face Hub, as ORG/NAME. Nothing is sent there without `--push`."""
    out: Path
    """Folder for the release, which is created. Running the same command again replaces it."""
    scores: list[Path] = field(default_factory=list)
    """Score files, or folders, which stand for every scores.jsonl in them. The card shows the rows of exactly these
    weights, and beside them encoders without checkpoints, public ones, and the same architecture with random weights.
    The scores of a fine-tuning run need not be given."""
    data: list[Path] = field(default_factory=list)
    """Folders of shards: those of the run, if they are no longer at the path in the run; and those that the model was
    scored on, whose samples are compared with its training data."""
    base_model: str | None = None
    """Hub id of the checkpoint that the run started from, if the run names a folder or file."""
    acknowledge: list[str] = field(default_factory=list)
    """Corpora and checkpoints with terms on data, such as an agreement, that you know and follow. The card names
    them."""
    i_have_permission: str | None = None
    """Why the model may be released although terms forbid it: who permitted it, and how. The card prints this."""
    language: list[str] = field(default_factory=list)
    """ISO 639 codes of the spoken languages. Unset: sounds without words."""
    description: str | None = None
    """Markdown text for the beginning of the card, or a file with it."""
    citation: str | None = None
    """BibTeX entry, or a file with it."""
    may_name: list[str] = field(default_factory=list)
    """Speakers, named as in the manifests, whose names may appear in the card, because a licence or a citation names
    them, or because they are ordinary words. No other speaker's name may appear."""
    python: list[Path] = field(default_factory=list)
    """Python interpreters of other environments with torch and transformers, in which the model is also measured."""
    push: bool = False
    """Release the folder on the Hub, as a pull request that is downloaded, verified, merged and tagged. The token is
    that of `hf auth login`, or HF_TOKEN. Running the same command again continues an interrupted push."""
    public: bool = False
    """With `--push`: make the repository public, as the last step. Unset: the repository is private."""
    tag: str | None = None
    """With `--push`: tag for the release, such as v1. Unset: the next of v1, v2, ..."""

    def __post_init__(self) -> None:
        """Refuse a name that the Hub would refuse, and an output that would destroy its source."""
        if not REPO.fullmatch(self.repo) or "--" in self.repo or ".." in self.repo or self.repo.endswith(".git"):
            raise UserError(
                f"--repo must be ORG/NAME, each of at most 96 letters, digits, -, _ and ., but is {self.repo!r}"
            )
        if self.out.name in ("", ".."):
            raise UserError(f"--out is {self.out}; give the name of a folder to create")
        out, source = self.out.resolve(), self.source.resolve()
        if out == source or out in source.parents:
            raise UserError(f"--out is {self.out}, which contains the model itself; give another folder")
        if not self.push and (self.public or self.tag is not None):
            raise UserError(f"--{'public' if self.public else 'tag'} applies only with --push; give --push too")

    @property
    def name(self) -> str:
        """The name of the model."""
        return self.repo.partition("/")[2]


def text_of(given: str | None) -> str:
    """Return a text, or the content of the file that it names."""
    if given is None:
        return ""
    try:
        is_file = "\n" not in given and len(given) < 1000 and Path(given).is_file()
        return (Path(given).read_text(encoding="utf-8") if is_file else given).strip()
    except (OSError, ValueError) as error:
        raise UserError(f"{given} cannot be read ({error}); give a text, or a file in UTF-8") from error
