"""Reads weights from PyTorch's files without running code in them.

A pickle is a program. Its globals are listed without executing anything. Those of a configuration are replaced by an
inert object that only stores its arguments; for any other global, the file is refused. The rest is read by
``torch.load(weights_only=True)``, which itself refuses everything that is neither a tensor nor allowed here.
"""

import lzma
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
"""Packages whose objects occur besides tensors in files of fairseq, SSAM and Lightning; none of them is imported."""

PLAIN = {
    *(f"builtins.{name}" for name in ("bool", "bytes", "dict", "float", "int", "list", "object", "str", "tuple")),
    *(f"numpy{core}.multiarray.scalar" for core in (".core", "._core")),
    "numpy.dtype",
    "copyreg._reconstructor",
}
"""Other names that occur in them."""

TORCHS_OWN = {"_codecs.encode", "builtins.bytearray", "builtins.complex", "builtins.set", "collections.OrderedDict"}
"""Harmless names that ``weights_only`` allows besides PyTorch's own."""

READABLE = 2
"""Pickle protocol that torch.save writes by default, and that ``weights_only`` reads."""

LEGACY_STREAMS = 5
"""Pickles at the start of a file from before PyTorch 1.6: magic number, protocol, system, object, storages."""


DAMAGED = (
    *(OSError, ValueError, EOFError, LookupError, OverflowError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, RuntimeError),
)
"""Exceptions of zipfile and pickletools for unreadable files; RuntimeError is for encrypted members or an unknown
compression."""


class Inert:
    """Replaces an object of a configuration: it stores its arguments, and does nothing."""

    def __init__(self, *given: Any) -> None:
        self.given = given

    def __setitem__(self, key: Any, value: Any) -> None:
        self.__dict__[str(key)] = value

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state if isinstance(state, dict) else {"state": state})


def load_weights_only(path: Path) -> Any:
    """Return the content of a file of PyTorch, zip or legacy; configurations are dictionaries and ``Inert`` objects.

    Raises:
        UserError: it names a global that does not belong in a checkpoint, is truncated, or is not a file of PyTorch.
    """
    names = _checked_globals(path)
    stubs: list[Any] = [(Inert, name) for name in sorted(names - TORCHS_OWN) if not name.startswith("torch.")]
    try:
        with torch.serialization.safe_globals(stubs), warnings.catch_warnings():
            # Warns of pickle protocols that it may not read. Either it reads them, or the error is reported below.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Any error of torch for a damaged file, and its own refusals.
        raise _unreadable(path, error) from error


def _checked_globals(path: Path) -> set[str]:
    try:
        names = set(list_globals(path))
    except DAMAGED as error:
        raise _unreadable(path, error) from error
    foreign = sorted(name for name in names if not _harmless(name))
    if foreign:
        raise UserError(
            f"{path} is refused: it imports {', '.join(foreign[:3])}, which no checkpoint needs, and which could run "
            "any code; nothing in it was run. Expected only weights and fairseq's configuration"
        )
    return names


def _harmless(name: str) -> bool:
    root = name.split(".")[0]
    return name in PLAIN | TORCHS_OWN or root == "torch" or root in CONFIGURATION


def list_globals(path: Path) -> Iterator[str]:
    """Yield the globals in a file's pickles, as ``module.name``, without executing anything."""
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
            # The name comes from the stack. torch reads no such pickle, so it is only used in the message.
            yield _today(*strings) if len(strings) > 1 else "an unknown name"
        if code in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if argument is None else int(argument)] = last
            continue
        last = memo.get(int(argument)) if code in ("GET", "BINGET", "LONG_BINGET") else argument
        last = last if isinstance(last, str) else None
        if last is not None:
            strings.append(last)


def _operations(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the operations of a file's pickles in order: the name of each operation, and its argument."""
    with open(path, "rb") as file:
        # The same test as in torch, because a legacy file may have a zip at its end.
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
    """A file that is never read beyond its end, because Python allocates as much memory as a read asks for."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._size = file, size
        self.readline, self.tell = file.readline, file.tell

    def read(self, size: int) -> bytes:
        """Return ``size`` bytes, or as many as are left."""
        return self._file.read(min(size, max(self._size - self._file.tell(), 0)))


def _of_one(file: "IO[bytes] | _Within") -> Iterator[tuple[str, Any]]:
    """Yield the operations of one pickle, and leave the file's position after it."""
    for code, argument, _ in pickletools.genops(file):  # type: ignore[arg-type]
        yield code.name, argument


def _today(module: str, name: str) -> str:
    """Return the name in Python 3 for a name that may be from Python 2, as torch does."""
    module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
    return f"{module}.{name}"


def _unreadable(path: Path, error: Exception) -> UserError:
    if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
        return UserError(f"{path} is refused: it imports {found[1]}, which no checkpoint needs; nothing in it was run")
    if re.search(r"Unsupported operand \d+", str(error)) and (protocol := _protocol(path)) > READABLE:
        return UserError(
            f"{path} is written in pickle protocol {protocol}, but only protocol {READABLE} can be read without "
            "running code; write it again with torch.save, without pickle_protocol"
        )
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return UserError(
        f"{path} cannot be read ({reason}); it is truncated, damaged, or was not written by torch.save; download it "
        "again, or give a folder in Hugging Face format"
    )


def _protocol(path: Path) -> int:
    """Return the highest pickle protocol in a file that was read before."""
    return max((int(argument) for code, argument in _operations(path) if code == "PROTO"), default=0)


def find(tree: Any, key: str) -> Any:
    """Return the first value under ``key`` anywhere in a configuration; None if there is none."""
    values = (_plain(group[key]) for group in _groups(tree) if key in group)
    return next((value for value in values if value is not None), None)


def subtree(tree: Any, key: str) -> dict[str, Any] | None:
    """Return the first group of settings with this name anywhere in a configuration; None if there is none."""
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
    """Return the content of an object of a configuration; omegaconf stores it under a name of its own."""
    return node.__dict__.get("_content", node.__dict__) if isinstance(node, Inert) else node


def _plain(value: Any) -> Any:
    """Return the value of omegaconf's node, or of an enumeration; None for a node that refers to another."""
    if isinstance(value, Inert):
        given = value.__dict__.get("given", ())
        return _plain(value.__dict__["_val"] if "_val" in value.__dict__ else given[0] if len(given) == 1 else None)
    return None if isinstance(value, str) and value.startswith("${") else value
