"""Records of studies made by hand, with score files beside them, for tests of what reads them."""

from pathlib import Path
from typing import Any

from scored import write_scored

from nonverbal.evaluation.studies import (
    VERSION,
    FigureShape,
    StudyCorpus,
    StudyModel,
    StudyRecord,
    StudyStep,
    TableShape,
    write_study,
)

LABELS = list("ab" * 6)
FOLDS = list("000000111111")


def corpus(name: str, printed: str | None = None, **changes: Any) -> StudyCorpus:
    fields: dict[str, Any] = {
        "use": "score",
        "present": True,
        "why": None,
        "reader": name,
        "note": None,
        "shards": None,
    }
    return StudyCorpus(name=name, printed=printed, **(fields | changes))


def model(name: str, printed: str | None = None, **changes: Any) -> StudyModel:
    fields: dict[str, Any] = {"present": True, "why": None, "source": f"hub/{name}", "note": None}
    return StudyModel(name=name, printed=printed, **(fields | changes))


def step(name: str, run: str = "finetune", words: str = "corpus model", **changes: Any) -> StudyStep:
    """Return a step that is done, whose loops have the values that its name has after dots."""
    base, *values = name.split(".")
    fields: dict[str, Any] = {
        "loop": dict(zip(words.split(), values, strict=False)),
        "status": "done",
        "why": None,
        "shows": [],
        "note": None,
        "command": ["nonverbal", run, "--out", f"a b/{name}"],
        "out": name,
        "key": "0123456789abcdef",
        "seconds": 90.0,
        "bytes": 2_000_000,
        "machine": "two cores",
        "when": "2026-11-27T12:00:00Z",
    }
    return StudyStep(name=name, step=base, run=run, **(fields | changes))


def left_out(name: str, why: str, run: str = "finetune") -> StudyStep:
    nothing: dict[str, Any] = dict.fromkeys(["command", "out", "key", "seconds", "bytes", "machine", "when"])
    return step(name, run, status="left out", why=why, **nothing)


def record(
    corpora: list[StudyCorpus],
    models: list[StudyModel],
    steps: list[StudyStep],
    tables: dict[str, TableShape],
    figures: dict[str, FigureShape] | None = None,
    paper: str | None = "voc2vec",
) -> StudyRecord:
    return StudyRecord(
        VERSION, "A study", paper, "title: A study\n", ["to know"], corpora, models, steps, tables, figures or {}
    )


def write_step(folder: Path, name: str, model: str, wrong: int, **changes: Any) -> None:
    """Write the scores of a step: of 12 clips of two classes in two folds, the first ``wrong`` are decided wrongly."""
    other = {"a": "b", "b": "a"}
    predicted = [other[label] if place < wrong else label for place, label in enumerate(LABELS)]
    groups = [str(place) for place in range(len(LABELS))]
    write_scored(folder / name, model, LABELS, predicted, FOLDS, groups, **changes)


__all__ = ["FigureShape", "TableShape", "corpus", "left_out", "model", "record", "step", "write_step", "write_study"]
