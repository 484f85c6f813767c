"""Numbers printed in papers, for models with the same id, corpus, classes and protocol as in a task's results.

``published.csv`` holds every cell of the papers' tables. Here its models are assigned ids of the Hub, and its corpora
names of the catalog, if the papers leave no doubt about them; the others match nothing. What the paper trained may
differ from what was trained here, so this is stated with each number.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from nonverbal.evaluation.results import ModelResult, TaskResult
from nonverbal.evaluation.score_tables import model_cells, model_columns, spread, title
from nonverbal.evaluation.tables import Table, short
from nonverbal.tasks.protocols import NAMED

FILE = Path(__file__).with_name("published.csv")


@dataclass(frozen=True)
class Source:
    """A table of a paper."""

    place: str
    protocol: str
    """The name in tables of the protocol that the paper states or its code uses."""
    models: Mapping[str, str]
    """From a model's name in the table to its id."""
    corpora: Mapping[str, str]
    """From a corpus's name in the paper to its name in the catalog."""
    classes: tuple[str, str] | int
    """Number of classes of each corpus: place and metric if the paper states it, or the number."""
    trained: str | None = None
    """What was trained; None if the note of a cell begins with it."""


@dataclass(frozen=True)
class Printed:
    """The numbers that a paper printed for one model and one corpus."""

    paper: str
    place: str
    trained: str
    """Such as ``fine-tuned`` or ``cnn``."""
    values: dict[str, tuple[float, float | None]]
    """``uar``, ``accuracy``, ``f1``: value and standard deviation, in [0, 1]; None for a missing standard deviation."""


_BASE = {"wav2vec2": "facebook/wav2vec2-base", "hubert": "facebook/hubert-base-ls960", "wavlm": "microsoft/wavlm-base"}

SOURCES: dict[str, Source] = {
    "voc2vec": Source(
        "Table IV",
        NAMED["voc2vec"].protocol.name,
        {
            "data2vec": "facebook/data2vec-audio-base",
            "hubert-as": "ALM/hubert-base-audioset",
            "hubert-ls": _BASE["hubert"],
            "voc2vec-ls": "alkiskoudounas/voc2vec-ls-pt",
            "wav2vec2-as": "ALM/wav2vec2-base-audioset",
            "wav2vec2-ls": _BASE["wav2vec2"],
            "wavlm": _BASE["wavlm"],
            "wavlm-plus": "microsoft/wavlm-base-plus",
        },
        {
            "asvp-esd": "asvp-esd",
            "asvp-esd (babies)": "asvp-esd-babies",
            "cnvve": "cnvve",
            "donate a cry": "donateacry",
            "nonverbal vocalization": "nonverbal-vocalization",
            "vivae": "vivae",
        },
        ("Table II", "classes"),
        "fine-tuned",
    ),
    "reno": Source(
        "Table I",
        NAMED["reno"].protocol.name,
        {"W": _BASE["wavlm"], "U": "microsoft/unispeech-sat-base", "W2": _BASE["wav2vec2"], "H": _BASE["hubert"]},
        {"asvp-esd": "asvp-esd-nonspeech", "jnv": "jnv", "vivae": "vivae"},
        0,
    ),
    "recovery": Source(
        "Table I",
        NAMED["leave-one-session-out"].protocol.name,
        {
            "PT": _BASE["wav2vec2"],
            "ASR10": "Xinnian/w2v2-libri-10min",
            "ASR100": "facebook/wav2vec2-base-100h",
            "ASR960": "facebook/wav2vec2-base-960h",
        },
        {"iemocap": "iemocap", "msp-improv": "msp-improv"},
        4,
        "svm",
    ),
    "cross_lingual": Source(
        "Table 3",
        NAMED["cross_lingual"].protocol.name,
        {
            "Wav2Vec 2.0 Base": _BASE["wav2vec2"],
            "Whisper Small (EN)": "openai/whisper-small.en",
            "Whisper Small": "openai/whisper-small",
            "Whisper Medium": "openai/whisper-medium",
        },
        {name: name.replace("é", "e") for name in (
            "aesdd", "cafe", "demos", "emodb", "emomatch", "emovo", "eyase", "oréau", "shemo"
        )},
        ("Table 1", "emotions"),
    ),
}  # fmt: skip
"""From a paper to its table. RENO and the cross-lingual paper only say base, which is assumed to be Hugging Face's
checkpoint of that name. Large, XLS-R and emotion2vec are left out, because several checkpoints have these names; so is
openSMILE, whose feature set voc2vec does not name."""

METRICS = {"uar": "uar", "accuracy": "accuracy", "war": "accuracy", "macro_f1": "f1", "f1": "f1"}


