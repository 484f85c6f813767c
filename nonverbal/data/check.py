"""Whether a folder holds the whole of a corpus: what is missing, extra or unreadable, and what the clips are like."""

import os
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nonverbal.data.audio import AudioProblem, load
from nonverbal.data.corpora import read
from nonverbal.data.corpora.base import Corpus, Found, Skipped, is_audio
from nonverbal.data.progress import progress
from nonverbal.data.scan import start_worker
from nonverbal.errors import UserError
from nonverbal.text import shown

EXAMPLES = 3
"""Paths that are named of each problem."""

LENGTHS = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0)
"""Borders of the histogram, in seconds."""


@dataclass(frozen=True)
class Checked:
    """What was found in a folder of a corpus."""

    files: int
    clips: int
    """Those that can be decoded and those that cannot."""
    problems: dict[str, list[str]]
    """Reason to paths: missing, and what ``AudioProblem`` names."""
    extra: dict[str, list[str]]
    """Reason to paths, of audio files that are no clips of the corpus."""
    classes: dict[str, int]
    """Clips of each label, the largest first; those without one count as ``(no label)``."""
    hours: float
    """Of the clips that can be decoded."""
    sample_rates: dict[int, int]
    """Hz to clips."""
    lengths: list[int]
    """Clips up to each of ``LENGTHS``, and longer ones."""
    speakers: int
    """Different ones; 0 where none is known."""


def check(corpus: Corpus, folder: Path, processes: int) -> Checked:
    """Decode every clip in a folder, over ``processes``, with progress, and keep nothing.

    Raises:
        UserError: the folder is not of this corpus, or a decoder took its process down with it.
    """
    reading = list(read(corpus.name, folder, corpus.name, None))
    found = [file for file in reading if isinstance(file, Found)]
    looks = dict(
        zip((file.path for file in found), _looks([folder / file.path for file in found], processes), strict=True)
    )
    problems: dict[str, list[str]] = {}
    for path, look in looks.items():
        if isinstance(look, str):
            problems.setdefault(look, []).append(path)
    extra: dict[str, list[str]] = {}
    for file in reading:
        if isinstance(file, Skipped) and is_audio(file.path):
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
    )


def histogram(seconds: list[float]) -> list[int]:
    """Count lengths up to and including each of ``LENGTHS``, and beyond the last."""
    counts = [0] * (len(LENGTHS) + 1)
    for length in seconds:
        counts[sum(length > border for border in LENGTHS)] += 1
    return counts


Look = tuple[float, int] | str
"""Seconds and sample rate in Hz, or why there are none."""


def _looks(paths: list[Path], processes: int) -> list[Look]:
    looks: list[Look] = []
    pool = ProcessPoolExecutor(max(min(processes, len(paths)), 1), get_context("forkserver"), initializer=start_worker)
    try:
        with progress("decoding", len(paths), "files") as advance:
            for look in pool.map(_look, paths, chunksize=32):
                looks.append(look)
                advance(1)
    except (BrokenProcessPool, MemoryError) as error:
        raise UserError(
            "a process that decodes audio was ended from outside, by lack of memory perhaps; "
            "run the same command again with fewer --processes"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return looks


def _look(path: Path) -> Look:
    try:
        audio = load(path)
    except AudioProblem as problem:
        return problem.reason
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"unreadable: {error.strerror or os.strerror(error.errno or 0)}"
    return audio.seconds, audio.sample_rate


def print_checked(corpus: Corpus, checked: Checked, console: Console) -> None:
    """Show what was found beside what was expected."""

    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    say(f"clips     {checked.clips}, {number(corpus.clips)} expected" + _missing(corpus, checked))
    say(f"hours     {checked.hours:.2f}, {number(corpus.hours)} expected")
    say(f"speakers  {checked.speakers or 'unknown'}")
    say(f"rates     {counted({f'{rate} Hz': count for rate, count in checked.sample_rates.items()}) or 'none'}")
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
        more = f" and {len(paths) - EXAMPLES} more" if len(paths) > EXAMPLES else ""
        say(f"{title}: {len(paths)}: {', '.join(paths[:EXAMPLES])}{more}")
    if not checked.problems:
        say("every clip can be decoded")
    if corpus.verified:
        say(f"verified of this corpus: {corpus.verified}")


def _missing(corpus: Corpus, checked: Checked) -> str:
    if corpus.clips is None or corpus.clips == checked.clips:
        return ""
    less = corpus.clips - checked.clips
    return f": {abs(less)} {'missing' if less > 0 else 'more'}"


def counted(counts: Mapping[str, int]) -> str:
    """Return names and their counts in one line."""
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def number(value: float | None) -> str:
    """Return a count or hours as people write them."""
    return "unknown" if value is None else f"{value:.2f}" if isinstance(value, float) else f"{value:,}"
