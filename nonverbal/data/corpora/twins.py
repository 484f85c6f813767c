"""Files that lie in an archive and beside it: found by their places in it and content, not by the archive's name."""

import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from nonverbal.data.archives import size_and_time
from nonverbal.data.corpora.names import readable

Packed = Mapping[str, zipfile.ZipInfo]
"""The files of an archive by their paths in it."""


def find_twins(folder: Path, paths: Iterable[str], packed: Mapping[str, Packed]) -> dict[str, str]:
    """Return the members that are also there unpacked, or in an archive before theirs: path to that of the other.

    A file is the same if its path ends in the member's, or in that without its first folder, which is often renamed or
    left out, and its content is the same. What lies there in a folder of the archive's name is taken for the member,
    whatever was made of it since.

    Args:
        folder: what all paths are relative to.
        paths: files, members among them.
        packed: the archives, by their paths.
    """
    members = {f"{archive}/{name}": info for archive, infos in packed.items() for name, info in infos.items()}
    loose = sorted(set(paths) - members.keys())
    by_path = {readable(path): path for path in loose}
    places: dict[tuple[str, int], list[str]] = defaultdict(list)
    for path in loose:
        places[_key(path, size_and_time(folder / path)[0])].append(path)
    twins: dict[str, str] = {}
    for archive, infos in packed.items():
        fresh = []
        for name, info in infos.items():
            key = _key(name, info.file_size)
            same = (path for path in places[key] if _ends_alike(path, name))
            twin = _in_its_folder(archive, name, by_path) or next(
                (path for path in same if _checksum(folder, path, members) == info.CRC), None
            )
            if twin is None:
                fresh.append((key, f"{archive}/{name}"))
            else:
                twins[f"{archive}/{name}"] = twin
        for key, path in fresh:
            places[key].append(path)
    return twins


def _key(path: str, size: int) -> tuple[str, int]:
    return _plain(path).rsplit("/", 1)[-1], size


def _plain(path: str) -> str:
    """Return a path without what is not ASCII, which programs that unpack make different things of."""
    return re.sub(r"[^\x00-\x7f]", "", readable(path))


def _ends_alike(path: str, member: str) -> bool:
    path, member = f"/{_plain(path)}", f"/{_plain(member)}"
    without_first = "/" + member.split("/", 2)[-1]
    return path.endswith((member, without_first))


def _in_its_folder(archive: str, member: str, loose: Mapping[str, str]) -> str | None:
    own, member = readable(f"{archive}/"), readable(member)
    # Most archives hold a folder of their own name, which is not always unpacked into another.
    within = member.removeprefix(f"{own.split('/')[-2]}/")
    return loose.get(own + member) or loose.get(own + within)


def _checksum(folder: Path, path: str, members: Packed) -> int | None:
    return members[path].CRC if path in members else _computed(folder / path, size_and_time(folder / path))


@cache
def _computed(path: Path, state: tuple[int, int]) -> int | None:
    """The checksum of a file in that state; None where it cannot be read."""
    checksum = 0
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                checksum = zlib.crc32(block, checksum)
    except OSError:
        return None
    return checksum
