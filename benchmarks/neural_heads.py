"""Measures how fast neural heads are trained: many networks in one computation, and one by one in a plain loop.

``python benchmarks/neural_heads.py [--epochs 5] [--device cpu] [--threads 1] [--json FILE]``; ``benchmarks/heads.py``
runs it too.

Synthetic embeddings of 726 clips with 768 values and 16 classes are used to train 15 networks, on 484 clips each: 3
inner folds in each of 5 folds. Both ways take the same steps with the same batches, and classify the inner test clips
after each epoch. The loop is written plainly: a module on the device, rows by index,
``torch.optim.Adam(fused=True)``, ``zero_grad(set_to_none=True)``, PyTorch's dropout. The ``ratio`` of a head is the
loop's seconds over ours, if ours chooses how many networks it trains at a time; ``by_networks`` has the ratios of other
numbers. On a CPU, seconds are CPU time, which other programs on the machine affect less.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nonverbal.evaluation.heads import HEADS
from nonverbal.evaluation.heads.layers import MeanHead
from nonverbal.evaluation.heads.neural import count
from nonverbal.evaluation.heads.training import Network, Unit, at_a_time, build, train

CLIPS, DIM, CLASSES, NETWORKS = 726, 768, 16, 15


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    figures = measure(arguments.epochs, torch.device(arguments.device)) | {"threads": arguments.threads}
    print(json.dumps(figures, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(epochs: int, device: torch.device, names: tuple[str, ...] = ("mlp", "linear", "fcn")) -> dict[str, Any]:
    """Return the ratios of some heads."""
    figures: dict[str, Any] = {"device": str(device), "networks": NETWORKS, "heads": {}}
    for name in names:
        head = HEADS[name]
        assert isinstance(head, MeanHead)
        parameters = count(units(head, epochs)[0].network)
        own = at_a_time(NETWORKS, parameters, device)
        seconds = {size: timed(partial(ours, head, epochs, device, size)) for size in sorted({1, 5, 15, own})}
        loop = timed(partial(looped, head, epochs, device))
        figures["heads"][name] = {
            "parameters": parameters,
            "together": own,
            "seconds": seconds[own],
            "seconds_loop": loop,
            "ratio": loop / seconds[own],
            "by_networks": {size: loop / value for size, value in seconds.items()},
        }
    return figures | {"ratio": min(found["ratio"] for found in figures["heads"].values())}


def timed(run: Callable[[], None]) -> float:
    """Return the seconds of the fastest of three runs."""
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    seconds = []
    for _ in range(3):
        start = clock()
        run()
        seconds.append(clock() - start)
    return min(seconds)


def units(head: MeanHead, epochs: int) -> list[Unit]:
    """Return the networks, with the same initial weights."""
    random = np.random.default_rng(0)
    labels = np.arange(CLIPS) % CLASSES
    features = random.standard_normal((CLIPS, 1, 2 * DIM)).astype(np.float32)
    features[:, 0, :CLASSES] += 2 * np.eye(CLASSES, dtype=np.float32)[labels]
    read, made = head.read(features, False), []
    for _ in range(NETWORKS):
        order = random.permutation(CLIPS)
        rows, test = np.sort(order[:484]), np.sort(order[484:])
        network = build(partial(head.network, read, rows, CLASSES), 0)
        made.append(Unit(network, read, labels, rows, test, epochs, 0, head.epochs))
    return made


def ours(head: MeanHead, epochs: int, device: torch.device, size: int) -> None:
    """Train ``size`` networks at a time."""
    made = units(head, epochs)
    for start in range(0, len(made), size):
        for _ in train(made[start : start + size], head.gather, head, device):
            pass


def looped(head: MeanHead, epochs: int, device: torch.device) -> None:
    """Train one network after another."""
    for unit in units(head, epochs):
        network, features = unit.network.to(device), unit.features.to(device)
        labels = torch.from_numpy(unit.labels).to(device)
        optimizer = torch.optim.Adam(
            network.parameters(), head.rate, head.betas, head.eps, head.weight_decay, fused=True
        )
        balance = 1 / torch.bincount(labels[torch.from_numpy(unit.train).to(device)]).float()
        steps = unit.steps(head.batch)
        for step in range(epochs * steps):
            optimizer.param_groups[0]["lr"] = head.rate_of(step, head.epochs * steps)
            rows = torch.from_numpy(unit.batch(step, head.batch)).to(device)
            optimizer.zero_grad(set_to_none=True)
            logits = network((features[rows],), dropout(head, network, len(rows), device))
            loss = nn.functional.cross_entropy(logits, labels[rows], balance if head.weigh_classes else None)
            loss.backward()
            optimizer.step()
            if (step + 1) % steps == 0:
                with torch.no_grad():
                    network((features[torch.from_numpy(unit.test).to(device)],), None).argmax(dim=1).cpu()


def dropout(head: MeanHead, network: Network, rows: int, device: torch.device) -> list[torch.Tensor] | None:
    """Draw masks with PyTorch's dropout."""
    if not head.dropout:
        return None
    return [nn.functional.dropout(torch.ones(rows, width, device=device), head.dropout) for width in network.dropped]


if __name__ == "__main__":
    main()
