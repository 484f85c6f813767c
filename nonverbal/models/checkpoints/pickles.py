"""Weights out of PyTorch's files without running what is in them.

A pickle is a program. Its globals are listed without executing anything; those of a configuration are replaced by an
object that only keeps what it is given; any other, and the file is refused. What is left is read by
``torch.load(weights_only=True)``, which refuses on its own what is neither a tensor nor named here.
"""

import pickletools
import re
import struct
import warnings
import zipfile
import zlib
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import torch

from nonverbal.errors import UserError

CONFIGURATION = (
    *("argparse", "collections", "enum", "fairseq", "ml_collections", "omegaconf", "pathlib", "typing"),
    *("lightning", "lightning_fabric", "pytorch_lightning"),
)
"""Packages whose objects the files of fairseq, SSAM and Lightning hold besides tensors; none of them is imported."""

PLAIN = {
    *(f"builtins.{name}" for name in ("bool", "bytes", "dict", "float", "int", "list", "object", "str", "tuple")),
    *(f"numpy{core}.multiarray.scalar" for core in (".core", "._core")),
    "numpy.dtype",
    "copyreg._reconstructor",
}
"""Single names that they hold too."""

TORCHS_OWN = {"_codecs.encode", "builtins.bytearray", "builtins.complex", "builtins.set", "collections.OrderedDict"}
"""Harmless names that ``weights_only`` knows besides PyTorch's own."""

READABLE = 2
"""Pickle protocol that torch.save writes unless told otherwise, and that ``weights_only`` reads."""

LEGACY_STREAMS = 5
"""Pickles at the head of a file from before PyTorch 1.6: magic number, protocol, system, object, storages."""


DAMAGED = (
    *(OSError, ValueError, EOFError, LookupError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, struct.error, RuntimeError),
)
"""What zipfile and pickletools raise at what they cannot read; RuntimeError for members that are locked or packed in an
unknown way."""


class Inert:
    """Stands for an object of a configuration: keeps what it is given, and does nothing."""

    def __init__(self, *given: Any) -> None:
        self.given = given

    def __setitem__(self, key: Any, value: Any) -> None:
        self.__dict__[str(key)] = value

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {"state": state})


def load_weights_only(path: Path) -> Any:
    """Return what a file of PyTorch holds, zip or legacy; configurations are dictionaries and ``Inert`` objects.

    Raises:
        UserError: it names what does not belong in a checkpoint, is cut short, or is not a file of PyTorch.
    """
    names = _checked_globals(path)
    stubs: list[Any] = [(Inert, name) for name in sorted(names - TORCHS_OWN) if not name.startswith("torch.")]
    try:
        with torch.serialization.safe_globals(stubs), warnings.catch_warnings():
            # Of pickle protocols that it may not read: it does, or the error is said below.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Whatever torch stumbles over in a damaged file, and its own refusals.
        raise _unreadable(path, error) from error


def _checked_globals(path: Path) -> set[str]:
    try:
        names = set(list_globals(path))
    except DAMAGED as error:
        raise _unreadable(path, error) from error
    foreign = sorted(name for name in names if not _harmless(name))
    if foreign:
        raise UserError(
            f"{path} is refused: it asks for {', '.join(foreign[:3])}, which no checkpoint needs, and which could run "
            "anything; nothing in it was run. Expected weights and fairseq's configuration alone"
        )
    return names


def _harmless(name: str) -> bool:
    root = name.split(".")[0]
    return name in PLAIN | TORCHS_OWN or root == "torch" or root in CONFIGURATION


def list_globals(path: Path) -> Iterator[str]:
    """Yield the globals that a file's pickles name, as ``module.name``, without executing anything."""
    strings: deque[str] = deque(maxlen=2)
    memo: dict[int, str | None] = {}
    last: str | None = None
    for code, argument in _operations(path):
        if code == "PROTO":
            memo, last = {}, None
        elif code in ("GLOBAL", "INST"):
            module, name = str(argument).split(" ", 1)
            yield _today(module, name)
        elif code == "STACK_GLOBAL":
            # Taken from the stack; torch reads no such pickle, so this name is for the message alone.
            yield _today(*strings) if len(strings) > 1 else "an unknown name"
        if code in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if argument is None else int(argument)] = last
            continue
        last = memo.get(int(argument)) if code in ("GET", "BINGET", "LONG_BINGET") else argument
        last = last if isinstance(last, str) else None
        if last is not None:
            strings.append(last)