def printed(task: TaskResult, model: ModelResult) -> list[Printed]:
    """Return what papers printed for a model on this corpus, with the same number of classes, under this protocol."""
    return [
        one
        for paper, source in SOURCES.items()
        if source.protocol == task.protocol
        for one, classes in _of(paper, task.corpus, model.model)
        if classes in (0, len(task.classes))
    ]


def elsewhere(task: TaskResult) -> list[str]:
    """Say for which other protocols and classes papers printed numbers of a task's models on its corpus."""
    found = {
        (paper, source.protocol, classes): None
        for paper, source in SOURCES.items()
        for model in task.models
        for _, classes in _of(paper, task.corpus, model.model)
        if source.protocol != task.protocol or classes not in (0, len(task.classes))
    }
    return [f"{paper}: {protocol}" + (f", {classes} classes" if classes else "") for paper, protocol, classes in found]


def published_table(task: TaskResult) -> Table | None:
    """Return our means over folds beside printed numbers, with a row for each of these; None if there are none.

    If papers only have numbers for other protocols or classes, the table has no rows, and says for which.
    """
    found = [(model, one) for model in task.models for one in printed(task, model)]
    others = elsewhere(task)
    if not found and not others:
        return None
    names = [name for name in ("uar", "accuracy", "f1") if any(name in one.values for _, one in found)]
    texts = {"uar": "UAR", "accuracy": "accuracy", "f1": "F1 seen"}
    columns = [*model_columns(task), *(part for name in names for part in (texts[name], f"{texts[name]}, printed"))]
    rows = [
        [
            *model_cells(task, model),
            *(cell for name in names for cell in (spread(model, _OURS[name]), _cell(one.values.get(name)))),
            f"{one.paper}, {one.place}: {one.trained}",
        ]
        for model, one in found
    ]
    notes = [
        "ours: mean ± population std over folds; printed: as in the paper, not necessarily on the same clips; the last "
        "column states what was trained",
    ]
    clips = sum(task.clips.values())
    notes += [
        f"{paper} has {count} clips of this corpus; here there are {clips}" for paper, count in _clips(task).items()
    ]
    notes += [
        f"papers have other numbers for these models and this corpus, not comparable with those here: {other}"
        for other in others
    ]
    return Table(f"{title(task)}: what papers printed", [*columns, "printed by"], rows, notes, len(model_columns(task)))


_OURS = {"uar": "uar", "accuracy": "accuracy", "f1": "f1_seen"}


def _cell(value: tuple[float, float | None] | None) -> str:
    if value is None:
        return "-"
    mean, std = value
    return short(mean) if std is None else f"{short(mean)}±{short(std)}"


def _clips(task: TaskResult) -> dict[str, int]:
    """Return, by paper, how many clips of the corpus the paper had, for papers that say so."""
    return {
        row["paper"]: int(row["value"])
        for row in published_rows()
        if row["metric"] == "clips"
        and row["paper"] in SOURCES
        and SOURCES[row["paper"]].corpora.get(row["data"].lower()) == task.corpus
    }


def _of(paper: str, corpus: str, model: str) -> Iterator[tuple[Printed, int]]:
    """Yield what a paper printed for model and corpus, under any protocol, with its number of classes (0: unstated)."""
    source = SOURCES[paper]
    by_training: dict[str, dict[str, tuple[float, float | None]]] = {}
    data = ""
    for row in published_rows():
        if (row["paper"], row["place"]) != (paper, source.place) or source.models.get(row["model"]) != model:
            continue
        if source.corpora.get(row["data"].lower()) != corpus or row["metric"] not in METRICS:
            continue
        data, scale = row["data"].lower(), 0.01 if "percent" in row["note"] else 1
        trained = source.trained or row["note"].split(";")[0]
        std = float(row["std"]) * scale if row["std"] else None
        by_training.setdefault(trained, {})[METRICS[row["metric"]]] = (float(row["value"]) * scale, std)
    for trained, values in by_training.items():
        yield Printed(paper, source.place, trained, values), _classes(paper, source, data)


def _classes(paper: str, source: Source, data: str) -> int:
    if isinstance(source.classes, int):
        return source.classes
    wanted = (paper, *source.classes, data)
    return next(
        (
            int(r["value"])
            for r in published_rows()
            if (r["paper"], r["place"], r["metric"], r["data"].lower()) == wanted
        ),
        0,
    )


@cache
def published_rows() -> list[dict[str, str]]:
    """Return the rows of ``published.csv``, each a cell of a paper's table."""
    with open(FILE, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
