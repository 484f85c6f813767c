"""Groups of clips that belong together."""

from collections.abc import Sequence

import numpy as np


def connected(*names: Sequence[str | None]) -> np.ndarray:
    """Return a number for each clip, ``(clips,)`` int64, the same for clips that share a name, directly or by others.

    Args:
        names: one or more of ``(clips,)``, such as speakers and recordings; None where unknown. A clip without any name
            is alone.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    clips = len(names[0])
    nodes: dict[tuple[int, str], int] = {}
    pairs = [
        (row, nodes.setdefault((kind, name), clips + len(nodes)))
        for kind, column in enumerate(names)
        for row, name in enumerate(column)
        if name is not None
    ]
    ends = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    size = clips + len(nodes)
    _, numbers = connected_components(coo_array((np.ones(len(pairs)), ends), (size, size)), directed=False)
    return np.unique(numbers[:clips], return_inverse=True)[1].astype(np.int64)
