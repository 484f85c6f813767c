"""Lists what is in a corpus's folder: the files that readers see, and those that are skipped, with the reason."""

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

from nonverbal.data.corpora.names import hidden
from nonverbal.data.corpora.twins import Packed, find_twins
from nonverbal.data.reading.archives import DamagedArchive, contents, is_archive, is_link
from nonverbal.errors import UserError

HIDDEN = "hidden, or a system's own"
LEAVES = "a link that leaves the folder"
LINK = "a link in an archive, which is not followed"
NESTED = "an archive in an archive: unpack the outer one to have it read"
EMPTY = "an archive without files"
DAMAGED = "an archive that cannot be read; a folder of its name lies beside it"
UNREADABLE = "an archive that cannot be read"

Row = tuple[str, str | None]
"""A path, relative to the folder, and the reason if it is skipped."""


def there(folder: Path) -> bool:
    """Whether files can be read from a path: it is a folder, or a zip archive."""
    return folder.is_dir() or is_archive(folder)


def files(folder: Path) -> Iterator[str]:
    """Yield the files under ``folder`` that readers see, relative to it, in sorted order.

    A zip archive is represented by its members; ``folder`` may itself be an archive. Links to folders are not followed,
    and count as files.

    Raises:
        UserError: a folder cannot be listed, or an archive is damaged.
    """
    return (path for path, reason in survey(folder) if reason is None)


def passed_over(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the other files, which no reader sees, with the reason: see ``survey``."""
    return ((path, reason) for path, reason in survey(folder) if reason is not None)


def survey(folder: Path) -> list[Row]:
    """Return every file, with the reason if it is skipped.

    Hidden files, archives within archives, and members of an archive that also exist unpacked or in an earlier archive
    are skipped. A damaged archive is ``UNREADABLE``.

    Raises:
        UserError: a folder cannot be listed, an archive cannot be trusted, or there is only a damaged archive.
    """
    if is_archive(folder):
        return [(name, _why_not(name, info)) for name, info in sorted(contents(folder).items())]
    rows: list[Row] = []
    packed: dict[str, Packed] = {}
    damage: DamagedArchive | None = None
    for path in _walk(folder):
        if hidden(path):
            rows.append((path, HIDDEN))
        elif not is_archive(folder / path):
            rows.append((path, None))
        elif leaves(folder, path):
            rows.append((path, LEAVES))
        else:
            try:
                packed[path] = dict(contents(folder / path))
            except DamagedArchive as error:
                damage = error
                rows.append((path, DAMAGED if _has_folder(folder, path) else UNREADABLE))
                continue
            rows += _members(path, packed[path])
    if damage is not None and not any(reason is None for _, reason in rows):
        raise damage
    return _without_twins(folder, rows, packed) if packed else rows


def leaves(folder: Path, path: str) -> bool:
    """Whether a path is outside ``folder`` when its links are followed."""
    return not Path(os.path.realpath(folder / path)).is_relative_to(os.path.realpath(folder))


def _walk(folder: Path) -> Iterator[str]:
    for root, folders, names in os.walk(folder, onerror=_refuse):
        folders.sort()
        linked = [name for name in folders if (Path(root) / name).is_symlink()]
        for name in sorted(names + linked):
            yield (Path(root) / name).relative_to(folder).as_posix()


def _refuse(error: OSError) -> None:
    raise UserError(f"the folder {error.filename} cannot be listed: {error.strerror}") from error


def _has_folder(folder: Path, path: str) -> bool:
    beside = (folder / path).with_suffix("")
    return beside.is_dir() and not beside.is_symlink()


def _members(archive: str, packed: Packed) -> list[Row]:
    rows: list[Row] = [(f"{archive}/{name}", _why_not(name, info)) for name, info in sorted(packed.items())]
    return rows or [(archive, EMPTY)]


def _why_not(name: str, info: zipfile.ZipInfo) -> str | None:
    if hidden(name):
        return HIDDEN
    if name.lower().endswith(".zip"):
        return NESTED
    return LINK if is_link(info) else None


def _without_twins(folder: Path, rows: list[Row], packed: dict[str, Packed]) -> list[Row]:
    """Skip the members that also exist elsewhere; an archive without any other member becomes a single row."""
    seen = [path for path, reason in rows if reason is None]
    twins = find_twins(folder, seen, packed)
    left: dict[str, str | None] = dict(rows)
    for archive in packed:
        members = [path for path in seen if path.startswith(f"{archive}/")]
        copies = [path for path in members if path in twins]
        if not copies:
            continue
        place = os.path.commonpath([os.path.dirname(twins[path]) for path in copies]) or "the folder itself"
        left |= dict.fromkeys(copies, f"the same file is in {place}, and is read there")
        if len(copies) == len(members):
            twice = set(copies)
            left = {path: reason for path, reason in left.items() if path not in twice}
            left[archive] = f"the same files are in {place}, and are read there"
    return list(left.items())
