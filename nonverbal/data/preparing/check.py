"""Checks whether a corpus is complete: what is missing, extra or unreadable, and what the clips are like."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nonverbal.data.corpora import read
from nonverbal.data.corpora.attributes import summary
from nonverbal.data.corpora.base import Corpus, Count, Found, Skipped
from nonverbal.data.corpora.names import is_audio
from nonverbal.data.preparing.scan import load_from
from nonverbal.data.progress import progress
from nonverbal.data.reading.audio import AudioProblem
from nonverbal.data.workers import over_processes
from nonverbal.text import shown, some_of

EXAMPLES = 3
"""Number of paths that are named for each problem."""

VALUES = 8
"""Number of values of an attribute that are named; the others are counted."""

LENGTHS = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0)
"""Borders of the histogram, in seconds."""


@dataclass(frozen=True)
class Checked:
    """The findings about a folder of a corpus."""

    files: int
    clips: int
    """Number of clips, including those that cannot be decoded."""
    problems: dict[str, list[str]]
    """Paths by reason: missing, and the reasons of ``AudioProblem``."""
    extra: dict[str, list[str]]
    """Paths of audio files and archives that are not clips of the corpus, by reason."""
    classes: dict[str, int]
    """Number of clips by label, the largest first; those without a label count as ``(no label)``."""
    hours: float
    """Hours of the clips that can be decoded."""
    sample_rates: dict[int, int]
    """Number of clips by sample rate in Hz."""
    lengths: list[int]
    """Number of clips up to each of ``LENGTHS``, and of longer ones."""
    speakers: int
    """Number of speakers; 0 if none is known."""
    attributes: dict[str, dict[str, int]]
    """For each attribute, the number of clips by value, the most frequent value first."""


def check(corpus: Corpus, folder: Path, processes: int) -> Checked:
    """Decode every clip in a folder on ``processes`` processes, with progress, and keep nothing.

    Raises:
        UserError: the folder is not of this corpus, a process was ended from outside, or the machine cannot read a
            file.
    """
    reading = list(read(corpus.name, folder, corpus.name, None))
    found = [file for file in reading if isinstance(file, Found)]
    looks = _looks(folder, [file.path for file in found], processes)
    problems: dict[str, list[str]] = {}
    for path, look in looks.items():
        if isinstance(look, str):
            problems.setdefault(look, []).append(path)
    extra: dict[str, list[str]] = {}
    for file in reading:
        if isinstance(file, Skipped) and (is_audio(file.path) or file.path.lower().endswith(".zip")):
            extra.setdefault(file.reason, []).append(file.path)
    good = [look for look in looks.values() if not isinstance(look, str)]
    missing = set(problems.get("missing", []))
    here = [file for file in found if file.path not in missing]
    return Checked(
        files=len(reading) - len(missing),
        clips=len(here),
        problems=problems,
        extra=extra,
        classes=dict(Counter(file.label or "(no label)" for file in here).most_common()),
        hours=sum(seconds for seconds, _ in good) / 3600,
        sample_rates=dict(Counter(rate for _, rate in good).most_common()),
        lengths=histogram([seconds for seconds, _ in good]),
        speakers=len({file.speaker for file in here} - {None}),
        attributes=summary(file.attributes for file in here),
    )


def histogram(seconds: list[float]) -> list[int]:
    """Count lengths up to and including each of ``LENGTHS``, and those beyond the last."""
    counts = [0] * (len(LENGTHS) + 1)
    for length in seconds:
        counts[sum(length > border for border in LENGTHS)] += 1
    return counts


Look = tuple[float, int] | str
"""Seconds and sample rate in Hz, or the reason why there are none."""


def _looks(folder: Path, paths: list[str], processes: int) -> dict[str, Look]:
    looks: dict[str, Look] = {}
    with progress("decoding", len(paths), "files") as advance:
        for done in over_processes(partial(_look, folder), paths, processes):
            looks[done.item] = "unreadable" if done.result is None else done.result
            advance(1)
    return {path: looks[path] for path in paths}


def _look(folder: Path, path: str) -> Look:
    try:
        audio = load_from(folder, path)
    except AudioProblem as problem:
        return problem.reason
    return audio.seconds, audio.sample_rate


def print_checked(corpus: Corpus, checked: Checked, console: Console) -> None:
    """Show the findings beside what was expected."""

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    say(f"clips     {checked.clips}, {number(corpus.clips)} expected" + _missing(corpus, checked))
    say(f"hours     {checked.hours:.2f}, {number(corpus.hours)} expected")
    say(f"speakers  {checked.speakers or 'unknown'}")
    say(f"rates     {counted({f'{rate} Hz': count for rate, count in checked.sample_rates.items()}) or 'none'}")
    for name, values in checked.attributes.items():
        say(f"{shown(name)}: {_values(values)}")
    table = Table("class", "clips", "expected")
    for name in dict.fromkeys([*checked.classes, *corpus.classes]):
        expected = corpus.classes.get(name)
        table.add_row(escape(shown(name)), str(checked.classes.get(name, 0)), "" if expected is None else str(expected))
    console.print(table)
    table = Table("seconds", "clips", "")
    names = [f"up to {LENGTHS[0]:g}", *(f"{low:g} to {high:g}" for low, high in pairwise(LENGTHS))]
    names.append(f"over {LENGTHS[-1]:g}")
    for name, count in zip(names, checked.lengths, strict=True):
        table.add_row(name, str(count), "█" * round(40 * count / max(*checked.lengths, 1)))
    console.print(table)
    for title, paths in (*checked.problems.items(), *((f"extra: {why}", of) for why, of in checked.extra.items())):
        say(f"{title}: {len(paths)}: {some_of(paths, EXAMPLES)}")
    if not checked.problems:
        say("every clip can be decoded")
    if corpus.verified:
        say(f"verified of this corpus: {corpus.verified}")


def _values(values: Mapping[str, int]) -> str:
    """Return the most frequent values of an attribute, each with its number of clips."""
    first = {shown(value): values[value] for value in list(values)[:VALUES]}
    more = f" and {len(values) - VALUES} more values" if len(values) > VALUES else ""
    return f"{counted(first)}{more}; in {sum(values.values())} clips"


def _missing(corpus: Corpus, checked: Checked) -> str:
    if corpus.clips is None:
        return ""
    least, most = corpus.clips if isinstance(corpus.clips, tuple) else (corpus.clips, corpus.clips)
    if checked.clips < least:
        return f": {least - checked.clips} missing"
    return f": {checked.clips - most} more" if checked.clips > most else ""


def counted(counts: Mapping[str, int]) -> str:
    """Return names and their counts in one line."""
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def number(value: Count | float) -> str:
    """Return a count, its range, or hours as people write them."""
    if isinstance(value, tuple):
        return f"{value[0]:,} to {value[1]:,}"
    return "unknown" if value is None else f"{value:.2f}" if isinstance(value, float) else f"{value:,}"
