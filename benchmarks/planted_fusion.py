"""Does RENO's divergence find what attention alone or concatenation does not? On data for which the truth is known.

``python benchmarks/planted_fusion.py [--seeds 12] [--threads 1] [--json FILE]``

Two synthetic encoders of 96 values embed 200 clips of 4 classes for training, and 600 for testing. The values are
random mixtures of latent values, which depend on the class or belong to one encoder alone (16), plus noise in every
value. There are three worlds:

- ``shared``: both encoders have the same latent values of the class, so what they agree on is what matters.
- ``private``: a class is a pair of bits; the first encoder has one bit, the second the other. They agree on nothing.
- ``misleading``: as ``private``, but both encoders share eight strong latent values that do not depend on the class.

Each seed makes a new instance of each world. In it, all methods have the same clips, initial weights from the same
seed, and 20 epochs. ``uar`` and ``std`` are the mean and the population standard deviation over seeds; ``differences``
holds the mean difference of two methods, paired by seed, with the two-sided p-value of the exact sign-flip test, and
adjusted by Holm's method over all comparisons. ``divergence`` is the divergence between the two encoders' features on
the test clips after training.
"""

import argparse
import json
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import permutation_test

from nonverbal.evaluation.heads.base import Job
from nonverbal.evaluation.heads.fusion import METHODS
from nonverbal.tasks.metrics import uar
from nonverbal.tasks.statistics.comparisons import holm

TRAINED, TESTED, CLASSES, DIM, OWN = 200, 600, 4, 96, 16
WORLDS = ("shared", "private", "misleading")
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "concat": ("concat", {}),
    "attention": ("attention", {}),
    "reno": ("reno", {}),
    "reno, delta 0.001": ("reno", {"delta": 0.001}),
}
"""Method and settings by name. The last has a divergence that is not nearly flat."""

Array = np.ndarray


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    start = time.process_time()
    figures = measure(arguments.seeds) | {"seconds": time.process_time() - start}
    print(json.dumps(figures, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(seeds: int) -> dict[str, Any]:
    """Return the results of each method in each world, and their differences."""
    found = {world: {name: np.zeros((seeds, 2)) for name in VARIANTS} for world in WORLDS}
    for seed in range(seeds):
        for world in WORLDS:
            features, answers = planted(world, seed)
            for name, (method, settings) in VARIANTS.items():
                found[world][name][seed] = scored(
                    METHODS[method](widths=(DIM, DIM), **settings), features, answers, seed
                )
            print(seed, world, {name: float(rows[seed, 0].round(3)) for name, rows in found[world].items()}, flush=True)
    worlds = {world: {name: summary(rows) for name, rows in by_name.items()} for world, by_name in found.items()}
    return {"seeds": seeds, "worlds": worlds, "differences": differences(found)}


def planted(world: str, seed: int) -> tuple[Array, Array]:
    """Return features ``(clips, 1, 2 x DIM)`` float32 and classes ``(clips,)``, the training clips first."""
    random = np.random.default_rng([seed, WORLDS.index(world)])
    clips = TRAINED + TESTED
    answers = random.permutation(np.arange(clips) % CLASSES)
    if world == "shared":
        hidden = random.standard_normal((CLASSES, 8))[answers] + 0.8 * random.standard_normal((clips, 8))
        told = [hidden, hidden]
    else:
        halves = [answers // 2, answers % 2]
        told = [random.standard_normal((2, 8))[half] + 0.8 * random.standard_normal((clips, 8)) for half in halves]
    common = 2.0 * random.standard_normal((clips, 8))
    parts = []
    for values in told:
        sources = [0.5 * values, random.standard_normal((clips, OWN))]
        sources += [common] if world == "misleading" else []
        mixed = np.concatenate(sources, axis=1)
        mixing = random.standard_normal((mixed.shape[1], DIM)) / np.sqrt(mixed.shape[1])
        parts.append(mixed @ mixing + random.standard_normal((clips, DIM)))
    return np.concatenate(parts, axis=1).astype(np.float32)[:, None], answers


def scored(head: Any, features: Array, answers: Array, seed: int) -> tuple[float, float]:
    """Return the UAR and the divergence on the test clips."""
    names = [str(number) for number in range(CLASSES)]
    job = Job(features[:TRAINED], answers[:TRAINED], names, [""] * TRAINED, [], seed, one_frame=True)
    (fitted,) = head.fit([job])
    decided = fitted.predict(features[TRAINED:]).argmax(axis=1)
    network = fitted.network
    with torch.no_grad():
        encoded = network._encoded(torch.from_numpy(features[TRAINED:, 0]))
        divergence = float(network._divergence(encoded).mean())
    return uar(answers[TRAINED:], decided), divergence


def summary(rows: Array) -> dict[str, float]:
    """Return mean and population standard deviation over seeds."""
    return {"uar": float(rows[:, 0].mean()), "std": float(rows[:, 0].std()), "divergence": float(rows[:, 1].mean())}


def differences(found: dict[str, dict[str, Array]]) -> list[dict[str, Any]]:
    """Return the differences between all pairs of methods in each world."""
    rows: list[dict[str, Any]] = []
    for world, by_name in found.items():
        for first, second in combinations(reversed(VARIANTS), 2):
            difference = by_name[first][:, 0] - by_name[second][:, 0]
            test = permutation_test((difference,), np.mean, permutation_type="samples", n_resamples=2**14, rng=0)
            values = {"difference": float(difference.mean()), "std": float(difference.std()), "p": float(test.pvalue)}
            rows.append({"world": world, "first": first, "second": second, **values})
    for row, adjusted in zip(rows, holm(np.array([row["p"] for row in rows])), strict=True):
        row["p_holm"] = float(adjusted)
    return rows


if __name__ == "__main__":
    main()
