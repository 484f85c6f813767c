"""Predict classes of sounds with a fine-tuned model: ``nonverbal predict MODEL FILES_OR_FOLDERS --out FILE``.

By path: ``python finetune/predict.py MODEL FILES_OR_FOLDERS --out FILE``. Every sound file is decoded as by ``nonverbal
prepare``, and gets a row with the probability of each class; with ``--window``, each window gets a row. The row of a
file that cannot be read gives the reason.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nonverbal import cli, config
from nonverbal.data.index import SAMPLE_RATE
from nonverbal.data.preparing.settings import available_processors
from nonverbal.data.progress import progress
from nonverbal.data.recordings import recordings_in
from nonverbal.errors import UserError
from nonverbal.files import room_for
from nonverbal.objectives.opening_classifiers import open_classifier
from nonverbal.paths import PathOrName
from nonverbal.row_files import check_ending, row_file
from nonverbal.stages.predict_files import Predictor, Said, Spans, predictions
from nonverbal.stages.predicting import read_limits
from nonverbal.system import set_up_gpus

COLUMNS = ("file", "start", "end", "predicted", "problem")
"""Columns of a CSV file that come before the probabilities."""


@dataclass
class PredictConfig:
    """Which sounds are classified by which model, and where the predictions are written."""

    model: PathOrName
    """A run of `nonverbal finetune` that has a model/ (--final), or one of its folds; or a folder or Hugging Face Hub
    id of a transformers model for audio classification. It may come first, without `--model`."""
    files: list[Path]
    """Sound files, folders of them, zip archives and tars, as for `nonverbal prepare`. They may follow the model,
    without `--files`."""
    out: Path
    """File for the rows: CSV if it ends in .csv, JSON Lines if it ends in .jsonl."""
    window: float | None = None
    """Length of a window in seconds; each window has a row. Unset: one row for each file, however long."""
    hop: float | None = None
    """Seconds from one window to the next, at most --window. Unset: --window, so that windows do not overlap."""
    processes: int = field(default_factory=available_processors)
    """Number of processes that decode files."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense."""
        check_ending(self.out, "--out")
        if self.processes < 1:
            raise UserError(f"--processes must be at least 1, but is {self.processes}")
        for name in ("window", "hop"):
            seconds = getattr(self, name)
            if seconds is not None and not 1 / SAMPLE_RATE <= seconds < 1e6:
                raise UserError(f"--{name} must be a number of seconds above 0, but is {seconds}")
        if self.hop is not None and self.hop > (self.window or 0):
            asked = "leave it out, or give --window too" if self.window is None else f"lower it to {self.window:g}"
            raise UserError(f"--hop is {self.hop:g} s, which would skip sound between windows; {asked}")

    @property
    def spans(self) -> Spans | None:
        """Return the windows, in samples."""
        if self.window is None:
            return None
        return Spans(*(round(seconds * SAMPLE_RATE) for seconds in (self.window, self.hop or self.window)))


def main(argv: list[str]) -> None:
    """Classify all files, and write the predictions."""
    settings = config.load(PredictConfig, with_model(argv), prog="nonverbal predict", description=__doc__)
    recordings = recordings_in(settings.files, lambda text: print(f"nonverbal: {text}", file=sys.stderr))
    set_up_gpus()
    model = model_in(str(settings.model))
    classifier = open_classifier(model).to("cuda" if torch.cuda.is_available() else "cpu")
    limits = read_limits(folder_of(model)).limits(classifier.encoder.shortest, classifier.encoder.longest)
    predictor = Predictor(classifier, limits, settings.spans)
    rows = unread = 0
    columns = [*COLUMNS, *(f"probabilities.{name}" for name in classifier.classes)]
    with (
        room_for(settings.out),
        row_file(settings.out, columns) as write,
        progress("predicting", len(recordings), "files") as advance,
    ):
        for recording, said in predictions(predictor, recordings, settings.processes):
            for row in rows_of(recording.name, said, classifier.classes):
                write(row)
                rows += 1
            unread += isinstance(said, str)
            advance(1)
    print(f"predictions: {settings.out} ({rows} rows of {len(recordings)} files)")
    if unread:
        print(f"{unread} of {len(recordings)} files cannot be read; the column `problem` gives the reasons")
    if unread == len(recordings):
        raise UserError(f"no file could be read; {settings.out} gives the reason for each")


def rows_of(name: str, said: list[Said] | str, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of a file: one per stretch, or a single one with the reason why it cannot be read."""
    if isinstance(said, str):
        nothing = dict.fromkeys(("start", "end", "predicted"))
        return [{"file": name, **nothing, "problem": said, "probabilities": {}}]
    return [
        {
            "file": name,
            "start": one.start,
            "end": one.end,
            "predicted": classes[int(one.probabilities.argmax())],
            "problem": None,
            "probabilities": dict(zip(classes, one.probabilities.tolist(), strict=True)),
        }
        for one in said
    ]


def model_in(source: str) -> str:
    """Return the model of a source; for a run with folds, the model trained on all clips.

    Raises:
        UserError: the run has no such model.
    """
    run = Path(source)
    if not (run / "folds.json").is_file():
        return source
    if not (run / "model").is_dir():
        raise UserError(
            f"{run} has no model trained on all clips: run its nonverbal finetune again with --final, or give the "
            f"model of one fold, such as {run / 'seed-0/fold-0'}"
        )
    return str(run / "model")


def folder_of(model: str) -> Path:
    """Return the folder of a model's files; for a fold, this is its encoder/."""
    folder = Path(model)
    return folder / "encoder" if (folder / "recipe.yaml").is_file() else folder


def with_model(argv: list[str]) -> list[str]:
    """Turn leading arguments into ``--model MODEL --files FILES``."""
    leading = next((place for place, argument in enumerate(argv) if argument.startswith("-")), len(argv))
    model = [f"--model={argv[0]}"] if leading else []
    # As JSON, because file names may contain commas.
    files = [f"--files={json.dumps(argv[1:leading])}"] if leading > 1 else []
    return [*model, *files, *argv[leading:]]


if __name__ == "__main__":
    cli.run(main)
