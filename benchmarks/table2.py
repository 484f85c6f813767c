"""How long RENO's Table II takes: 18 pairs of encoders, 3 methods, 5 folds of 1085 clips (VIVAE's number, 6 classes).

``python benchmarks/table2.py [--share 1] [--share-single 0.1] [--threads 2] [--json FILE]``

Synthetic embeddings of the widths of the paper's encoders: 768 (four), 960, 1920, 3840; no two of the last three make a
pair. A class shows weakly, so that training stops where it does on real clips: on the fold that is scored, with a
patience of 5, after at most 20 epochs, as the paper has it. Of the 270 trainings there are 12 kinds, by widths and
method; ``--share`` takes that share of each kind, at least one, and ``seconds`` is what the whole would take at their
mean: ``extrapolated`` says whether it is that. ``seconds`` are the clock's, ``processor`` those of the processor, which
other processes of the machine disturb less.

``seconds_single`` is a plain loop over as many modules of PyTorch's own (``Conv1d``, ``MaxPool1d``,
``MultiheadAttention``, ``Adam(fused=True)``), that takes as many steps an epoch and stops likewise, on
``--share-single`` of each kind: always extrapolated. ``ratio`` is its processor seconds an epoch over ours, of the
trainings that both ran, which take turns; ``by_kind`` names each training's seconds, processor seconds and epochs.
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
"""Widths to how many of the 18 pairs have them."""


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of the grid, above 0 and at most 1")
    parser.add_argument("--share-single", type=float, default=0.1, help="of the grid that the plain loop runs on")
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
    """Return what the grid takes."""
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
    """Run a share of the trainings of one kind; return seconds, processor seconds and epochs of each."""
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
    """Return seconds of the clock, of the processor, and what ``run`` returns."""
    clock, processor = time.perf_counter(), time.process_time()
    epochs = run()
    return time.perf_counter() - clock, time.process_time() - processor, epochs


def runs(widths: tuple[int, int], count: int) -> Iterator[tuple[np.ndarray, np.ndarray, Fold]]:
    """Yield embeddings ``(clips, 1, sum of widths)``, classes and a fold, a pair's folds one after another."""
    for number in range(count):
        pair, fold = divmod(number, FOLDS)
        random = generator(pair, Stream.SYNTHETIC, *widths)
        answers = random.permutation(np.arange(CLIPS) % CLASSES)
        hidden = random.standard_normal((CLASSES, 16))[answers] + 2 * random.standard_normal((CLIPS, 16))
        mixed = hidden @ random.standard_normal((16, sum(widths))) / 4 + random.standard_normal((CLIPS, sum(widths)))
        folds = random_folds([str(answer) for answer in answers], FOLDS, pair, True)
        yield mixed.astype(np.float32)[:, None], answers, folds[fold]


def fitted(head: Fusion, features: np.ndarray, answers: np.ndarray, fold: Fold) -> int:
    """Train and test ours; return the epochs that were trained."""
    labels = [str(answer) for answer in answers]
    protocol = NAMED["reno"].protocol
    (result,) = cross_validate(head, features, labels, labels, [fold], 0, protocol, one_frame=True)
    return min(head.epochs, int(result.chosen["epochs"]) + head.patience)


def looped(head: Fusion, features: np.ndarray, answers: np.ndarray, fold: Fold) -> int:
    """Train and test as one would write it; return the epochs that were trained."""
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
    """The network of PyTorch's own modules."""

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
        """Return logits, and what comes of each encoder."""
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
