"""Hugging Face datasets: their audio files are copied unchanged into an audiofolder, which any reader here can read.

A dataset is named by its id on the Hub, from which it is streamed, or by a folder that ``save_to_disk`` wrote. Nothing
is decoded, and no code of the dataset is run. Its file names are not used: files are numbered by their rows.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonverbal.data.corpora.attributes import PREFIX, STANDARD, attribute_name, attributes_of
from nonverbal.data.corpora.metadata import columns_said, known_columns
from nonverbal.data.corpora.tables import as_text
from nonverbal.data.manifest import Value
from nonverbal.data.progress import progress
from nonverbal.data.reading.audio import EXTENSIONS
from nonverbal.errors import UserError
from nonverbal.files import locked, read_json, room_for, write_atomically

USUAL = ("label", "speaker", "session", "recording", "language", "text")
"""What may be known about a clip, from columns with these names (``metadata.COLUMNS``) unless others are named."""

ABOUT = "dataset.json"
"""File that says what a folder was copied from."""

BATCH = 16
"""Number of rows in memory at a time."""

MAGIC = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3"}
"""First bytes of audio files, for datasets that do not name their files."""


@dataclass(frozen=True)
class Origin:
    """The rows and columns of a dataset that make a folder."""

    dataset: str
    subset: str | None
    columns: Mapping[str, str]
    """Column by field of ``USUAL``, or ``audio``, if the column has another name."""


def copy_dataset(origin: Origin, folder: Path, say: Callable[[str], None]) -> None:
    """Copy a dataset into ``folder``, or continue to; if the copy is complete, nothing is done.

    Until it is complete, it lies beside ``folder`` under a hidden name. A row without audio gets a row in the metadata
    and no file, so that the ledger lists it as missing.

    Raises:
        UserError: ``folder`` contains something else, the dataset cannot be opened or read, lacks a column, or has
            changed since copying began, or ``datasets`` is not installed.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        about = _refuse_other(folder, origin)
        say(f"{folder}: copied before from {origin.dataset}; {about.get('said', '')}")
        return
    unfinished = folder.with_name(f".{folder.name}.copying")
    with room_for(folder), locked(unfinished, "wait for it, or stop it"):
        version, splits = _open(origin, unfinished)
        _begin(origin, version, unfinished)
        said = "; ".join(dict.fromkeys(_columns_said(origin, split) for split in splits.values()))
        rows, missing = _copy(origin, splits, unfinished)
        write_atomically(unfinished / ABOUT, json.dumps({**_asked(origin), "version": version, "said": said}))
        (unfinished / ".lock").unlink()
        unfinished.replace(folder)
    lacking = f"; {missing} have no audio in the dataset, and the ledger lists them as missing" if missing else ""
    say(f"{folder}: {said}\n{folder}: {rows} rows of {origin.dataset}{lacking}")


def _refuse_other(folder: Path, origin: Origin) -> dict[str, Any]:
    """Return what a folder was copied from, and refuse a folder that was copied from anything but ``origin``."""
    about = _about(folder)
    if about is None:
        raise UserError(
            f"{folder} exists, and is not a copy of {origin.dataset}: name a folder that does not exist yet"
        )
    asked = _asked(origin)
    differ = [f"{key} {about.get(key)!r}, not {value!r}" for key, value in asked.items() if about.get(key) != value]
    if differ:
        raise UserError(f"{folder} was copied with {'; '.join(differ)}: name another folder, or remove this one")
    return about


def _asked(origin: Origin) -> dict[str, Any]:
    return {"dataset": origin.dataset, "subset": origin.subset, "columns": dict(origin.columns)}


def _about(folder: Path) -> dict[str, Any] | None:
    """Return what a folder was copied from; None if it does not say."""
    try:
        about = read_json(folder / ABOUT)
    except (OSError, ValueError):
        return None
    return about if isinstance(about, dict) else None


def _begin(origin: Origin, version: str, unfinished: Path) -> None:
    """Write what is being copied, or check that an interrupted call began to copy the same."""
    asked = {**_asked(origin), "version": version}
    about = _about(unfinished)
    if about is not None and {key: about.get(key) for key in asked} != asked:
        raise UserError(f"{unfinished} holds a part of another dataset or version ({about}): remove it, and run again")
    if about is None:
        write_atomically(unfinished / ABOUT, json.dumps(asked))


