"""Targets that are corpora: the tables that the catalog's readers know, and datasets of Hugging Face saved to disk."""

import functools
import shutil
import tempfile
from pathlib import Path

from bench import Target
from miniatures import MINIATURES
from tables_targets import rows_of

TABLED = [name for name, files in MINIATURES.items() if any(text is not None for text in files.values())]
"""Corpora in which a text says what the sounds are."""

SPOKEN = {
    "LibriSpeech/dev-other/84/121123/84-121123-0001.flac": None,
    "LibriSpeech/dev-other/84/121123/84-121123.trans.txt": "84-121123-0001 ONE TWO\n",
}


@functools.cache
def written_catalog() -> dict[str, bytes]:
    """Return a few files of each corpus. Sounds are empty: a reader looks at names and tables alone."""
    corpora = {name: MINIATURES[name] for name in TABLED} | {"librispeech": SPOKEN}
    return {f"{name}/{path}": (text or "").encode() for name, files in corpora.items() for path, text in files.items()}


def make_catalog(folder: Path) -> None:
    """Write them."""
    for name, data in written_catalog().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def read_catalog(folder: Path) -> object:
    """Say of every file of each corpus what it is."""
    from nonverbal.errors import UserError

    said, refused = [], []
    there = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    changed = {path.split("/")[0] for path, _ in there.items() ^ written_catalog().items()}
    for place in sorted(folder.iterdir()):
        # A reader sees its own corpus alone, and takes long to start.
        if changed and place.name not in changed:
            continue
        try:
            said.append(rows_of(place, place.name))
        except UserError as error:
            refused.append(error)
    if refused:
        raise refused[0]
    return said


@functools.cache
def saved_dataset() -> dict[str, bytes]:
    """Return what ``save_to_disk`` writes of a small dataset."""
    import datasets

    sounds = [{"bytes": b"RIFF" + bytes(40), "path": f"{number}.wav"} for number in range(3)]
    features = datasets.Features(
        sound={"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
        label=datasets.ClassLabel(names=["laugh", "cry"]),
        speaker_id=datasets.Value("int64"),
    )
    rows = {"sound": sounds, "label": [0, 1, -1], "speaker_id": [1, 2, None]}
    made = datasets.Dataset.from_dict(rows, features=features).cast_column("sound", datasets.Audio(decode=False))
    with tempfile.TemporaryDirectory() as place:
        datasets.DatasetDict(train=made).save_to_disk(place)
        return {
            path.relative_to(place).as_posix(): path.read_bytes() for path in Path(place).rglob("*") if path.is_file()
        }


def make_dataset(folder: Path) -> None:
    """Write a dataset as ``datasets`` saves it."""
    for name, data in saved_dataset().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def read_dataset(folder: Path) -> object:
    """Copy its files out, as ``nonverbal prepare`` does."""
    from nonverbal.data.corpora.huggingface import Origin, copy_dataset

    place, said = folder.parent / "copied", list[str]()
    try:
        copy_dataset(Origin(str(folder), None, {}), place, said.append)
        return (place / "metadata.jsonl").read_bytes(), said
    finally:
        shutil.rmtree(place, ignore_errors=True)
        shutil.rmtree(place.with_name(".copied.copying"), ignore_errors=True)


TARGETS = [Target("catalog", make_catalog, read_catalog), Target("dataset", make_dataset, read_dataset, smoke=20)]
