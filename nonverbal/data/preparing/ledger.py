"""The ledger: what happened to every file, row by row and in total."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from nonverbal.data.corpora import VOC125
from nonverbal.data.corpora.base import Count
from nonverbal.errors import UserError
from nonverbal.files import read_json, write_atomically
from nonverbal.records import read_record


@dataclass(frozen=True)
class Entry:
    """One file of a corpus."""

    corpus: str
    path: str
    action: Literal["kept", "dropped", "skipped"]
    """Kept; a clip, but dropped; or not a clip of the corpus."""
    reason: str | None = None
    """Why it is not kept: a reason of ``AudioProblem``, missing, too_short, duplicate, excluded; or why not a clip."""
    detail: str | None = None
    seconds: float = 0.0
    """Length of the file, if it can be decoded."""
    split: str | None = None
    """train or validation, if it is kept."""
    group: int | None = None
    """Number that clips share if they share a recording, a speaker or samples; only if it is kept."""
    notes: list[str] = field(default_factory=list)
    """Notes on a kept clip: those of ``nonverbal.data.reading.audio.Audio.notes``; mislabelled; cut, into parts."""


@dataclass(frozen=True)
class Summary:
    """The totals of one corpus: files = clips + skipped, clips = kept + dropped."""

    corpus: str
    reader: str
    licence: str
    files: int
    clips: int
    """Number of files that are clips of the corpus, as it is distributed."""
    hours: float
    """Hours of the clips that can be decoded."""
    kept: int
    hours_kept: float
    dropped: dict[str, int]
    hours_dropped: dict[str, float]
    skipped: dict[str, int]
    done: dict[str, int]
    """Number of kept clips by what was done to them."""
    hours_done: dict[str, float]
    groups: int
    train: int
    validation: int
    hours_validation: float
    expected_clips: Count
    """As published; None if no catalog gives a number. In JSON, a range is a list of the lowest and highest number."""
    expected_hours: float | None


@dataclass(frozen=True)
class Kept(Summary):
    """A summary as in JSON."""

    expected_clips: int | list[int] | None  # type: ignore[assignment]


def summarise(entries: Sequence[Entry], corpus: str, **facts: Any) -> Summary:
    """Add up the entries of a corpus; ``facts`` are its reader, its licence and what was expected."""
    mine = [entry for entry in entries if entry.corpus == corpus]
    by_action: dict[str, list[Entry]] = defaultdict(list)
    for entry in mine:
        by_action[entry.action].append(entry)
    kept, dropped, skipped = (by_action[action] for action in ("kept", "dropped", "skipped"))
    in_validation = [entry for entry in kept if entry.split == "validation"]
    return Summary(
        corpus=corpus,
        files=len(mine),
        clips=len(kept) + len(dropped),
        hours=_hours(kept + dropped),
        kept=len(kept),
        hours_kept=_hours(kept),
        dropped=dict(sorted(Counter(str(entry.reason) for entry in dropped).items())),
        hours_dropped=_hours_by(dropped, lambda entry: [str(entry.reason)]),
        skipped=dict(sorted(Counter(str(entry.reason) for entry in skipped).items())),
        done=dict(sorted(Counter(note for entry in kept for note in entry.notes).items())),
        hours_done=_hours_by(kept, lambda entry: entry.notes),
        groups=len({entry.group for entry in kept}),
        train=len(kept) - len(in_validation),
        validation=len(in_validation),
        hours_validation=_hours(in_validation),
        **facts,
    )


def write_ledger(folder: Path, entries: Sequence[Entry], summaries: Sequence[Summary]) -> None:
    """Write ``ledger.jsonl``, one row per file, and ``ledger.json``, one object per corpus."""
    rows = "".join(json.dumps(vars(entry), ensure_ascii=False) + "\n" for entry in entries)
    write_atomically(folder / "ledger.jsonl", rows)
    added_up = {summary.corpus: asdict(summary) for summary in summaries}
    write_atomically(folder / "ledger.json", json.dumps(added_up, indent=1, ensure_ascii=False) + "\n")


def read_summaries(folder: Path) -> list[Summary]:
    """Read ``ledger.json``.

    Raises:
        UserError: it cannot be read, or contains something else.
    """
    path = folder / "ledger.json"
    try:
        content = read_json(path)
        if not isinstance(content, dict):
            raise ValueError(f"it holds {type(content).__name__}")
        read = [read_record(Kept, row, f"of {name}") for name, row in content.items()]
        return [Summary(**{**vars(row), "expected_clips": _count(row.expected_clips)}) for row in read]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a ledger ({error}); prepare the folder again") from error


def _count(value: int | list[int] | None) -> Count:
    if isinstance(value, list):
        if len(value) != 2:
            raise ValueError(f"expected_clips has {len(value)} numbers, not the least and the most")
        return value[0], value[1]
    return value


def print_summaries(summaries: Sequence[Summary]) -> None:
    """Show what was found beside what was expected, what was kept, and what happened to the rest."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(
        title="clips and hours: found/expected, then kept", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for name in ("corpus", "files", "clips", "hours", "kept", "hours", "validation", "groups"):
        table.add_column(name, justify="left" if name == "corpus" else "right", overflow="fold")
    for row in summaries:
        share = row.hours_validation / row.hours_kept if row.hours_kept else 0.0
        table.add_row(
            row.corpus,
            f"{row.files}",
            f"{row.clips}" + _of(row.expected_clips),
            f"{row.hours:.2f}" + ("" if row.expected_hours is None else f"/{row.expected_hours:.2f}"),
            f"{row.kept}",
            f"{row.hours_kept:.2f}",
            f"{row.validation} ({share:.0%})",
            f"{row.groups}",
        )
    console = Console()
    console.print(table)
    for row in summaries:
        for title, counts in (("dropped", row.dropped), ("no clips", row.skipped), ("of those kept", row.done)):
            if counts:
                text = ", ".join(f"{count} {reason}" for reason, count in counts.items())
                console.print(f"{row.corpus}: {title}: {text}", highlight=False, markup=False, soft_wrap=True)


def _of(expected: Count) -> str:
    if expected is None:
        return ""
    return "/{}-{}".format(*expected) if isinstance(expected, tuple) else f"/{expected}"


def share_of_voc125(summaries: Sequence[Summary]) -> str:
    """Return how much of Voc125 (Koudounas et al., ICASSP 2025, Table I) is kept, by the corpora's readers."""
    mine = [summary for summary in summaries if summary.reader in VOC125]
    kept, hours = sum(summary.kept for summary in mine), sum(summary.hours_kept for summary in mine)
    all_clips, all_hours = sum(clips for clips, _ in VOC125.values()), sum(hours for _, hours in VOC125.values())
    return (
        f"of Voc125: {len(mine)} of {len(VOC125)} corpora, {kept:,} of {all_clips:,} clips, "
        f"{hours:.2f} of {all_hours:.2f} hours ({hours / all_hours:.1%})"
    )


def _hours(entries: Sequence[Entry]) -> float:
    return round(sum(entry.seconds for entry in entries) / 3600, 6)


def _hours_by(entries: Sequence[Entry], names: Any) -> dict[str, float]:
    seconds: dict[str, float] = defaultdict(float)
    for entry in entries:
        for name in names(entry):
            seconds[name] += entry.seconds
    return {name: round(total / 3600, 6) for name, total in sorted(seconds.items())}
