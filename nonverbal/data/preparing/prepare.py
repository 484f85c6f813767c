"""From folders of sound to a folder of shards: scan, ledger, duplicates, exclusion, split, shards."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nonverbal.config import differences, dump
from nonverbal.data.corpora import CATALOG, VOC125, choose_reader, read
from nonverbal.data.corpora.account import account
from nonverbal.data.corpora.base import Found, Skipped, leaves
from nonverbal.data.corpora.huggingface import USUAL, Origin, copy_dataset
from nonverbal.data.corpora.listing import there
from nonverbal.data.corpora.webdataset import ADDRESS, named_tars
from nonverbal.data.index import ShardFolder, Split, open_shards
from nonverbal.data.manifest import Clip, read_manifest
from nonverbal.data.preparing.ledger import (
    Entry,
    print_summaries,
    read_summaries,
    share_of_voc125,
    summarise,
    write_ledger,
)
from nonverbal.data.preparing.scan import Chunk, chunks, scan
from nonverbal.data.preparing.shards import Part, write_shards
from nonverbal.data.preparing.split import choose_validation, excluded, group_numbers
from nonverbal.data.progress import progress
from nonverbal.data.reading.audio import AudioProblem
from nonverbal.errors import UserError
from nonverbal.files import json_lines, locked, room_for, write_atomically
from nonverbal.paths import PathOrName

STRICT = (*AudioProblem.REASONS, "missing", "mislabelled")
"""What ``strict`` does not accept."""

SHARD = re.compile(r"(train|validation)-\d{6,}\.tar(\.new)?")
"""A shard, whole or unfinished; what else lies in the folder is left alone."""


@dataclass(frozen=True)
class Source:
    """A folder of sound, or a dataset that is copied into one."""

    folder: Path
    """Where it is, itself or as a zip archive; or where the dataset is copied to. Of WebDataset, also tars in it:
    FOLDER/{000..127}.tar."""
    reader: str | None = None
    """A corpus of the catalog (`nonverbal corpora`), folder (one a class), audiofolder or webdataset. Unset: the
    catalog's where the corpus has its name, audiofolder where there is a metadata.csv or .jsonl, webdataset where there
    are tars and no other audio, else folder."""
    pattern: str | None = None
    """For the reader folder: a regular expression searched in each path relative to the folder; its named groups among
    label, speaker, session, recording, language and text say what a clip is. A file without a match is no clip. For
    the reader webdataset: the tars, relative to the folder, with braces."""
    licence: str | None = None
    """Licence of the clips, by its SPDX name where it has one. Unset: the catalog's, or unknown."""
    dataset: PathOrName | None = None
    """A Hugging Face dataset: its id on the Hub, or a folder that `save_to_disk` wrote. Its audio files are copied."""
    subset: str | None = None
    """Of the dataset, where its id has several (its configuration)."""
    columns: dict[str, str] = field(default_factory=dict)
    """Columns of the dataset that are called otherwise: audio, label, speaker, session, recording, language or text to
    column. Unset: the only one of audio, and those of these names, speaker_id too. Of WebDataset: to a part of each
    sample (txt), or to a value in one (json.speaker.id)."""


