"""Describes what a reader found, in lines for the terminal: clips, classes, speakers, and possible misspellings."""

from collections import Counter
from collections.abc import Iterable, Sequence

from nonverbal.data.corpora.base import Found, Skipped
from nonverbal.text import shown, some_of

NAMED = 8
"""Number of classes that are named; the others are only counted."""


def account(corpus: str, files: Sequence[Found | Skipped]) -> list[str]:
    """Return the number of clips, their classes, the number of speakers, and names that differ only in case."""
    clips = [file for file in files if isinstance(file, Found)]
    labels = Counter(clip.label for clip in clips if clip.label is not None)
    speakers = {clip.speaker.removeprefix(f"{corpus}:") for clip in clips if clip.speaker is not None}
    unlabelled = len(clips) - labels.total()
    classes = [some_of([f"{shown(name)} {count}" for name, count in labels.most_common()], NAMED)]
    classes += [f"without a label {unlabelled}"] if labels and unlabelled else []
    lines = [
        f"{corpus}: {len(clips)} clips; "
        + (f"labels: {', '.join(classes)}; " if labels else "no labels found; ")
        + (f"speakers: {len(speakers)}" if speakers else "no speakers found")
    ]
    for what, names in (("labels", labels), ("speakers", speakers)):
        if twins := _twins(names):
            lines.append(
                f"{corpus}: {what} that differ only in case, and count as different: {'; '.join(twins[:NAMED])}"
            )
    return lines


def _twins(names: Iterable[str]) -> list[str]:
    alike: dict[str, list[str]] = {}
    for name in sorted(names):
        alike.setdefault(name.casefold(), []).append(shown(name))
    return [", ".join(group) for group in alike.values() if len(group) > 1]
