"""Measures how fast and how exactly the logistic probe is fitted: ours, and scikit-learn's with its default solver.

``python benchmarks/heads.py [--folds 5] [--peer-folds 5] [--threads 1] [--json FILE]``

The embeddings are synthetic, with the shape of Audio Mamba tiny's: 13 layers of 1920 values for 726 clips of 16 classes
and 40 speakers, in 5 folds that share no speaker. The values of a clip are mixed from 400 latent values of decreasing
size. Each of these is a sum of a part of the class, which grows with the layer, one of the speaker, and one of the clip
alone.

Both do the same work in each fold: in three inner folds of the training side, choose the layer at C = 0.01 and then one
of five values of C; fit on the whole training side; classify the test side. scikit-learn's probe is ``StandardScaler``
and ``LogisticRegression(C, class_weight="balanced", max_iter=1000)``, one fit after another, which takes minutes:
``--peer-folds`` limits it to the first folds. ``ratio_logistic`` is its CPU seconds over ours on the folds that both
ran; other programs on the machine affect CPU time less than elapsed time, of which ``ratio_elapsed`` is the ratio.
``differ`` is the share of test clips on which the two decide differently.

``rotated`` is the share of test decisions that change when standardised features are rotated, at C = 1 on the chosen
layer: onto the principal axes of the training side, and at random. ``gradient`` is the largest norm of the gradient of
our fits on whole training sides.

``neural`` holds the figures of ``benchmarks/neural_heads.py``, and ``ratio`` is the lowest ratio of a neural head.
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import neural_heads
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from nonverbal.evaluation.heads.softmax_regression import Side, fit_path, held_out, optima

CLIPS, LAYERS, DIM, CLASSES, SPEAKERS = 726, 13, 1920, 16, 40
STRENGTHS, LAYER_STRENGTH = (1e-4, 1e-3, 1e-2, 1e-1, 1.0), 1e-2
FOLDS, INNER_FOLDS = 5, 3

Array = np.ndarray
HeldOut = Callable[[Array, Array, Sequence[Side], Sequence[float]], Array]
Fit = Callable[[Array, Array, float], Any]


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, default=FOLDS, help="number of folds for our probe")
    parser.add_argument("--peer-folds", type=int, default=FOLDS, help="number of folds for scikit-learn's, at least 1")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    if not 1 <= arguments.peer_folds <= arguments.folds <= FOLDS:
        parser.error(f"--peer-folds must be 1 to --folds, and --folds at most {FOLDS}")
    with threadpool_limits(arguments.threads):
        figures = measure(arguments.folds, arguments.peer_folds)
        neural = neural_heads.measure(epochs=5, device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    figures |= {"ratio": neural["ratio"], "neural": neural}
    figures["threads"] = arguments.threads
    print(json.dumps(figures, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(folds: int, peer_folds: int) -> dict[str, Any]:
    """Run both fold by fold, so that other load on the machine affects both."""
    features, answers, speakers = synthetic()
    ours, peer = Tally(), Tally()
    for number, side in enumerate(itertools.islice(divided(answers, speakers, FOLDS), folds)):
        ours.run(features, answers, speakers, side, held_out, our_fit)
        if number < peer_folds:
            peer.run(features, answers, speakers, side, peer_held_out, peer_fit)
    pairs = list(zip(ours.decided, peer.decided, strict=False))
    return {
        "folds": folds,
        "peer_folds": peer_folds,
        "seconds": ours.seconds,
        "seconds_peer": peer.seconds,
        "ratio_logistic": sum(peer.seconds) / sum(ours.seconds[:peer_folds]),
        "ratio_elapsed": sum(peer.elapsed) / sum(ours.elapsed[:peer_folds]),
        "chosen": ours.chosen,
        "chosen_peer": peer.chosen,
        "accuracy": float(np.mean(np.concatenate(ours.right))),
        "differ": float(np.mean(np.concatenate([one != other for one, other in pairs]))),
        "gradient": max(ours.gradients),
        "rotated": rotations(features, answers, speakers, ours.chosen[:peer_folds]),
    }


def synthetic() -> tuple[Array, Array, Array]:
    """Return embeddings ``(clips, layers, dim)`` float32, and each clip's class and speaker, ``(clips,)`` int64."""
    random = np.random.default_rng(0)
    answers, speakers = np.arange(CLIPS) % CLASSES, random.integers(SPEAKERS, size=CLIPS)
    hidden = 400
    size = (1.0 + np.arange(hidden)) ** -1.5
    own, of_class, of_speaker = (random.standard_normal((count, hidden)) for count in (CLIPS, CLASSES, SPEAKERS))
    features = np.empty((CLIPS, LAYERS, DIM), np.float32)
    for layer in range(LAYERS):
        mixed = own + (0.2 + 0.6 * layer / LAYERS) * of_class[answers] + 0.7 * of_speaker[speakers]
        values = (mixed * size) @ random.standard_normal((hidden, DIM)) + 0.01 * random.standard_normal((CLIPS, DIM))
        features[:, layer] = values * np.exp(random.standard_normal(DIM)) + 3
    return features, answers, speakers