def available_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class PrepareConfig:
    """Which folders become shards, and how."""

    out: Path
    """Folder of the shards. The same command again continues, or finds them finished."""
    corpora: dict[str, Source] = field(default_factory=dict)
    """Name to folder, or to WebDataset tars in one. On the command line NAME=FOLDER, NAME='FOLDER/{000..127}.tar'; in a
    recipe, or as --corpora.NAME.KEY, also reader, pattern, licence, columns; dataset and subset of a Hugging Face
    dataset."""
    seed: int = 0
    """Of the split and of the order in the shards."""
    validation_share: float = 0.05
    """Of each corpus's seconds, set aside to validate on; speakers and recordings stay whole."""
    max_seconds: float = 10.0
    """Longest part; a longer clip is cut into the fewest equal parts."""
    exclude: list[Path] = field(default_factory=list)
    """Manifests of evaluation sets, whose clips and recordings are kept out."""
    shard_megabytes: float = 256.0
    """Most audio in a shard, in 10^6 bytes."""
    absent: Literal["refuse", "skip"] = "refuse"
    """What to do about a corpus whose folder or archive is not there: refuse all, or say so and leave it out."""
    processes: int = field(default_factory=available_processors)
    """Processes that decode. The shards do not depend on it."""
    strict: bool = False
    """Stop, before any shard is written, at a file that is missing, unreadable, truncated, empty, silent, mislabelled,
    overloaded (one value drowns the rest) or holds values that are not finite."""

    def __post_init__(self) -> None:
        """Refuse what gives no shards."""
        _require(bool(self.corpora), "no corpora: give at least one NAME=FOLDER")
        for name in self.corpora:
            good = re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name)
            _require(bool(good), f"the corpus {name!r} must be named in lower-case letters, digits, - and _")
            _check_source(name, self.corpora[name])
        _require(self.seed >= 0, f"seed must be at least 0, but is {self.seed}")
        _require(0 <= self.validation_share < 1, f"validation_share must be in [0, 1), but is {self.validation_share}")
        # The table counts a clip's parts in 16 bits, and a clip may have a day.
        _require(2 <= self.max_seconds <= 3600, f"max_seconds must be in [2, 3600], but is {self.max_seconds}")
        _require(self.shard_megabytes > 0, f"shard_megabytes must be above 0, but is {self.shard_megabytes}")
        _require(self.processes >= 1, f"processes must be at least 1, but is {self.processes}")


@dataclass(frozen=True)
class Scanned:
    """A file, and what decoding it gave."""

    corpus: str
    found: Found | Skipped
    row: dict[str, Any]
    """What ``scan`` says; empty where it was skipped."""
    audio: Path | None
    """Scratch file that holds its parts."""


def prepare(config: PrepareConfig, say: Callable[[str], None] = print) -> ShardFolder:
    """Make a folder of shards, or continue to, and return it opened. The ledger is shown at the end.

    The same files, configuration and libraries give the same bytes, wherever and on however many processes.

    Raises:
        UserError: no such folder, no such corpus in it, nothing to keep, a file that ``strict`` does not accept, a
            folder that holds other shards, or a disk that is full.
    """
    config = replace(config, corpora={name: _with_tars(name, source) for name, source in config.corpora.items()})
    for name, source in config.corpora.items():
        inside = not leaves(source.folder, os.path.abspath(config.out))
        _require(not inside, f"--out {config.out} is in {source.folder}, the corpus {name!r}: choose another folder")
    config = replace(config, corpora={name: _copied(source, say) for name, source in config.corpora.items()})
    here = {name: source for name, source in config.corpora.items() if there(source.folder)}
    if config.absent == "skip":
        folders = ", ".join(str(source.folder) for source in config.corpora.values())
        _require(bool(here), f"none of the folders is there: {folders}; say where they are with NAME=FOLDER")
    with room_for(config.out), locked(config.out):
        if config.absent == "refuse":
            return _prepare(config, say)
        shards = _prepare(replace(config, corpora=here), say)
    say(f"absent, and left out: {', '.join(name for name in config.corpora if name not in here) or 'none'}")
    readers = {source.reader or name for name, source in config.corpora.items()}
    if readers >= VOC125.keys():
        say(share_of_voc125(read_summaries(config.out)))
    return shards


def _with_tars(name: str, source: Source) -> Source:
    """Return a source of tars that are named one by one, ``FOLDER/{000..127}.tar``, as their folder with a pattern."""
    found = None if source.dataset else named_tars(source.folder)
    if found is None:
        return source
    _require(source.reader in (None, "webdataset"), f"{name} is of tars, not of what {source.reader} reads")
    _require(source.pattern is None, f"{name} has a pattern, and tars in folder: name the folder, or leave pattern out")
    return replace(source, folder=found[0], reader="webdataset", pattern=found[1])


def _copied(source: Source, say: Callable[[str], None]) -> Source:
    """Copy a dataset, where the source is one, and return the source as the folder that then holds it."""
    if source.dataset is None:
        return source
    copy_dataset(Origin(source.dataset, source.subset, source.columns), source.folder, say)
    return replace(source, reader="audiofolder")


