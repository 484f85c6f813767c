"""How long ``nonverbal scores`` takes: reading, tables and comparisons of many models on many clips.

``python benchmarks/scores.py [--models 20] [--clips 10000] [--speakers 200] [--classes 6] [--json FILE]``

The whole is the command in a process of its own, its start included; the parts are measured in this process.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from nonverbal.evaluation.results import comparisons, results
from nonverbal.tasks.measurements import read_measurements
from nonverbal.tasks.metrics import metrics
from nonverbal.tasks.predictions import write_predictions
from nonverbal.tasks.scores import Score, write_scores

FOLDS = 5


def main() -> None:
    """Write scores, read them, print and write the seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("models", 20), ("clips", 10_000), ("speakers", 200), ("classes", 6)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    sizes = {name: getattr(arguments, name) for name in ("models", "clips", "speakers", "classes")}
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), **sizes)
        figures: dict[str, Any] = sizes | seconds(Path(folder))
    print(json.dumps(figures, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def write(folder: Path, models: int, clips: int, speakers: int, classes: int) -> None:
    """Write scores of models that are right on more and more clips."""
    random = np.random.default_rng(0)
    names = [f"class-{number}" for number in range(classes)]
    labels, where = random.integers(0, classes, clips), random.integers(0, speakers, clips)
    for model in range(models):
        values = random.dirichlet(np.ones(classes), clips)
        right = random.random(clips) < 0.5 + model / models / 4
        top = values.argmax(1)
        rows = np.arange(clips)
        values[rows[right], labels[right]], values[rows[right], top[right]] = (
            values[rows[right], top[right]],
            values[rows[right], labels[right]],
        )
        predicted = values.argmax(1)
        file = f"predictions/model-{model}.jsonl"
        write_predictions(
            folder / file,
            (
                {
                    "clip": f"corpus/{row:06}.wav",
                    "label": names[labels[row]],
                    "predicted": names[predicted[row]],
                    "group": f"speaker-{where[row]}",
                    "fold": str(where[row] % FOLDS),
                    "speaker": f"speaker-{where[row]}",
                    "recording": f"recording-{row}",
                    "probabilities": dict(zip(names, values[row].tolist(), strict=True)),
                }
                for row in range(clips)
            ),
        )
        scores = []
        for fold in range(FOLDS):
            own = where % FOLDS == fold
            scores.append(
                Score(
                    model=f"model {model}",
                    model_key=str(model),
                    corpus="corpus",
                    data_sha256="0",
                    classes=names,
                    protocol="speaker-disjoint 5-fold, stratified",
                    probe="linear",
                    seed=0,
                    fold=str(fold),
                    metrics=metrics(labels[own], predicted[own]),
                    chosen={"layer": 0},
                    train_clips=int((~own).sum()),
                    test_clips=int(own.sum()),
                    test_classes=len(set(labels[own].tolist())),
                    pretraining="held out",
                    predictions=file,
                )
            )
        write_scores(folder / "scores.jsonl", scores)


def seconds(folder: Path) -> dict[str, float]:
    """Return the seconds of the command and of its parts."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "nonverbal", "scores", str(folder), "--json", str(folder / "all.json")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    whole = time.perf_counter() - began
    times = [time.perf_counter()]
    measurements = read_measurements([folder])
    times.append(time.perf_counter())
    tasks = results(measurements)
    times.append(time.perf_counter())
    for task in tasks:
        comparisons(task)
    times.append(time.perf_counter())
    parts = dict(zip(("reading", "tables", "comparisons"), np.diff(times).tolist(), strict=True))
    return {"seconds": whole, **{f"seconds_{name}": value for name, value in parts.items()}}


if __name__ == "__main__":
    main()
