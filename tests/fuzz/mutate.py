"""Changes to valid files: of their bytes, and of what they hold by their kind, each drawn from a random generator."""

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import yaml

Files = dict[str, bytes]
"""A folder: content by path in it."""

DEEP = "[" * 100_000 + "]" * 100_000
NUMBERS = (0, 1, -1, 2, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1)
NAMES = (
    *(
        "",
        ".",
        "..",
        "../x",
        "../../../../tmp/nonverbal-escape",
        "/etc/passwd",
        "a/../../b",
        "--out",
        "-rf",
        "~",
        "$HOME",
    ),
    *(
        "a\0b",
        "\x1b[2J\x1b[31m",
        "\u202e",
        "\n",
        "\r",
        "x" * 5000,
        "NaN",
        "null",
        "con",
        "\\\\host\\share",
        "{x}",
        "%s",
    ),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, [], {}, [[]], [None], {"": None}, 0.5, -0.0, 1e308, float("nan"), float("inf"), -(2**63)),
    *(10**30, *NUMBERS, *NAMES),
)
TEXTS = (
    *(
        "\ud800",
        "1e999",
        "9" * 5000,
        "-",
        "NaN",
        "Infinity",
        '{"a":' * 3000,
        "[" * 3000,
        '"\\ud800"',
        "\ufeff",
        "\u2028",
    ),
    *("!!python/object/apply:os.system ['true']", "!!python/name:os.system", "&a [*a]", "<<: *a", "*a", "? [a]", "\t"),
    *(
        "!!timestamp 9999-99-99",
        "0x",
        "1:99:99",
        "!!binary ;",
        "---",
        "%YAML 9.9",
        "# -*- coding: x -*-",
        '"',
        ",",
        ";",
    ),
)
"""Tokens that mean something to a parser of JSON, YAML or tables."""


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


def of_bytes(data: bytes, random: Random) -> bytes:
    """Change bytes, whatever they are."""
    if not data:
        return random.randbytes(random.randrange(64))
    at, kind = random.randrange(len(data)), random.randrange(9)
    span = min(random.choice((1, 2, 4, 8, 16, 64, 512)), len(data) - at)
    if kind == 0:
        return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1 :]
    if kind == 1:
        return data[:at] + bytes([random.choice((0, 1, 0x7F, 0x80, 0xFF))]) + data[at + 1 :]
    if kind == 2:
        return data[:at] + data[at + span :]
    if kind == 3:
        return data[:at] + data[at : at + span] * random.choice((2, 3, 50)) + data[at + span :]
    if kind == 4:
        return data[:at]
    if kind == 5:
        return data[:at] + random.randbytes(span) + data[at + span :]
    if kind == 6:
        width = random.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
        size = struct.calcsize(width)
        number = struct.pack(width, random.choice(NUMBERS) % (1 << 8 * size))
        return data[:at] + number + data[at + size :]
    if kind == 7:
        text = random.choice((*TEXTS, *NAMES)).encode("utf-8", "surrogatepass")
        return data[:at] + text + data[at + random.choice((0, len(text))) :]
    other = random.randrange(len(data))
    return data[:at] + data[other : other + span] + data[at + span :]


def in_tree(tree: Any, random: Random) -> Any:
    """Change one node of what JSON or YAML holds."""
    holders = [node for node in _nodes(tree) if isinstance(node, dict | list) and node]
    if not holders or random.random() < 0.02:
        return random.choice(VALUES)
    holder = random.choice(holders)
    key: Any = random.choice(list(holder)) if isinstance(holder, dict) else random.randrange(len(holder))
    kind = random.randrange(7)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[random.choice(NAMES)] = holder.pop(key)
    elif kind == 2:
        holder[key] = random.choice(([holder[key]], {"a": holder[key]}, str(holder[key])))
    elif kind == 3:
        holder[key] = _copy(random.choice(holders))
    elif kind == 4 and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
        holder[key] = random.choice((-holder[key], holder[key] + 1, holder[key] * 1000, float(holder[key])))
    elif kind == 5 and isinstance(holder, list):
        holder.insert(key, _copy(holder[key]))
    else:
        holder[key] = random.choice(VALUES)
    return tree


def _copy(tree: Any) -> Any:
    return json.loads(json.dumps(tree))


def _nodes(tree: Any) -> list[Any]:
    # YAML's aliases make a node its own part, or the part of many.
    found, waiting, seen = [], [tree], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        found.append(node)
        waiting += list(node.values()) if isinstance(node, dict) else node if isinstance(node, list) else []
    return found


def of_json(data: bytes, random: Random) -> bytes:
    """Change JSON, or a line of JSON Lines."""
    if random.random() < 0.02:
        return data.replace(b"1", DEEP.encode(), 1) if random.random() < 0.5 else DEEP.encode()
    return json.dumps(in_tree(json.loads(data), random), ensure_ascii=random.random() < 0.5).encode(
        "utf-8", "surrogatepass"
    )