def _prepare(config: PrepareConfig, say: Callable[[str], None]) -> ShardFolder:
    readers = {name: choose_reader(name, source.folder, source.reader) for name, source in config.corpora.items()}
    notes: list[str] = []
    files = {name: _files(name, source, readers[name], notes) for name, source in config.corpora.items()}
    work = [chunk for name in files for chunk in _chunks(name, config, files[name])]
    evaluation = [clip for path in config.exclude for clip in read_manifest(path)]
    inputs = _fingerprint(work, files, evaluation)
    if (config.out / "index.json").exists():
        return _finished(config, inputs, say)

    for note in notes:
        say(note)
    scratch = config.out / ".scratch"
    scratch.mkdir(exist_ok=True)
    scanned = _scan(work, files, scratch, config.processes)
    if config.strict:
        _refuse_problems(scanned)
    entries, clips, parts = _decide(scanned, config, evaluation)
    facts = {name: _facts(name, config.corpora[name], readers[name]) for name in files}
    summaries = [summarise(entries, name, **facts[name]) for name in files]
    write_ledger(config.out, entries, summaries)
    if not clips:
        print_summaries(summaries)
        raise UserError(f"nothing to keep: see {config.out / 'ledger.jsonl'} for the reason of each file")
    write_atomically(config.out / "recipe.yaml", dump(config))
    write_atomically(config.out / ".inputs.json", json.dumps(inputs))
    _write(config, clips, parts)
    shutil.rmtree(scratch)
    print_summaries(summaries)
    say(f"shards: {config.out}")
    return open_shards(config.out)


def _files(name: str, source: Source, reader: str, notes: list[str]) -> list[Found | Skipped]:
    """Every file of a corpus, in the order of their paths; ``notes`` gets what a person should know of the reading."""
    # Those of a dataset were read when it was copied.
    columns = {} if source.dataset else source.columns
    reading = read(name, source.folder, reader, source.pattern, lambda text: notes.append(f"{name}: {text}"), columns)
    files = sorted(reading, key=lambda file: file.path)
    notes += account(name, files)
    return files


def _chunks(name: str, config: PrepareConfig, files: Iterable[Found | Skipped]) -> list[Chunk]:
    found = [file for file in files if isinstance(file, Found)]
    return chunks(name, config.corpora[name].folder, found, config.max_seconds)


def _fingerprint(work: list[Chunk], files: dict[str, list[Found | Skipped]], evaluation: list[Clip]) -> dict[str, str]:
    """Name the input: the clips' files, those skipped, and the evaluation sets."""
    skipped = [(name, file.path, file.reason) for name in files for file in files[name] if isinstance(file, Skipped)]
    contents = {
        "files": [chunk.key() for chunk in work],
        "other files": skipped,
        "excluded manifests": [(clip.sha256, clip.recording) for clip in evaluation],
    }
    return {name: hashlib.sha256(json.dumps(content).encode()).hexdigest() for name, content in contents.items()}


def _finished(config: PrepareConfig, inputs: dict[str, str], say: Callable[[str], None]) -> ShardFolder:
    """Open what an earlier call has made, if it is what this one would make."""
    remedy = "choose another --out, or remove the folder to make it again"
    try:
        before = (config.out / "recipe.yaml").read_text(encoding="utf-8")
        inputs_before = json.loads((config.out / ".inputs.json").read_text(encoding="utf-8"))
        summaries = read_summaries(config.out)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{config.out} holds shards that cannot be compared with this command ({error}); {remedy}"
        ) from error
    free = {"out", "processes", "strict", "absent", *(f"corpora.{name}.folder" for name in config.corpora)}
    changes = differences(before, config, free)
    if changes:
        raise UserError(f"{config.out} holds shards of another recipe ({changes}); {remedy}")
    changed = [name for name in inputs if inputs[name] != inputs_before.get(name)]
    if changed:
        raise UserError(f"{config.out} holds shards of other input ({', '.join(changed)} changed since); {remedy}")
    shards = open_shards(config.out)
    shutil.rmtree(config.out / ".scratch", ignore_errors=True)
    print_summaries(summaries)
    say(f"shards: {config.out} (made before, nothing to do)")
    return shards


