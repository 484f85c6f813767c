"""Changes to valid files: of their bytes, and of what they hold by their kind, each drawn from a random generator."""

import io
import tarfile
import zipfile
from collections.abc import Callable
from random import Random

from mutate_bytes import of_array, of_bytes, of_pickle, of_safetensors
from mutate_texts import NAMES, NUMBERS, of_json, of_lines, of_table, of_yaml

Files = dict[str, bytes]
"""A folder: content by path in it."""


def mutated(files: Files, random: Random) -> Files:
    """Return a folder with one to four changes, most of them to one file."""
    names = sorted(files)
    changed = dict(files)
    name = random.choice(names)
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        if random.random() < 0.1:
            name = random.choice(names)
        if name not in changed:
            continue
        if random.random() < 0.01:
            del changed[name]
            continue
        by_kind = next((change for end, change in KINDS if name.endswith(end)), None)
        data = changed[name]
        if by_kind is not None and random.random() < 0.7:
            try:
                changed[name] = by_kind(data, random)
                continue
            except Exception:
                # What an earlier change left is not of its kind any more.
                pass
        changed[name] = of_bytes(data, random)
    return changed


TYPES = (tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE)
"""Of members of tars, whatever they hold."""


def of_tar(data: bytes, random: Random) -> bytes:
    """Change what a tar says of a member: its name, type, size, or where it links to."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as before, tarfile.open(fileobj=out, mode="w") as after:
        infos = before.getmembers()
        chosen = random.randrange(len(infos))
        for place, info in enumerate(infos):
            content = before.extractfile(info)
            held = content.read() if content is not None else b""
            if place == chosen:
                _change_member(info, random)
                held = held if random.random() < 0.5 else changed_by_name(info.name, held, random)
                info.size = len(held) if random.random() < 0.9 else random.choice(NUMBERS)
            after.addfile(info)
            after.fileobj.write(held + b"\0" * (-len(held) % 512))  # type: ignore[union-attr]
            after.offset += len(held) + -len(held) % 512
    return out.getvalue()


def _change_member(info: tarfile.TarInfo, random: Random) -> None:
    kind = random.randrange(4)
    if kind == 0:
        info.name = random.choice(NAMES)
    elif kind == 1:
        info.type, info.linkname = random.choice((*TYPES, b"L", b"x", b"g", b"S", b"7")), random.choice(NAMES)
    elif kind == 2:
        info.name = f"{info.name[:3]}{random.choice(NAMES)}{info.name[3:]}"


def of_zip(data: bytes, random: Random) -> bytes:
    """Change what a zip says of a member, or its content; checksums are those of what is then there."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(out, "w") as after:
        infos = before.infolist()
        chosen = random.randrange(len(infos))
        for place, info in enumerate(infos):
            held, kind = before.read(info), random.randrange(5)
            if place == chosen and kind == 0:
                info.filename = random.choice(NAMES) or "x"
            elif place == chosen and kind == 1:
                info.external_attr = random.choice((0o120777, 0o060777, 0o040777)) << 16
            elif place == chosen:
                held = changed_by_name(info.filename, held, random)
            packing = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
            after.writestr(info, held, info.compress_type if random.random() < 0.9 else packing)
    return out.getvalue()


def changed_by_name(name: str, data: bytes, random: Random) -> bytes:
    """Change a member by what its name says that it is."""
    change: Callable[[bytes, Random], bytes] = next((change for end, change in KINDS if name.endswith(end)), of_bytes)
    try:
        return change(data, random)
    except Exception:
        return of_bytes(data, random)


KINDS: tuple[tuple[str, Callable[[bytes, Random], bytes]], ...] = (
    (".jsonl", of_lines),
    (".json", of_json),
    (".yaml", of_yaml),
    (".csv", of_table),
    (".tsv", of_table),
    (".npy", of_array),
    (".safetensors", of_safetensors),
    (".tar", of_tar),
    (".zip", of_zip),
    (".npz", of_zip),
    (".pt", of_zip),
    (".pkl", of_pickle),
)
"""Ends of names, and what changes such files by what they hold."""
