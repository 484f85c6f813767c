"""Reads what an interrupted `nonverbal cluster` has written, so that it can continue: settings, centroids, units."""

from pathlib import Path
from typing import Any

import numpy as np

from nonverbal.data.arrays import load_arrays, read_array
from nonverbal.errors import UserError
from nonverbal.files import read_json


def kept_facts(path: Path) -> dict[str, Any]:
    """Return the content of a file with settings, or with the facts of finished units."""
    try:
        kept = read_json(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(kept, dict):
        raise _damaged(path, f"it contains {type(kept).__name__}")
    return kept


def _damaged(path: Path, why: object) -> UserError:
    return UserError(f"{path} is damaged ({why}); delete it, and run the same command again")


def kept_centroids(path: Path, clusters: int) -> np.ndarray:
    """Return stored centroids, ``(clusters, dim)`` float32."""
    try:
        centroids, _ = read_array(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if centroids.dtype != np.float32 or centroids.ndim != 2 or len(centroids) != clusters:
        raise _damaged(path, f"its values are {centroids.dtype} of shape {centroids.shape}")
    return centroids


def kept_units(path: Path, parts: int, clusters: int) -> list[np.ndarray]:
    """Return stored units of some parts, ``(frames,)`` uint16 each."""
    try:
        units = load_arrays(path)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    fit = (one.ndim == 1 and one.dtype == np.uint16 and one.max(initial=0) < clusters for one in units)
    if len(units) != parts or not all(fit):
        raise _damaged(path, f"it does not hold units of {parts} parts")
    return units
