"""From folders of sound to a folder of shards: scan, ledger, duplicates, exclusion, split, shards."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from nonverbal.config import differences, dump
from nonverbal.data.corpora import CATALOG, VOC125, choose_reader, read
from nonverbal.data.corpora.account import account
from nonverbal.data.corpora.base import Found, Skipped, with_texts
from nonverbal.data.corpora.huggingface import Origin, copy_dataset
from nonverbal.data.corpora.listing import leaves, there
from nonverbal.data.corpora.webdataset import named_tars
from nonverbal.data.index import ShardFolder, open_shards
from nonverbal.data.manifest import Clip, read_manifest
from nonverbal.data.preparing.decide import Scanned, decide, refuse_problems
from nonverbal.data.preparing.ledger import (
    print_summaries,
    read_summaries,
    share_of_voc125,
    summarise,
    write_ledger,
)
from nonverbal.data.preparing.scan import Chunk, chunks, scan
from nonverbal.data.preparing.settings import PrepareConfig, Source, licence_of, require
from nonverbal.data.preparing.shards import Part, write_shards
from nonverbal.data.progress import progress
from nonverbal.errors import UserError
from nonverbal.files import json_lines, locked, read_json, room_for, write_atomically

SHARD = re.compile(r"(train|validation)-\d{6,}\.tar(\.new)?")
"""Matches a shard, complete or unfinished; other files in the folder are left alone."""


def prepare(config: PrepareConfig, say: Callable[[str], None] = print) -> ShardFolder:
    """Make a folder of shards, or continue to, and return it opened. At the end, the ledger is shown.

    The same files, configuration and libraries give the same bytes, on any machine and with any number of processes.

    Raises:
        UserError: a folder does not exist or is not of its corpus, no clip is kept, ``strict`` does not accept a file,
            the folder contains other shards, or the disk is full.
    """
    config = replace(config, corpora={name: _with_tars(name, source) for name, source in config.corpora.items()})
    for name, source in config.corpora.items():
        inside = not leaves(source.folder, os.path.abspath(config.out))
        require(not inside, f"--out {config.out} is in {source.folder}, the corpus {name!r}: choose another folder")
    config = replace(config, corpora={name: _copied(source, say) for name, source in config.corpora.items()})
    here = {name: source for name, source in config.corpora.items() if there(source.folder)}
    if config.absent == "skip":
        folders = ", ".join(str(source.folder) for source in config.corpora.values())
        require(bool(here), f"none of the folders is there: {folders}; say where they are with NAME=FOLDER")
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
    """Return a source of tars with individual names, ``FOLDER/{000..127}.tar``, as their folder with a pattern."""
    found = None if source.dataset else named_tars(source.folder)
    if found is None:
        return source
    require(source.reader in (None, "webdataset"), f"{name} consists of tars, which {source.reader} does not read")
    require(source.pattern is None, f"{name} has a pattern, and tars in folder: name the folder, or leave pattern out")
    return replace(source, folder=found[0], reader="webdataset", pattern=found[1])


def _copied(source: Source, say: Callable[[str], None]) -> Source:
    """Copy a dataset, if the source is one, and return the source as the folder that then contains it."""
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
        refuse_problems(scanned)
    entries, clips, parts = decide(scanned, config, evaluation)
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
    """Return every file of a corpus, in order of path; ``notes`` gets messages for the user about the reading."""
    # Those of a dataset were read when it was copied.
    columns = {} if source.dataset else source.columns
    reading = read(name, source.folder, reader, source.pattern, lambda text: notes.append(f"{name}: {text}"), columns)
    files = sorted(with_texts(name, reading, source.texts), key=lambda file: file.path)
    notes += account(name, files)
    return files


def _chunks(name: str, config: PrepareConfig, files: Iterable[Found | Skipped]) -> list[Chunk]:
    found = [file for file in files if isinstance(file, Found)]
    return chunks(name, config.corpora[name].folder, found, config.max_seconds)


def _fingerprint(work: list[Chunk], files: dict[str, list[Found | Skipped]], evaluation: list[Clip]) -> dict[str, str]:
    """Return what identifies the input: the clips' files, the skipped files, and the evaluation sets."""
    skipped = [(name, file.path, file.reason) for name in files for file in files[name] if isinstance(file, Skipped)]
    contents = {
        "files": [chunk.key() for chunk in work],
        "other files": skipped,
        "excluded manifests": [(clip.sha256, clip.recording) for clip in evaluation],
    }
    return {name: hashlib.sha256(json.dumps(content).encode()).hexdigest() for name, content in contents.items()}


def _finished(config: PrepareConfig, inputs: dict[str, str], say: Callable[[str], None]) -> ShardFolder:
    """Open the shards of an earlier call if they are what this call would make."""
    remedy = "choose another --out, or remove the folder to make it again"
    try:
        before = (config.out / "recipe.yaml").read_text(encoding="utf-8")
        inputs_before = read_json(config.out / ".inputs.json")
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


def _facts(name: str, source: Source, reader: str) -> dict[str, Any]:
    corpus = CATALOG.get(reader)
    return {
        "reader": reader,
        "licence": licence_of(name, source),
        "expected_clips": None if corpus is None else corpus.clips,
        "expected_hours": None if corpus is None else corpus.hours,
    }


def _write(config: PrepareConfig, clips: list[Clip], parts: list[Part]) -> None:
    # Without an index, shards here were left over by an interrupted call.
    for leftover in config.out.iterdir():
        if SHARD.fullmatch(leftover.name):
            leftover.unlink()
    total = sum(part.size for part in parts) // 1_000_000
    with progress("writing", total, "MB") as advance:
        done = 0
        for written in write_shards(config.out, clips, parts, config.shard_megabytes, config.seed):
            # Tars are slightly larger than their content.
            now = min(written // 1_000_000, total)
            advance(now - done)
            done = now