def divided(answers: Array, speakers: Array, folds: int) -> Iterator[Side]:
    """Yield stratified folds that share no speaker."""
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    return iter(splitter.split(np.zeros(len(answers)), answers, speakers))


class Tally:
    """The time, choices and decisions of one of the two in each fold."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.elapsed: list[float] = []
        self.chosen: list[tuple[int, float]] = []
        self.decided: list[Array] = []
        self.right: list[Array] = []
        self.gradients: list[float] = []

    def run(self, features: Array, answers: Array, speakers: Array, side: Side, held_out: HeldOut, fit: Fit) -> None:
        """Choose layer and C inside the training side, fit, and classify the test side."""
        train, test = side
        inner = list(divided(answers[train], speakers[train], INNER_FOLDS))
        clock, processor = time.perf_counter(), time.process_time()
        inside, known = features[train], answers[train]
        layers = [held_out(inside[:, layer], known, inner, [LAYER_STRENGTH])[0] for layer in range(LAYERS)]
        layer = best(layers, known)
        C = STRENGTHS[best(list(held_out(inside[:, layer], known, inner, STRENGTHS)), known)]
        fitted = fit(inside[:, layer], known, C)
        decided = fitted.predict(features[test, layer].astype(np.float64))
        self.seconds.append(time.process_time() - processor)
        self.elapsed.append(time.perf_counter() - clock)
        self.chosen.append((layer, C))
        self.decided.append(decided)
        self.right.append(decided == answers[test])
        if fit is our_fit:
            self.gradients.append(fitted.optimum.gradient)


def best(decisions: list[Array], answers: Array) -> int:
    """Return the index of the highest UAR, the first of equals."""
    return int(np.argmax([recall_score(answers, decided, average="macro", zero_division=0) for decided in decisions]))


def our_fit(features: Array, answers: Array, C: float) -> Any:
    """Fit our probe with one C."""
    return fit_path(features, answers, [C])[0]


def peer_fit(features: Array, answers: Array, C: float) -> Any:
    """Fit scikit-learn's probe in float64."""
    classifier = LogisticRegression(C=C, class_weight="balanced", max_iter=1000)
    return make_pipeline(StandardScaler(), classifier).fit(features.astype(np.float64), answers)


def peer_held_out(features: Array, answers: Array, sides: Sequence[Side], strengths: Sequence[float]) -> Array:
    """Do what ``held_out`` does with scikit-learn, each fit from scratch."""
    predicted = np.empty((len(strengths), len(answers)), answers.dtype)
    for row, C in zip(predicted, strengths, strict=True):
        for train, test in sides:
            row[test] = peer_fit(features[train], answers[train], C).predict(features[test].astype(np.float64))
    return predicted


def rotations(features: Array, answers: Array, speakers: Array, chosen: list[tuple[int, float]]) -> dict[str, float]:
    """Return the shares of test decisions that change under rotation, at C = 1 on the chosen layers."""
    turned = np.linalg.qr(np.random.default_rng(1).standard_normal((DIM, DIM)))[0]
    changes: dict[str, list[Array]] = {}
    for (train, test), (layer, _) in zip(divided(answers, speakers, FOLDS), chosen, strict=False):
        scaler = StandardScaler().fit(features[train, layer].astype(np.float64))
        inside, outside = (scaler.transform(features[rows, layer].astype(np.float64)) for rows in (train, test))
        axes = np.linalg.svd(inside, full_matrices=True)[2].T
        for name, decide in (("ours", our_decisions), ("peer", peer_decisions)):
            plain = decide(inside, answers[train], outside)
            for way, rotation in (("principal", axes), ("random", turned)):
                found = decide(inside @ rotation, answers[train], outside @ rotation)
                changes.setdefault(f"{name}_{way}", []).append(found != plain)
    return {name: float(np.mean(np.concatenate(found))) for name, found in changes.items()}


def our_decisions(inside: Array, answers: Array, outside: Array) -> Array:
    """Classify clips without standardising them, at C = 1."""
    (optimum,) = optima(inside.copy(), answers, [1.0])
    decided: Array = (outside @ optimum.weights + optimum.intercepts).argmax(axis=1)
    return decided


def peer_decisions(inside: Array, answers: Array, outside: Array) -> Array:
    """Classify clips with scikit-learn without standardising them, at C = 1."""
    classifier = LogisticRegression(C=1.0, class_weight="balanced", max_iter=1000)
    return np.asarray(classifier.fit(inside, answers).predict(outside))


if __name__ == "__main__":
    main()
