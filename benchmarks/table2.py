"""Measures how long RENO's Table II takes: 18 pairs of encoders, 3 methods, 5 folds of 1085 clips in 6 classes (VIVAE).

``python benchmarks/table2.py [--share 1] [--share-single 0.1] [--threads 2] [--json FILE]``

The embeddings are synthetic, with the widths of the paper's encoders: 768 (four), 960, 1920, 3840; no two of the last
three form a pair. Classes differ weakly, so that training takes about as many epochs as on real clips: as in the paper,
it stops by the fold that is scored, with a patience of 5, after at most 20 epochs. There are 270 trainings of 12 kinds,
by widths and method. ``--share`` runs this share of each kind, at least one training, and the totals are computed from
the mean of each kind; ``extrapolated`` states whether the share was below 1. ``seconds`` is elapsed time; ``processor``
is CPU time, which other programs on the machine affect less.

``seconds_single`` is the time of a plain loop over models of PyTorch's own modules (``Conv1d``, ``MaxPool1d``,
``MultiheadAttention``) with ``Adam(fused=True)``, which takes as many steps per epoch and stops by the same rule. It
runs on ``--share-single`` of each kind and is always extrapolated. ``ratio`` is its CPU seconds per epoch over ours,
for the trainings that both ran, which take turns; ``by_kind`` lists elapsed seconds, CPU seconds and epochs of each
training.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nonverbal.evaluation.cross_validation import cross_validate
from nonverbal.evaluation.heads.fusion import METHODS, Fusion
from nonverbal.seeding import Stream, generator
from nonverbal.tasks.folds import Fold, random_folds
from nonverbal.tasks.metrics import uar
from nonverbal.tasks.protocols import NAMED

CLIPS, CLASSES, FOLDS = 1085, 6, 5
PAIRS = {(768, 768): 6, (960, 768): 4, (1920, 768): 4, (3840, 768): 4}
"""Number of the 18 pairs by widths."""


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="share of the grid to run, above 0 and at most 1")
    parser.add_argument("--share-single", type=float, default=0.1, help="share of the grid for the plain loop")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    if not (0 < arguments.share <= 1 and 0 < arguments.share_single <= 1):
        parser.error("--share and --share-single must be above 0 and at most 1")
    torch.set_num_threads(arguments.threads)
    figures = measure(arguments.share, arguments.share_single) | {"threads": arguments.threads}
    print(json.dumps(figures, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(share: float, share_single: float) -> dict[str, Any]:
    """Return the time that the grid takes."""
    kinds = [
        kind_of(widths, method, pairs, share, share_single) for widths, pairs in PAIRS.items() for method in METHODS
    ]

    def total(name: str, part: int) -> float:
        return float(sum(kind["trainings"] * np.mean([row[part] for row in kind[name]]) for kind in kinds))

    both = [
        (kind["ours"][i], kind["single"][i])
        for kind in kinds
        for i in range(len(kind["single"]))
        if i < len(kind["ours"])
    ]
    return {
        "seconds": total("ours", 0),
        "processor": total("ours", 1),
        "extrapolated": share < 1,
        "trainings_measured": sum(len(kind["ours"]) for kind in kinds),
        "seconds_single": total("single", 0),
        "processor_single": total("single", 1),
        "single_extrapolated": True,
        "single_measured": sum(len(kind["single"]) for kind in kinds),
        "ratio": sum(single[1] / single[2] for _, single in both) / sum(ours[1] / ours[2] for ours, _ in both),
        "by_kind": kinds,
    }


def kind_of(widths: tuple[int, int], method: str, pairs: int, share: float, share_single: float) -> dict[str, Any]:
    """Run a share of the trainings of one kind; return elapsed seconds, CPU seconds and epochs of each."""
    head, trainings = METHODS[method](widths=widths), pairs * FOLDS
    ours, single = (max(1, round(part * trainings)) for part in (share, share_single))
    found: dict[str, Any] = {"widths": widths, "method": method, "trainings": trainings, "ours": [], "single": []}
    for number, (features, answers, fold) in enumerate(runs(widths, max(ours, single))):
        if number < ours:
            found["ours"].append(timed(partial(fitted, head, features, answers, fold)))
        if number < single:
            found["single"].append(timed(partial(looped, head, features, answers, fold)))
        print(widths, method, found["ours"][-1], found["single"][-1], flush=True)
    return found


def timed(run: Callable[[], int]) -> tuple[float, float, int]:
    """Return elapsed seconds, CPU seconds, and what ``run`` returns."""
    clock, processor = time.perf_counter(), time.process_time()
    epochs = run()
    return time.perf_counter() - clock, time.process_time() - processor, epochs


def runs(widths: tuple[int, int], count: int) -> Iterator[tuple[np.ndarray, np.ndarray, Fold]]:
    """Yield embeddings ``(clips, 1, sum of widths)``, classes and a fold, with the folds of a pair in sequence."""
    for number in range(count):
        pair, fold = divmod(number, FOLDS)
        random = generator(pair, Stream.SYNTHETIC, *widths)
        answers = random.permutation(np.arange(CLIPS) % CLASSES)
        hidden = random.standard_normal((CLASSES, 16))[answers] + 2 * random.standard_normal((CLIPS, 16))
        mixed = hidden @ random.standard_normal((16, sum(widths))) / 4 + random.standard_normal((CLIPS, sum(widths)))
        folds = random_folds([str(answer) for answer in answers], FOLDS, pair, True)
        yield mixed.astype(np.float32)[:, None], answers, folds[fold]


def fitted(head: Fusion, features: np.ndarray, answers: np.ndarray, fold: Fold) -> int:
    """Train and test our head; return the number of epochs that were trained."""
    labels = [str(answer) for answer in answers]
    protocol = NAMED["reno"].protocol
    (result,) = cross_validate(head, features, labels, labels, [fold], 0, protocol, one_frame=True)
    return min(head.epochs, int(result.chosen["epochs"]) + head.patience)


def looped(head: Fusion, features: np.ndarray, answers: np.ndarray, fold: Fold) -> int:
    """Train and test in a plain loop; return the number of epochs that were trained."""
    values, labels = torch.from_numpy(features[:, 0]), torch.from_numpy(answers)
    values = (values - values[fold.train].mean(0)) / values[fold.train].std(0)
    network = Plain(head)
    optimizer = torch.optim.Adam(network.parameters(), head.rate, fused=True)
    curve: list[float] = []
    while len(curve) < head.epochs and len(curve) - int(np.argmax(curve or [0])) - 1 < head.patience:
        network.train()
        for rows in torch.from_numpy(np.random.default_rng(len(curve)).permutation(fold.train)).split(head.batch):
            optimizer.zero_grad(set_to_none=True)
            network.loss(values[rows], labels[rows]).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            decided = network(values[fold.test])[0].argmax(dim=1).numpy()
        curve.append(uar(answers[fold.test], decided))
    return len(curve)


class Plain(nn.Module):
    """The network, made of PyTorch's own modules."""

    def __init__(self, head: Fusion) -> None:
        super().__init__()
        self.head = head
        self.blocks = nn.ModuleList(block(head.length) for _ in head.widths)
        self.own = nn.ModuleList(nn.MultiheadAttention(64, 2, batch_first=True) for _ in head.widths if head.attends)
        self.joint = nn.MultiheadAttention(64, 2, batch_first=True) if head.attends else None
        dense: list[nn.Module] = [nn.Linear(64 * head.length * 2, 512), nn.ReLU(), nn.Dropout(head.dropout)]
        dense += [nn.Linear(512, 128), nn.ReLU(), nn.Dropout(head.dropout), nn.Linear(128, CLASSES)]
        self.dense = nn.Sequential(*dense)

    def forward(self, values: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return logits, and the features of each encoder."""
        parts = values.split(self.head.widths, dim=1)
        parts = [own(part[:, None]).transpose(1, 2) for own, part in zip(self.blocks, parts, strict=True)]
        if self.joint is not None:
            parts = [part + own(part, part, part)[0] for own, part in zip(self.own, parts, strict=True)]
        together = torch.cat(parts, dim=1)
        if self.joint is not None:
            together = together + self.joint(together, together, together)[0]
        return self.dense(together.flatten(1)), parts

    def loss(self, values: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        logits, parts = self(values)
        loss = nn.functional.cross_entropy(logits, labels)
        if not self.head.diverges:
            return loss
        x, y = (part.mean(1).softmax(1) + self.head.delta for part in parts)
        x, y = x / x.sum(1, keepdim=True), y / y.sum(1, keepdim=True)
        return self.head.balance * loss + (1 - self.head.balance) * (x**2 / y).sum(1).log().mean()


def block(length: int) -> nn.Sequential:
    """Return the convolutional block of one encoder."""
    first, second = nn.Conv1d(1, 32, 3, padding="same"), nn.Conv1d(32, 64, 3, padding="same")
    return nn.Sequential(first, nn.ReLU(), nn.MaxPool1d(2), second, nn.ReLU(), nn.AdaptiveMaxPool1d(length))


if __name__ == "__main__":
    main()
