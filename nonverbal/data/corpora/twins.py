"""Files that exist both in an archive and beside it, found by their place in it and content, not the archive's name."""

import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from nonverbal.data.corpora.names import readable
from nonverbal.data.reading.archives import size_and_time
from nonverbal.files import is_own_fault

Packed = Mapping[str, zipfile.ZipInfo]
"""The files of an archive by their paths in it."""


def find_twins(folder: Path, paths: Iterable[str], packed: Mapping[str, Packed]) -> dict[str, str]:
    """Return the paths of members that also exist unpacked or in an earlier archive, each with the path of the other.

    A file is the same if its path ends in the member's path, or in that without its first folder, which is often
    renamed or left out, and its content is the same. A file at that place in a folder of the archive's name counts as
    the member, whatever has been changed in it since.

    Args:
        folder: all paths are relative to it.
        paths: files, including members.
        packed: the archives, by their paths.
    """
    members = {f"{archive}/{name}": info for archive, infos in packed.items() for name, info in infos.items()}
    loose = sorted(set(paths) - members.keys())
    by_path = {readable(path): path for path in loose}
    places: dict[tuple[str, int], list[tuple[str, str]]] = defaultdict(list)
    for path in loose:
        places[_key(path, size_and_time(folder / path)[0])].append((_plain(path), path))
    twins: dict[str, str] = {}
    for archive, infos in packed.items():
        fresh = []
        for name, info in infos.items():
            key, path = _key(name, info.file_size), f"{archive}/{name}"
            same = (other for other in _ending_in(name, places[key]) if _checksum(folder, other, members) == info.CRC)
            twin = _in_its_folder(archive, name, by_path) or next(same, None)
            if twin is None:
                fresh.append((key, (_plain(path), path)))
            else:
                twins[path] = twin
        for key, place in fresh:
            places[key].append(place)
    return twins


def _key(path: str, size: int) -> tuple[str, int]:
    return _plain(path).rsplit("/", 1)[-1], size


def _plain(path: str) -> str:
    """Return a path without characters outside ASCII, which programs that unpack archives write differently."""
    return re.sub(r"[^\x00-\x7f]", "", f"/{readable(path)}")


def _ending_in(member: str, places: list[tuple[str, str]]) -> Iterator[str]:
    whole = _plain(member)
    endings = (whole, "/" + whole.split("/", 2)[-1])
    return (path for plain, path in places if plain.endswith(endings))


def _in_its_folder(archive: str, member: str, loose: Mapping[str, str]) -> str | None:
    own, member = readable(f"{archive}/"), readable(member)
    # Most archives contain a folder of their own name, which is not always unpacked into another one.
    within = member.removeprefix(f"{own.split('/')[-2]}/")
    return loose.get(own + member) or loose.get(own + within)


def _checksum(folder: Path, path: str, members: Packed) -> int | None:
    return members[path].CRC if path in members else _computed(folder / path, size_and_time(folder / path))


@cache
def _computed(path: Path, state: tuple[int, int]) -> int | None:
    """Return the checksum of a file in that state; None if it cannot be read."""
    checksum = 0
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                checksum = zlib.crc32(block, checksum)
    except OSError as error:
        if not is_own_fault(error):
            raise
        return None
    return checksum