def _open(origin: Origin, unfinished: Path) -> tuple[str, dict[str, Any]]:
    """Return the dataset's version, and its splits by name; the name is ``""`` if it has no splits."""
    try:
        import datasets
    except ImportError as error:
        raise UserError(f"{origin.dataset}: Hugging Face datasets need: pip install 'nonverbal[datasets]'") from error
    try:
        opened, version = _saved(origin) if Path(origin.dataset).is_dir() else _streamed(origin, unfinished)
    except UserError:
        raise
    # datasets, and the network libraries below it, raise many kinds of errors.
    except Exception as error:
        raise UserError(
            f"the dataset {origin.dataset} cannot be opened: {_one_line(error)}; give an id on the Hub, and its subset "
            "if it has several (if access is restricted: hf auth login), or a folder that save_to_disk wrote"
        ) from error
    if not isinstance(opened, dict):
        opened = {str(opened.split or ""): opened}
    splits = {name: split for name, split in opened.items() if _is_split(name)}
    if len(splits) < len(opened):
        raise UserError(f"{origin.dataset} names its splits {', '.join(map(repr, opened))}, which cannot be names")
    datasets.disable_progress_bars()
    return version, splits


def _is_split(name: str) -> bool:
    return re.fullmatch(r"(\w[\w.-]*)?", name) is not None


def _saved(origin: Origin) -> tuple[Any, str]:
    import datasets

    folder = Path(origin.dataset)
    if not any((folder / name).is_file() for name in ("dataset_dict.json", "state.json")):
        raise UserError(
            f"{folder} is not a dataset that save_to_disk wrote: expected dataset_dict.json or state.json in it; "
            "for a folder of audio files, name it as the folder, without a dataset"
        )
    if origin.subset is not None:
        raise UserError(f"{folder} was saved to disk, and has no subset {origin.subset!r}: leave subset out")
    opened = datasets.load_from_disk(str(folder))
    splits = opened.values() if isinstance(opened, dict) else [opened]
    for split in splits:
        # Arrow trusts what a file says about its own lengths and offsets, so a damaged file would end the process.
        split.data.table.validate(full=True)
    return opened, "-".join(split._fingerprint for split in splits)


def _streamed(origin: Origin, unfinished: Path) -> tuple[Any, str]:
    import datasets
    from huggingface_hub import HfApi

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", origin.dataset) or origin.dataset.startswith("."):
        raise UserError(f"there is no folder {origin.dataset}, and it is not an id on the Hub, such as owner/name")
    # An interrupted copy is continued from the same commit.
    about = _about(unfinished)
    version = str(about["version"]) if about and "version" in about else HfApi().dataset_info(origin.dataset).sha
    return datasets.load_dataset(origin.dataset, origin.subset, revision=version, streaming=True), str(version)


def _copy(origin: Origin, splits: dict[str, Any], unfinished: Path) -> tuple[int, int]:
    """Copy what has not been copied yet. Returns the number of rows, and how many of them have no audio."""
    done = _done(unfinished / "metadata.jsonl")
    sizes = [_size(split, name) for name, split in splits.items()]
    total = 0 if None in sizes else sum(size for size in sizes if size)
    with progress("copying", total, "rows") as advance, open(unfinished / "metadata.jsonl", "ab") as metadata:
        advance(sum(done.values()))
        for name, split in splits.items():
            columns = _columns(origin, split)
            for number, row in enumerate(_rows(origin, split, columns, done.get(name, 0)), done.get(name, 0)):
                audio = row[columns["audio"]] or {}
                data = _audio(origin, audio)
                file = f"{name or 'rows'}/{number:08}{_extension(audio.get('path'), data)}"
                if data is not None:
                    (unfinished / file).parent.mkdir(exist_ok=True)
                    (unfinished / file).write_bytes(data)
                # If the line exists, so does the file.
                known = _described(row, columns, split.features, f"{origin.dataset}, {name} row {number}")
                metadata.write(json.dumps({"file_name": file, **known, "split": name or None}).encode() + b"\n")
                advance(1)
    with open(unfinished / "metadata.jsonl", "rb") as lines:
        there = [(unfinished / json.loads(line)["file_name"]).exists() for line in lines]
    return len(there), there.count(False)


def _done(metadata: Path) -> dict[str, int]:
    """Count the rows of each split that an interrupted call has copied; an incomplete last line is removed."""
    if not metadata.exists():
        return {}
    whole = 0
    done: dict[str, int] = {}
    with open(metadata, "rb+") as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            split = json.loads(line)["split"] or ""
            done[split] = done.get(split, 0) + 1
        file.truncate(whole)
    return done


def _size(split: Any, name: str) -> int | None:
    """Return the number of rows in a split; None if a streamed split does not say."""
    if hasattr(split, "num_rows"):
        return int(split.num_rows)
    known = (split.info.splits or {}).get(name)
    return int(known.num_examples) if known is not None and known.num_examples else None