def of_lines(data: bytes, random: Random) -> bytes:
    """Change one line of JSON Lines, or their order and number."""
    lines = data.splitlines(keepends=True)
    at = random.randrange(len(lines))
    kind = random.randrange(6)
    if kind == 0:
        lines.insert(at, random.choice(lines))
    elif kind == 1:
        del lines[at]
    else:
        lines[at] = of_json(lines[at], random) + b"\n"
    return b"".join(lines)


def of_yaml(data: bytes, random: Random) -> bytes:
    """Change a node, or put what only YAML knows in a value's place."""
    if random.random() < 0.5:
        return yaml.safe_dump(in_tree(yaml.safe_load(data), random), sort_keys=False, allow_unicode=True).encode()
    lines = data.decode().splitlines(keepends=True)
    at = random.randrange(len(lines))
    key, colon, _ = lines[at].partition(":")
    lines[at] = f"{key}{colon} {random.choice(TEXTS)}\n"
    return "".join(lines).encode("utf-8", "surrogatepass")


def of_table(data: bytes, random: Random) -> bytes:
    """Change a cell, a row or a column of a table with separators."""
    separator = "\t" if b"\t" in data else ","
    rows = [line.split(separator) for line in data.decode().splitlines()]
    row = random.choice(rows)
    at, kind = random.randrange(len(row)), random.randrange(6)
    if kind == 0:
        del row[at]
    elif kind == 1:
        row.insert(at, random.choice((*NAMES, *TEXTS)))
    elif kind == 2:
        rows.insert(random.randrange(len(rows)), list(row))
    elif kind == 3:
        row[at] = f'"{row[at]}'
    else:
        row[at] = str(random.choice((*VALUES, *TEXTS)))
    return "\n".join(separator.join(cells) for cells in rows).encode("utf-8", "surrogatepass")


def of_array(data: bytes, random: Random) -> bytes:
    """Change the header of a .npy file."""
    length = struct.unpack_from("<H", data, 8)[0]
    header, body = data[10 : 10 + length].decode("latin-1"), data[10 + length :]
    kind = random.randrange(6)
    if kind == 0:
        header = header.replace("'shape': (", f"'shape': ({random.choice(NUMBERS)}, ", 1)
    elif kind == 1:
        header = header.replace(header[header.index("(") :], f"({random.choice(NUMBERS)},), }}\n")
    elif kind == 2:
        header = header.replace("<i", random.choice((">i", "|O", "<f", "<U", "<c", "|V")), 1)
    elif kind == 3:
        header = (
            f"{{'descr': {random.choice(('|O', '<i8', '<f4', '<u2', '|S0', '<U1'))!r}, 'fortran_order': False, "
            + (f"'shape': ({random.choice((len(body), len(body) // 8, 10**12))},), }}\n")
        )
    elif kind == 4:
        return data[:10] + of_bytes(data[10 : 10 + length], random) + body
    else:
        return data[: 10 + length] + of_bytes(body, random)
    text = header.encode("latin-1")
    return data[:8] + struct.pack("<H", len(text)) + text + body


def of_safetensors(data: bytes, random: Random) -> bytes:
    """Change the header: its length, a tensor's type, shape or place, or the metadata."""
    length = struct.unpack_from("<Q", data)[0]
    header, body = data[8 : 8 + length], data[8 + length :]
    kind = random.randrange(5)
    if kind == 0:
        return struct.pack("<Q", random.choice((*NUMBERS, 10**9, length + 1, length - 1)) % (1 << 64)) + data[8:]
    if kind == 1:
        return data[: 8 + length] + of_bytes(body, random)
    tree = json.loads(header)
    if kind == 2:
        names = sorted(set(tree) - {"__metadata__"})
        tree[random.choice((*NAMES, *names))] = tree.pop(random.choice(names))
    else:
        tree = in_tree(tree, random)
    text = json.dumps(tree).encode()
    return struct.pack("<Q", len(text)) + text + body


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


HOSTILE = ("os system", "builtins exec", "builtins eval", "posix system", "subprocess Popen", "torch.hub load")
"""What a pickle may ask for to run anything."""


def of_pickle(data: bytes, random: Random) -> bytes:
    """Put a global of another name, a call, or other bytes into a pickle."""
    kind, at = random.randrange(4), data.find(b"\x80") + 2
    module, name = random.choice(HOSTILE).split()
    call = f"c{module}\n{name}\n(S'touch nonverbal-canary'\ntR0".encode()
    if kind == 0:
        return data[:at] + call + data[at:]
    if kind == 1 and b"c" in data:
        place = random.choice([place for place, byte in enumerate(data) if byte == ord("c")])
        return data[:place] + f"c{module}\n{name}\n".encode() + data[place:]
    if kind == 2 and b"\x8a" in data:
        return data.replace(b"\x8a", bytes([random.choice((0x8A, 0x8B, 0x4A, 0x4D))]), 1)
    return of_bytes(data, random)


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
    (".pt", of_zip),
    (".pkl", of_pickle),
)
"""Ends of names, and what changes such files by what they hold."""
