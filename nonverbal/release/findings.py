"""Findings of the checks of a released folder, each with its remedy."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """The result of a check."""

    check: str
    """Name of the check, such as ``changed bit``."""
    ok: bool
    """Whether the check passed."""
    file: str
    """The file, by its path in the folder; empty for the folder itself."""
    value: str
    """What was found."""
    expected: str
    """What was expected."""
    remedy: str
    """What to do; empty if the check passed."""


def wrong(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings of checks that failed."""
    return [finding for finding in findings if not finding.ok]
