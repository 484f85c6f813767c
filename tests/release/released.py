"""What tests of released folders share."""

import json
from pathlib import Path

from nonverbal.release import measuring, plain_measure
from nonverbal.release.findings import Finding, wrong
from nonverbal.release.passport import PASSPORT, files_of


def in_this_process(folder: Path, trust: bool = False, python: Path | None = None) -> measuring.Loaded:
    """Measure here, which is quicker than another process."""
    return measuring.read(folder, plain_measure.attempt(str(folder), trust))


def seal(folder: Path) -> None:
    """Give the passport the bits as they are now, so that nothing is found by them."""
    content = json.loads((folder / PASSPORT).read_text())
    (folder / PASSPORT).write_text(json.dumps(content | {"files": files_of(folder)}))


def checks(findings: list[Finding]) -> set[str]:
    return {finding.check for finding in wrong(findings)}
