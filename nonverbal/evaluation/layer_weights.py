"""The weights with which heads learned to sum layers, as stored in rows of scores."""

from collections.abc import Sequence

import numpy as np

from nonverbal.tasks.scores import Score


def layer_weights(scores: Sequence[Score]) -> np.ndarray | None:
    """Return the stored weights, ``(folds, layers)``, each row with sum 1; None if there are none, or invalid ones.

    Args:
        scores: scores of one model with one head, for any folds and seeds.
    """
    rows = [row for score in scores if isinstance(row := score.details.get("layer_weights"), list)]
    try:
        weights = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    fit = weights.ndim == 2 and weights.shape[1] > 1 and np.isfinite(weights).all() and weights.max() > 0
    return weights if fit else None


def first_layer(scores: Sequence[Score]) -> int:
    """Return the hidden state of the first weight; 1 if rows do not say, as for the probe ``multilayer``."""
    said = scores[0].details.get("first_layer", 1)
    return said if isinstance(said, int) and said >= 0 else 1
