"""Verify a released model: ``nonverbal verify FOLDER_OR_REPO``.

By path: ``python evaluate/verify.py FOLDER_OR_REPO``. Every file is compared with the passport that was written with
the model, and searched for pickles, links, foreign code, paths, tokens and names. Then torch and transformers alone
load the model, in a separate process and an empty folder, and measure it again. The exit code is 1 if something is
wrong.
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.table import Table

from nonverbal import cli, config
from nonverbal.errors import UserError
from nonverbal.files import write_atomically
from nonverbal.paths import PathOrName, check_folder_of
from nonverbal.release.findings import Finding, wrong
from nonverbal.release.hub import download
from nonverbal.release.text_checks import names_in
from nonverbal.release.verify import verify
from nonverbal.terminal import console_of
from nonverbal.text import one_line

WRONG = 1
"""Exit code if something is wrong."""


@dataclass
class VerifyConfig:
    """What to verify, and how."""

    source: PathOrName
    """Folder that `nonverbal release` wrote, or a repository of the Hub, ORGANISATION/NAME, which is downloaded
    completely and removed again. It may come first, without `--source`."""
    revision: str | None = None
    """Branch, tag or commit of a repository. Unset: main."""
    trust_code: bool = False
    """Run the Python code in the folder, which an Audio Mamba needs. Read the code first."""
    python: Path | None = None
    """Python interpreter of another environment with torch and transformers, in which the model is loaded. Unset: this
    one."""
    names: list[Path] = field(default_factory=list)
    """Manifests (.jsonl) of the training data, or lists of names, one per line: no text of the release may contain one
    of these names."""
    all: bool = False
    """Also show the checks that passed."""
    json: Path | None = None
    """File for all findings."""


def main(argv: list[str]) -> None:
    """Verify, show, and write; end with exit code 1 if something is wrong."""
    settings = config.load(
        VerifyConfig, config.with_first(argv, "source"), prog="nonverbal verify", description=__doc__
    )
    check_folder_of(settings.json, "json")
    findings = found_of(settings)
    show(settings.source, findings, settings.all)
    if settings.json is not None:
        rows = [asdict(finding) for finding in findings]
        # In ASCII, because file names may contain bytes that are not valid text.
        write_atomically(settings.json, json.dumps(rows, indent=1) + "\n")
        print(f"wrote {settings.json}")
    if wrong(findings):
        sys.exit(WRONG)


def found_of(settings: VerifyConfig) -> list[Finding]:
    """Verify a folder, or the contents of a repository."""
    names = [name for path in settings.names for name in names_in(path)]
    folder = Path(settings.source)
    if folder.is_dir():
        if settings.revision is not None:
            raise UserError(f"--revision applies only to a repository, but {folder} is a folder; leave it out")
        return verify(folder, settings.trust_code, settings.python, names)
    if settings.source.startswith((".", "/")) or settings.source.count("/") != 1:
        raise UserError(f"there is no folder {settings.source}; give one, or a repository as ORGANISATION/NAME")
    with tempfile.TemporaryDirectory(prefix="nonverbal-verify-") as place:
        fresh = download(settings.source, Path(place, "release"), settings.revision)
        return verify(fresh, settings.trust_code, settings.python, names)


def show(source: str, findings: Sequence[Finding], every: bool) -> None:
    """Print one line per finding: of those that are wrong, or of all."""
    console = console_of(160)
    bad = wrong(findings)
    shown = findings if every else bad
    if shown:
        table = Table("check", "file", "found", "expected", "remedy")
        for finding in shown:
            row = (finding.check, finding.file, finding.value, finding.expected, finding.remedy)
            table.add_row(*(one_line(text).replace("[", r"\[") for text in row), style=None if finding.ok else "bold")
        console.print(table)
    checks = len({finding.check for finding in findings})
    verdict = f"problems found: {len(bad)}" if bad else "nothing is wrong"
    console.print(f"{source}: {verdict}, by {checks} checks", markup=False, soft_wrap=True)


if __name__ == "__main__":
    cli.run(main)