def _operations(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield what a file's pickles do, one after the other: the name of each operation, and its argument."""
    with open(path, "rb") as file:
        # As torch tells them apart: a legacy file may have a zip at its end.
        zipped = file.read(4) == b"PK\x03\x04"
    if zipped:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".pkl")]
            if not members:
                raise ValueError("a zip file without data.pkl")
            for member in members:
                with archive.open(member) as file:
                    yield from _of_one(file)
        return
    with open(path, "rb") as file:
        within = _Within(file, path.stat().st_size)
        for _ in range(LEGACY_STREAMS):
            yield from _of_one(within)


class _Within:
    """A file that is asked for nothing beyond its end: Python makes room for all that it is asked for."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size = file, size
        self.readline, self.tell = file.readline, file.tell

    def read(self, size: int) -> bytes:
        """Return so many bytes, or those that are left."""
        return self._file.read(min(size, max(self._size - self._file.tell(), 0)))


def _of_one(file: "IO[bytes] | _Within") -> Iterator[tuple[str, Any]]:
    """Yield what one pickle does, and leave the file behind it."""
    for code, argument, _ in pickletools.genops(file):  # type: ignore[arg-type]
        yield code.name, argument


def _today(module: str, name: str) -> str:
    """The name in Python 3 of what may be a name of Python 2, as torch reads it."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


def _unreadable(path: Path, error: Exception) -> UserError:
    if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return UserError(f"{path} is refused: it asks for {found[1]}, which no checkpoint needs; nothing in it was run")
    if re.search(r"Unsupported operand \d+", str(error)) and (protocol := _protocol(path)) > READABLE:
        return UserError(
            f"{path} is written in pickle protocol {protocol}, and what runs nothing of a file reads protocol "
            f"{READABLE}; write it again with torch.save, without pickle_protocol"
        )
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return UserError(
        f"{path} cannot be read ({reason}); it is cut short, damaged, or no file that torch.save wrote: download it "
        "again, or give a folder in Hugging Face format"
    )


def _protocol(path: Path) -> int:
    """The highest pickle protocol in a file that was read before."""
    return max((int(argument) for code, argument in _operations(path) if code == "PROTO"), default=0)


def find(tree: Any, key: str) -> Any:
    """Return the first value under ``key`` anywhere in a configuration that was read, None where there is none."""
    values = (_plain(group[key]) for group in _groups(tree) if key in group)
    return next((value for value in values if value is not None), None)


def subtree(tree: Any, key: str) -> dict[str, Any] | None:
    """Return the first group of settings of this name anywhere in a configuration, None where there is none."""
    below = (_content(group[key]) for group in _groups(tree) if key in group)
    return next((group for group in below if isinstance(group, dict)), None)


def _groups(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every group of settings, from the top down."""
    seen: set[int] = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop(0)
        node = node.__dict__ if isinstance(node, Inert) else node
        if id(node) in seen or not isinstance(node, dict | list | tuple):
            continue
        # omegaconf's nodes point to their parents.
        seen.add(id(node))
        if isinstance(node, dict):
            yield node
        waiting += list(node.values() if isinstance(node, dict) else node)


def _content(node: Any) -> Any:
    """What an object of a configuration holds: omegaconf's under a name of its own."""
    return node.__dict__.get("_content", node.__dict__) if isinstance(node, Inert) else node


def _plain(value: Any) -> Any:
    """The value of omegaconf's node, or of an enumeration; None for one that only says where the value stands."""
    if isinstance(value, Inert):
        given = value.__dict__.get("given", ())
        return _plain(value.__dict__["_val"] if "_val" in value.__dict__ else given[0] if len(given) == 1 else None)
    return None if isinstance(value, str) and value.startswith("${") else value
