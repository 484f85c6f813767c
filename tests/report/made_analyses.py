"""Analyses made by hand, of the kinds that need an encoder otherwise."""

import numpy as np
from report_inputs import HOSTILE

from nonverbal.evaluation.analyses.attention import Attended, Attention, Layer
from nonverbal.evaluation.analyses.cosine import edges_of
from nonverbal.evaluation.analyses.distances import Distances, distance_of
from nonverbal.evaluation.analyses.layer_parts import Curve, Likeness, Weights
from nonverbal.evaluation.analyses.layers import Layers
from nonverbal.evaluation.analyses.measured import Measured
from nonverbal.report.drawing import SERIES


def apart(decisions: str = "their own") -> Distances:
    """Return distances of two encoders to a first one, on 50 clips."""
    random = np.random.default_rng(0)
    found = [1.3 * random.random(50), 0.5 * random.random(50)]
    edges, agree = edges_of(found), (random.random(50) < 0.7 if decisions else None)
    vectors = [(random.normal(size=(50, 4)), random.normal(size=(50, 4)))]
    others = [
        distance_of(name, own, agree, np.arange(50) // 5, edges, 0.95, vectors, 0)
        for name, own in zip(["one", HOSTILE], found, strict=True)
    ]
    return Distances(
        "first", others, "made", [3, 3, 3], "why", "sha", 50, 0, 10, "speakers", edges.tolist(), 0.95, 0.7, decisions
    )


def attention() -> Attention:
    """Return the attention of three encoders of two layers with two heads each."""
    first = Layer([0.1, 0.2], [0.5, 0.6], Measured(0.15, 0.1, 0.2, 9), 1.0)
    second = Layer([0.3, 0.4], [0.7, 0.8], Measured(0.35, None, None, 9), 0.5)
    others = [Attended("b", [first, second]), Attended("c", [first, first])]
    return Attention(
        HOSTILE, others, "cries", [["k"], ["l"], ["m"]], "held out", "sha", 9, 1, 300, 3, "speakers", "length"
    )


def layers() -> Layers:
    """Return weights of layers, UAR by layer, and CKA."""
    weights = [
        Weights("x", "multilayer", 1, [0.4, 0.6], [0.1, 0.1], {"cries": [0.4, 0.6]}, 3),
        Weights(HOSTILE, "multilayer", 0, [0.2, 0.5, 0.3], [0.0, 0.0, 0.0], {"cries": [0.2, 0.5, 0.3]}, 3),
    ]
    curves = [
        Curve("cries", "by hand", 4, f"model {number}", "logistic", [0.3, 0.5], [0.0, 0.1], [1, 2])
        for number in range(len(SERIES) + 1)
    ]
    cka: list[list[float | None]] = [[0.9, -0.1], [None, 0.8]]
    return Layers(weights, curves, Likeness(["a", "b"], "cries", [["k"], ["l"]], "held out", "sha", 20, cka))
