"""Arrays in NumPy files that may come from others."""

import hashlib
import io
import math
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.lib import format as npy

from nonverbal.data.reading.archives import DAMAGED

FAULTS = (
    ValueError,
    EOFError,
    TypeError,
    KeyError,
    OverflowError,
    RecursionError,
    MemoryError,
    SyntaxError,
    TokenError,
)
"""Exceptions of NumPy for a damaged header, which it reads as Python literals, and for an impossible size."""

HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
"""Functions that read a header, by version of the format. Version 3.0 is only for names outside Latin-1."""


def read_array(path: Path) -> tuple[np.ndarray, str]:
    """Return the array in a ``.npy`` file, read-only, and the SHA-256 of the file.

    The file is read into memory once. A memory map would open faster, but if the file were truncated, SIGBUS would end
    every process that uses it, without a message. Forked processes share the memory.

    Raises:
        ValueError: the file is damaged, has another format, or contains objects, which only pickle could read.
        OSError: the file cannot be read.
    """
    try:
        data = path.read_bytes()
        return _array_of(data), hashlib.sha256(data).hexdigest()
    except FAULTS as error:
        raise ValueError(f"not a NumPy array: {_short(error)}") from error


def _array_of(data: bytes) -> np.ndarray:
    file = io.BytesIO(data)
    version = npy.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"version {version} of the format")
    shape, in_fortran_order, dtype = HEADERS[version](file)
    count, held = math.prod(shape), len(data) - file.tell()
    if dtype.hasobject or min(shape, default=0) < 0 or count * dtype.itemsize != held:
        raise ValueError(f"its header promises {str(shape)[:60]} of {str(dtype)[:60]}, but {held} bytes follow")
    values = np.frombuffer(data, dtype, count, file.tell())
    return values.reshape(shape, order="F" if in_fortran_order else "C")


def load_arrays(path: Path) -> list[np.ndarray]:
    """Return the arrays of a ``.npz`` file, in the order in which they were written.

    Raises:
        ValueError: the file is damaged, has another format, or contains objects.
        OSError: the file cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [file[name] for name in file.files]
    # RuntimeError: a member requires a password.
    except (*FAULTS, *DAMAGED, AttributeError, RuntimeError) as error:
        raise ValueError(f"not NumPy arrays: {_short(error)}") from error
    if not all(isinstance(array, np.ndarray) for array in arrays):
        raise ValueError("it holds files that are not arrays")
    return arrays


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
