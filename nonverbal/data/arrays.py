"""Arrays in files of NumPy that may come from others: mapped from the disk, and refused where they are none."""

from pathlib import Path
from tokenize import TokenError

import numpy as np

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
"""What NumPy raises at a header, which it reads as Python's literals, and at a size that a file does not have."""


def open_array(path: Path) -> np.ndarray:
    """Return what a ``.npy`` file holds, memory-mapped: nothing is read before it is used, and no object is unpickled.

    Raises:
        ValueError: it is damaged, of another kind, or holds objects.
        OSError: it cannot be read.
    """
    try:
        _refuse_values_without_bytes(path)
        array: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    except FAULTS as error:
        raise ValueError(f"no array of NumPy: {' '.join(str(error).split())[:160] or type(error).__name__}") from error
    return array


def load_arrays(path: Path) -> list[np.ndarray]:
    """Return the arrays of a ``.npz`` file, in the order in which they are written.

    Raises:
        ValueError: it is damaged, of another kind, or holds objects.
        OSError: it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [file[name] for name in file.files]
    # RuntimeError is for a member that asks for a password.
    except (*FAULTS, *DAMAGED, AttributeError, RuntimeError) as error:
        raise ValueError(f"no arrays of NumPy: {' '.join(str(error).split())[:160] or type(error).__name__}") from error
    if not all(isinstance(array, np.ndarray) for array in arrays):
        raise ValueError("it holds other files than arrays")
    return arrays


def _refuse_values_without_bytes(path: Path) -> None:
    """NumPy divides a file's length by the size of a value before it maps it, and a size of 0 ends the process."""
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise ValueError(f"its format has version {version}")
        if read(file)[2].itemsize == 0:
            raise ValueError("its values have no bytes")
