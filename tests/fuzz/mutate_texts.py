"""Values and names that mean something, and changes to texts: JSON, YAML and tables."""

import json
from random import Random
from typing import Any

import yaml

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
    *(10**30, 10**400, *NUMBERS, *NAMES),
)
TEXTS = (
    *(
        "\ud800",
        "1e999",
        "9" * 5000,
        "-",
        "NaN",
        "Infinity",
        '{"a":\n' * 1500,
        "[\n" * 1500,
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
        return _yaml(in_tree(yaml.load(data, yaml.CSafeLoader), random))
    lines = data.decode().splitlines(keepends=True)
    at = random.randrange(len(lines))
    key, colon, _ = lines[at].partition(":")
    lines[at] = f"{key}{colon} {random.choice(TEXTS)}\n"
    return "".join(lines).encode("utf-8", "surrogatepass")


def _yaml(tree: Any) -> bytes:
    return yaml.dump(tree, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, encoding="utf-8")  # type: ignore[no-any-return]


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
