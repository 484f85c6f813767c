"""Decides for every file: kept, dropped for a reason, or not a clip at all."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonverbal.data.corpora.base import Found, Skipped
from nonverbal.data.index import Split
from nonverbal.data.manifest import Clip
from nonverbal.data.preparing.ledger import Entry
from nonverbal.data.preparing.settings import PrepareConfig, Source, licence_of
from nonverbal.data.preparing.shards import Part
from nonverbal.data.preparing.split import choose_validation, excluded, group_numbers
from nonverbal.data.reading.audio import AudioProblem
from nonverbal.errors import UserError
from nonverbal.text import some_of

STRICT = (*AudioProblem.REASONS, "missing", "mislabelled")
"""Problems that ``strict`` does not accept."""


@dataclass(frozen=True)
class Scanned:
    """A file, and the result of decoding it."""

    corpus: str
    found: Found | Skipped
    row: dict[str, Any]
    """Result of ``scan``; empty if the file was skipped."""
    audio: Path | None
    """Scratch file with its parts."""


def refuse_problems(scanned: list[Scanned]) -> None:
    """Refuse files that ``strict`` does not accept."""
    problems = []
    for item in scanned:
        reasons = [item.row.get("problem"), *item.row.get("notes", [])]
        name = f"{item.corpus}/{item.found.path}"
        name = name if name.isprintable() else repr(name)
        problems += [f"{name} is {reason}" for reason in reasons if reason in STRICT]
    if problems:
        raise UserError(
            f"--strict: {len(problems)} files are not as they should be: {some_of(problems, 5, '; ')}; "
            "repair or remove them, or leave --strict out to have them listed in the ledger"
        )


def decide(
    scanned: list[Scanned], config: PrepareConfig, evaluation: list[Clip]
) -> tuple[list[Entry], list[Clip], list[Part]]:
    """Decide what happens to every file. Returns the ledger, the kept clips, and their parts."""
    readable = [item for item in scanned if item.row and item.row["problem"] is None]
    clips = [_clip(item, config.corpora[item.corpus]) for item in readable]
    # Dropped clips still connect clips that share their samples or recording.
    groups = group_numbers(clips)
    reasons = _drop(clips, excluded(clips, evaluation))
    kept = [i for i, reason in enumerate(reasons) if reason is None]
    validation = choose_validation(
        [clips[i] for i in kept], [groups[i] for i in kept], config.validation_share, config.seed
    )
    entries: list[Entry] = []
    parts: list[Part] = []
    rows = iter(range(len(clips)))
    row_in_manifest = {i: number for number, i in enumerate(kept)}
    for item in scanned:
        if isinstance(item.found, Skipped):
            entries.append(Entry(item.corpus, item.found.path, "skipped", item.found.reason))
            continue
        seconds, notes = item.row["seconds"], item.row["notes"]
        if item.row["problem"] is not None:
            reason, detail = item.row["problem"], item.row["detail"]
            entries.append(Entry(item.corpus, item.found.path, "dropped", reason, detail, seconds, notes=notes))
            continue
        i = next(rows)
        dropped = reasons[i]
        if dropped is not None:
            entries.append(Entry(item.corpus, item.found.path, "dropped", *dropped, seconds, notes=notes))
            continue
        split: Split = "validation" if groups[i] in validation else "train"
        entries.append(Entry(item.corpus, item.found.path, "kept", None, None, seconds, split, groups[i], notes))
        assert item.audio is not None
        for number, (offset, size, samples) in enumerate(item.row["parts"]):
            parts.append(Part(row_in_manifest[i], number, samples, groups[i], split, item.audio, offset, size))
    return entries, [clips[i] for i in kept], parts


def _clip(item: Scanned, source: Source) -> Clip:
    found = item.found
    assert isinstance(found, Found)
    name = f"{item.corpus}/{found.path}"
    return Clip(
        id=name,
        corpus=item.corpus,
        path=found.path,
        start=0.0,
        end=item.row["seconds"],
        sample_rate=item.row["sample_rate"],
        label=found.label,
        speaker=found.speaker,
        session=found.session,
        language=found.language,
        split=found.split,
        text=found.text,
        attributes=found.attributes,
        recording=found.recording or name,
        licence=licence_of(item.corpus, source),
        sha256=item.row["sha256"],
    )


def _drop(clips: list[Clip], out: list[str | None]) -> list[tuple[str, str] | None]:
    """Return (reason, detail) for each clip that is excluded or has the samples of an earlier clip, else None."""
    first: dict[str, Clip] = {}
    reasons: list[tuple[str, str] | None] = []
    for clip, why in zip(clips, out, strict=True):
        if why is not None:
            reasons.append(("excluded", why))
        elif first.setdefault(clip.sha256, clip) is not clip:
            reasons.append(("duplicate", f"the same samples as {first[clip.sha256].id}"))
        else:
            reasons.append(None)
    return reasons
