"""Measures the time of ``nonverbal scores``: reading, tables and comparisons of many models on many clips.

``python benchmarks/scores.py [--models 20] [--clips 10000] [--speakers 200] [--classes 6] [--json FILE]``

The total is that of the command in a separate process, including its start; the parts are measured in this process.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Clips:
    """Labels and speakers of the clips, each ``(clips,)`` int64."""

    labels: np.ndarray
    speakers: np.ndarray
    names: list[str]
    """Names of the classes."""

    def folds(self) -> np.ndarray:
        """Return the fold that tests each clip."""
        return self.speakers % FOLDS


def write(folder: Path, models: int, clips: int, speakers: int, classes: int) -> None:
    """Write scores of models, each of which is right on more clips than the one before."""
    random = np.random.default_rng(0)
    names = [f"class-{number}" for number in range(classes)]
    made = Clips(random.integers(0, classes, clips), random.integers(0, speakers, clips), names)
    for model in range(models):
        values = _values(random, made, 0.5 + model / models / 4)
        file = f"predictions/model-{model}.jsonl"
        write_predictions(folder / file, (_prediction(made, row, values[row]) for row in range(clips)))
        write_scores(folder / "scores.jsonl", [_score(made, model, fold, values, file) for fold in range(FOLDS)])


def _values(random: np.random.Generator, clips: Clips, share: float) -> np.ndarray:
    """Return probabilities ``(clips, classes)``; for at least ``share`` of the clips, the true class's is highest."""
    count = len(clips.labels)
    values = random.dirichlet(np.ones(len(clips.names)), count)
    right = np.flatnonzero(random.random(count) < share)
    top, true = values.argmax(1)[right], clips.labels[right]
    values[right, true], values[right, top] = values[right, top], values[right, true]
    return values


def _prediction(clips: Clips, row: int, values: np.ndarray) -> dict[str, Any]:
    return {
        "clip": f"corpus/{row:06}.wav",
        "label": clips.names[clips.labels[row]],
        "predicted": clips.names[values.argmax()],
        "group": f"speaker-{clips.speakers[row]}",
        "fold": str(clips.folds()[row]),
        "speaker": f"speaker-{clips.speakers[row]}",
        "recording": f"recording-{row}",
        "probabilities": dict(zip(clips.names, values.tolist(), strict=True)),
    }


def _score(clips: Clips, model: int, fold: int, values: np.ndarray, file: str) -> Score:
    own = clips.folds() == fold
    return Score(
        model=f"model {model}",
        model_key=str(model),
        corpus="corpus",
        data_sha256="0",
        classes=clips.names,
        protocol="speaker-disjoint 5-fold, stratified",
        probe="linear",
        seed=0,
        fold=str(fold),
        metrics=metrics(clips.labels[own], values[own].argmax(1)),
        chosen={"layer": 0},
        train_clips=int((~own).sum()),
        test_clips=int(own.sum()),
        test_classes=len(set(clips.labels[own].tolist())),
        pretraining="held out",
        predictions=file,
    )


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