def _scan(work: list[Chunk], files: dict[str, list[Found | Skipped]], scratch: Path, processes: int) -> list[Scanned]:
    """Decode all files, with progress, and return them in the order of the corpora and paths."""
    decoded: dict[tuple[str, str], tuple[dict[str, Any], Path]] = {}
    with progress("decoding", sum(len(chunk.files) for chunk in work), "files") as advance:
        for chunk, rows in scan(work, scratch, processes):
            for _, row in json_lines(rows):
                decoded[chunk.corpus, row["file"]["path"]] = row, rows.with_suffix(".flacs")
            advance(len(chunk.files))
    scanned = []
    for name in files:
        for file in files[name]:
            row, audio = decoded[name, file.path] if isinstance(file, Found) else ({}, None)
            scanned.append(Scanned(name, file, row, audio))
    return scanned


def _refuse_problems(scanned: list[Scanned]) -> None:
    problems = []
    for item in scanned:
        reasons = [item.row.get("problem"), *item.row.get("notes", [])]
        name = f"{item.corpus}/{item.found.path}"
        name = name if name.isprintable() else repr(name)
        problems += [f"{name} is {reason}" for reason in reasons if reason in STRICT]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise UserError(
            f"--strict: {len(problems)} files are not as they should be: {'; '.join(problems[:5])}{more}; "
            "repair or remove them, or leave --strict out to have them listed in the ledger"
        )


def _decide(
    scanned: list[Scanned], config: PrepareConfig, evaluation: list[Clip]
) -> tuple[list[Entry], list[Clip], list[Part]]:
    """Say of every file what becomes of it. Returns the ledger, the clips kept, and their parts."""
    readable = [item for item in scanned if item.row and item.row["problem"] is None]
    clips = [_clip(item, config.corpora[item.corpus]) for item in readable]
    # Clips that are dropped still tie together those that share their samples or recording.
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
        licence=_licence(item.corpus, source),
        sha256=item.row["sha256"],
    )


def _drop(clips: list[Clip], out: list[str | None]) -> list[tuple[str, str] | None]:
    """Return (reason, detail) for each clip that is excluded or has the samples of an earlier one, else None."""
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


def _licence(name: str, source: Source) -> str:
    reader = source.reader or name
    catalogued = CATALOG[reader].licence if reader in CATALOG else "unknown"
    return source.licence or catalogued


def _facts(name: str, source: Source, reader: str) -> dict[str, Any]:
    corpus = CATALOG.get(reader)
    return {
        "reader": reader,
        "licence": _licence(name, source),
        "expected_clips": None if corpus is None else corpus.clips,
        "expected_hours": None if corpus is None else corpus.hours,
    }


def _write(config: PrepareConfig, clips: list[Clip], parts: list[Part]) -> None:
    # Without an index, shards here are what an interrupted call left.
    for leftover in config.out.iterdir():
        if SHARD.fullmatch(leftover.name):
            leftover.unlink()
    with progress("writing", sum(part.size for part in parts) // 1_000_000, "MB") as advance:
        done = 0
        for written in write_shards(config.out, clips, parts, config.shard_megabytes, config.seed):
            advance(written // 1_000_000 - done)
            done = written // 1_000_000


def _check_source(name: str, source: Source) -> None:
    address = ADDRESS.match(str(source.folder)) and not source.folder.exists()
    remedy = "get the files first, and name their folder"
    _require(not address, f"{name}: {str(source.folder)!r} is an address or a command, not a folder: {remedy}")
    if source.dataset is None:
        _require(not source.subset, f"{name} has a subset, but no dataset: name it too")
        return
    own = source.reader not in (None, "audiofolder") or source.pattern is not None
    _require(not own, f"{name} is a dataset, which takes no reader and no pattern: leave them out")
    unknown = sorted(source.columns.keys() - {"audio", *USUAL})
    _require(not unknown, f"{name}: columns of {', '.join(unknown)}; they may be of audio, {', '.join(USUAL)}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)
