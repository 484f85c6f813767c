"""What is found of a released folder, each finding with its remedy; and what is found by looking at its files alone."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    check: str
    """Its name, such as ``changed bit``."""
    ok: bool
    """Whether all is well."""
    file: str
    """The file that it is of, by its path from the folder; empty for the folder itself."""
    value: str
    """What was found."""
    expected: str
    """What should be there."""
    remedy: str
    """What to do; empty where all is well."""


def wrong(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings of what is not well."""
    return [finding for finding in findings if not finding.ok]