def _columns(origin: Origin, split: Any) -> dict[str, str]:
    """Return columns by field, including ``audio``.

    Raises:
        UserError: a named column does not exist or contains more than one value per row, or it is unclear where the
            audio is.
    """
    import datasets

    features = split.features
    if features is None:
        raise UserError(f"{origin.dataset} does not say what its columns are: save it to disk, and name that folder")
    sounds = [name for name, feature in features.items() if isinstance(feature, datasets.Audio)]
    plain = [name for name, feature in features.items() if isinstance(feature, datasets.Value | datasets.ClassLabel)]
    try:
        usual = known_columns(name for name in plain if name not in origin.columns.values())
    except ValueError as error:
        raise UserError(f"{origin.dataset}: {error}, or name the one to take with columns") from error
    columns: dict[str, str] = {}
    for key in USUAL:
        for column in (origin.columns[key],) if key in origin.columns else usual[key]:
            if column in plain:
                columns.setdefault(key, column)
    for column in plain:
        name = None if column in columns.values() else attribute_name(column)
        if name is not None:
            # Under the name that the reader of the copy expects.
            columns.setdefault(name if name in STANDARD else PREFIX + name, column)
    audio = origin.columns.get("audio", sounds[0] if len(sounds) == 1 else None)
    if audio in sounds:
        columns["audio"] = str(audio)
    wrong = [f"{key} {column!r}" for key, column in origin.columns.items() if columns.get(key) != column]
    if wrong or "audio" not in columns:
        raise UserError(
            f"{origin.dataset}: columns {', '.join(wrong) or 'do not say which one is audio'}; columns of audio: "
            f"{', '.join(sounds) or 'none'}; of single values: {', '.join(plain) or 'none'}"
        )
    return columns


def _columns_said(origin: Origin, split: Any) -> str:
    fields = (*USUAL, "audio")
    taken = {key: [column] for key, column in _columns(origin, split).items() if key in fields}
    said = columns_said(taken, [name for name in split.features if name not in taken["audio"]])
    return said if "label" in taken else f"{said}; no column of labels: name it with columns"


def _rows(origin: Origin, split: Any, columns: dict[str, str], skip: int) -> Iterator[dict[str, Any]]:
    """Yield rows from ``skip`` on, with the audio as a file's ``path`` and ``bytes``, either of which may be None."""
    # As Arrow, because the feature Audio requires a decoder even if nothing is to be decoded.
    chosen = split.with_format("arrow").select_columns(list(columns.values())).skip(skip)
    try:
        for table in chosen.iter(batch_size=BATCH):
            yield from table.to_pylist()
    # As above: a broken connection gives an error of requests, httpx, fsspec or Arrow.
    except Exception as error:
        raise UserError(
            f"reading {origin.dataset} failed: {_one_line(error)}; run the same command again to continue"
        ) from error


def _audio(origin: Origin, audio: Mapping[str, Any]) -> bytes | None:
    """Return the bytes of an audio file; None if the dataset has none, or names a file that is not its own."""
    if audio.get("bytes") is not None:
        return bytes(audio["bytes"])
    # A repository of plain files gives their addresses. A dataset must not name a path on this machine.
    own = rf"(zip://[^:]*::)?hf://datasets/{re.escape(origin.dataset)}@[^:]*"
    if not re.fullmatch(own, audio.get("path") or ""):
        return None
    import fsspec

    try:
        with fsspec.open(audio["path"], "rb") as file:
            return bytes(file.read())
    except FileNotFoundError:
        return None
    # As above.
    except Exception as error:
        raise UserError(f"{audio['path']}: {_one_line(error)}; run the same command again to continue") from error


def _extension(path: str | None, data: bytes | None) -> str:
    suffix = Path(path or "").suffix.lower()
    if suffix.lstrip(".") in EXTENSIONS:
        return suffix
    return next((ending for magic, ending in MAGIC.items() if (data or b"").startswith(magic)), "")


def _described(row: dict[str, Any], columns: dict[str, str], features: Any, where: str) -> dict[str, Value | None]:
    """Return what a row says about its clip: a class by its name, or None if it has no class (-1)."""
    known: dict[str, Value | None] = {}
    for key, column in columns.items():
        value = row[column]
        if hasattr(features[column], "int2str") and value is not None:
            if value >= features[column].num_classes:
                raise UserError(f"{where}: {column} is {value}, which is no class of {features[column].num_classes}")
            value = features[column].int2str(value) if value >= 0 else None
        if key == "audio":
            continue
        if key not in USUAL:
            name = str(attribute_name(key))
            known[key] = attributes_of({name: value}).get(name)
            continue
        try:
            known[key] = as_text(value)
        except ValueError as error:
            raise UserError(f"{where}: {column} {error}") from error
    return known


def _one_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", f"{type(error).__name__}: {error}").strip()[:300]
