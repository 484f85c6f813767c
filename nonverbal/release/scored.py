"""What a model has scored: its rows among those of score files, with a leak audit of each task that it was scored on.

A row is the model's own where it has the key of its weights and of how they are read, whatever it was called. Beside it
stand encoders that need no checkpoint, the same encoder with random weights, and public checkpoints; all others are
left out, since their names may be paths.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from nonverbal.data.index import open_shards
from nonverbal.data.manifest import Clip
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import INITIALISED, KINDS
from nonverbal.evaluation.results import Estimate, results
from nonverbal.evaluation.score_tables import scores_table
from nonverbal.evaluation.tables import Table, short
from nonverbal.evaluation.text_results import RATES, text_results, text_table
from nonverbal.files import sha256_of
from nonverbal.launches import FILE as LAUNCHES
from nonverbal.launches import launch_key, read_launches
from nonverbal.public_checkpoints import CHECKPOINTS
from nonverbal.release.public import command_line, last_part
from nonverbal.tasks.contamination import HELD_OUT, LABELS_SEEN, TRANSDUCTIVE, UNKNOWN, worst
from nonverbal.tasks.divisions import ON_TEST
from nonverbal.tasks.measurements import (
    Measurement,
    ScoredFolds,
    TextMeasurement,
    read_measurements,
    read_text_measurements,
)
from nonverbal.tasks.scores import Score

THIS = "this model"
"""What a card calls the model in tables."""

RANDOM = "the same with random weights"

METRICS = {"uar": "UAR", "accuracy": "accuracy", "f1_true": "macro F1"} | RATES
"""That stand in a card's ``model-index``, with their names."""


@dataclass(frozen=True)
class Result:
    """A number of the model, as ``model-index`` has it."""

    task: str
    """``audio-classification``, or ``automatic-speech-recognition``."""
    corpus: str
    how: str
    """Protocol, and head where one was fitted."""
    status: str
    metric: str
    """Its identifier."""
    name: str
    value: float
    interval: str
    """Of .95, in brackets; empty without one."""


@dataclass(frozen=True)
class Scored:
    """What is known of a model's scores."""

    tables: list[Table]
    """One a task and protocol."""
    layers: list[Table]
    """How each layer did inside the training sides, and how often it was chosen there; of no protocol that chooses on
    what it tests."""
    results: list[Result]
    """Those of ``model-index``: no number of labels that were seen, or of a choice on the test side."""
    heard: dict[str, list[str]]
    """Leak status to the corpora of the tasks that have it."""
    audits: list[str]
    """In sentences, one a task and status."""
    commands: list[str]
    """That made the model's rows, where it is known; of paths their last parts alone."""
    left_out: int
    """Other models of the same tables that are not shown."""


class Row(Protocol):
    """A model's row in a table, of classes or of texts."""

    @property
    def model(self) -> str:
        """As the scores call it."""

    @property
    def head(self) -> str:
        """What was fitted on it."""

    @property
    def pretraining(self) -> str:
        """Leak status."""

    @property
    def pooled(self) -> dict[str, Estimate]:
        """By metric."""

    @property
    def scores(self) -> list[Score]:
        """One a fold and seed."""


def scored(
    key: str,
    source: str,
    own: Sequence[Path],
    paths: Sequence[Path],
    heard: Sequence[Clip],
    data: Sequence[Path],
    complete: bool = False,
) -> Scored:
    """Read a model's scores.

    Args:
        key: of the encoder, as it was loaded here.
        source: what the user called it, for messages.
        own: score files of its fine-tuning, all rows of which are of models made as it was.
        paths: other score files, or folders that hold some.
        heard: clips that it heard in pretraining.
        data: folders of shards, among which those may be that it was scored on.
        complete: whether it has heard nothing else.

    Raises:
        UserError: a file is missing or damaged, or none of ``paths`` has a row of the model.
    """
    classes, texts = (_by_path(read, own, paths) for read in (read_measurements, read_text_measurements))
    mine = _of_model(key, own, [*classes, *texts])
    if paths and not any(id(one) in mine for one in [*classes, *texts]):
        models = dict.fromkeys(one.scores[0].model for one in [*classes, *texts])
        raise UserError(
            f"--scores: no row is for {source}; the rows are for {', '.join(models) or 'nothing'}, with other weights "
            "or read differently; probe the model that is released"
        )
    names = {one.scores[0].model for one in [*classes, *texts] if id(one) in mine}

    def called(one: ScoredFolds) -> str | None:
        return THIS if id(one) in mine else _public(one, names)

    kept, kept_texts = (_once(_named(one, name) for one in side if (name := called(one))) for side in (classes, texts))
    audits = {id(one): _audit(one, heard, data, complete) for one in [*kept, *kept_texts] if one.row[0] == THIS}
    own_tables = {one.table for one in [*kept, *kept_texts] if id(one) in audits}
    kept, kept_texts = (
        [_judged(one, audits[id(one)][0]) if id(one) in audits else one for one in side if one.table in own_tables]
        for side in (kept, kept_texts)
    )
    tasks, recognised = results(kept), text_results(kept_texts)
    rows: list[tuple[str, str, str, Any]] = [
        *((("audio-classification"), task.corpus, task.protocol, row) for task in tasks for row in task.models),
        *(("automatic-speech-recognition", t.corpus, t.protocol, row) for t in recognised for row in t.models),
    ]
    this = [row for row in rows if row[3].model == THIS]
    left = {one.row for one in [*classes, *texts] if not called(one)}
    return Scored(
        [*map(scores_table, tasks), *map(text_table, recognised)],
        [table for _, corpus, protocol, row in this if (table := layer_table(corpus, protocol, row))],
        [result for place in this for result in _results(*place)],
        _by_status(this),
        list(dict.fromkeys(said for _, said in audits.values())),
        _commands(one for one in [*kept, *kept_texts] if one.row[0] == THIS),
        len(left),
    )


def _by_status(rows: Iterable[tuple[str, str, str, Row]]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for _, corpus, _, row in rows:
        found.setdefault(row.pretraining, {})[corpus] = None
    return {status: list(corpora) for status, corpora in found.items()}


def _by_path(read: Callable[[Sequence[Path]], list[Any]], own: Sequence[Path], paths: Sequence[Path]) -> list[Any]:
    both = [*own, *paths]
    return read(both) if both else []


def _of_model(key: str, own: Sequence[Path], all_: Iterable[ScoredFolds]) -> set[int]:
    """Return which measurements are of the model, by identity."""
    ours = {id(one) for one in all_ if _same(one.scores[0].model_key, key)}
    for one in all_:
        if "run" in one.scores[0].details and one.file in own:
            ours.add(id(one))
    return ours


def _same(one: str, other: str) -> bool:
    """Whether two keys name the same weights, read alike, on whatever device."""
    return one.rpartition("-")[0] == other.rpartition("-")[0] != ""


def _public(one: ScoredFolds, names: set[str]) -> str | None:
    """Return what a measurement of another model is called in public; None where it is nobody's business."""
    name = one.scores[0].model
    if name in CHECKPOINTS or (name in KINDS and not KINDS[name].learned):
        return name
    return RANDOM if name.startswith(INITIALISED) and name.removeprefix(INITIALISED) in names else None


def _named(one: Any, name: str) -> Any:
    """Return a measurement under another name; a head that is named with a folder keeps the last part of that."""
    head, told, folder = one.scores[0].probe.partition(", in ")
    probe = head + told + last_part(folder)
    return replace(one, scores=[replace(score, model=name, probe=probe) for score in one.scores])


def _once(measurements: Iterable[Any]) -> list[Any]:
    """Leave out what has been measured under another name of the same model, too.

    Raises:
        UserError: it came out otherwise.
    """
    found: dict[Any, Any] = {}
    for one in measurements:
        first = found.setdefault((one.table, one.row, one.scores[0].seed), one)
        if [score.metrics for score in one.scores] != [score.metrics for score in first.scores]:
            score = one.scores[0]
            raise UserError(
                f"{first.file} and {one.file} have different scores of one model ({score.corpus}, {score.protocol}, "
                f"{score.probe}, seed {score.seed}); give one of them"
            )
    return list(found.values())


def _commands(measurements: Iterable[ScoredFolds]) -> list[str]:
    """Return the commands that wrote measurements, each once."""
    found: dict[str, None] = {}
    for one in measurements:
        path, launch = one.file.parent / LAUNCHES, one.scores[0].launch
        rows = read_launches(path) if launch and path.is_file() else []
        commands = [
            row["command"] for row in rows if launch_key(row) == launch and isinstance(row.get("command"), list)
        ]
        found |= {command_line([str(part) for part in command]): None for command in commands[-1:]}
    return list(found)


def _judged(one: Any, status: str) -> Any:
    """Return a measurement of this model with the status that the audit came to."""
    return replace(one, scores=[replace(score, pretraining=status) for score in one.scores])


def _audit(
    one: Measurement | TextMeasurement, heard: Sequence[Clip], data: Sequence[Path], complete: bool
) -> tuple[str, str]:
    """Return the worse of a measurement's leak status and of what an audit finds, and how that was found.

    What the scores do not know, they are told where all that was heard, and the samples of what was scored, are here.
    """
    score = one.scores[0]
    title, scored_as = f"{score.corpus}, {score.protocol}", worst(row.pretraining for row in one.scores)
    if not heard:
        return scored_as, f"{title}: {scored_as}, as its scores say; no manifest of pretraining is here to audit."
    read = one.predictions if isinstance(one, Measurement) else one.transcriptions
    ids = set(read.clips)
    clips = _clips(score.data_sha256, ids, data)
    found = {
        "sample": _shared((clip.sha256 for clip in clips), (clip.sha256 for clip in heard)) if clips else None,
        "recording": _shared(read.recordings, (clip.recording for clip in heard)),
        "speaker": _shared(read.speakers, (clip.speaker for clip in heard)),
        "clip id": _shared(read.clips, (clip.id for clip in heard)),
    }
    leak = any(found[kind] for kind in ("sample", "recording", "clip id"))
    said = [f"{count} share a {kind}" for kind, count in found.items() if count]
    unsaid = "" if clips else "; their samples could not be compared: give their shards as --data"
    unknown = sum(name is None for name in read.speakers)
    blank = f"; the speakers of {unknown} are not known" if unknown else ""
    settled = complete and bool(clips) and scored_as == UNKNOWN
    status = worst([HELD_OUT if settled else scored_as, TRANSDUCTIVE if leak else HELD_OUT])
    compared = f"{len(ids)} clips against {len(heard)} of pretraining: {', '.join(said) or 'none is shared'}"
    return status, f"{title}: {status}. {compared}{blank}{unsaid}."


def _shared(own: Iterable[str | None], heard: Iterable[str | None]) -> int:
    """Return how many of a model's clips have a value that clips of pretraining have."""
    there = {value for value in heard if value is not None}
    return sum(value in there for value in own if value is not None)


def _clips(sha256: str, ids: set[str], data: Sequence[Path]) -> list[Clip]:
    for folder in data:
        if sha256_of(folder / "index.json") == sha256:
            return [clip for clip in open_shards(folder).clips() if clip.id in ids]
    return []


def layer_table(corpus: str, protocol: str, row: Row) -> Table | None:
    """Return how each layer did inside the training sides of all folds; None where layers were not compared there."""
    if _chosen_on_test(row):
        return None
    curves = [score.inner_uar for score in row.scores if len(score.inner_uar) > 1]
    if not curves or len({len(curve) for curve in curves}) > 1:
        return None
    chosen = Counter(int(score.chosen["layer"]) for score in row.scores if isinstance(score.chosen.get("layer"), int))
    rows = [
        [
            str(layer),
            short(sum(values) / len(values)),
            f"{short(min(values))} to {short(max(values))}",
            str(chosen[layer]),
        ]
        for layer, values in enumerate(zip(*curves, strict=True))
    ]
    notes = [
        f"UAR inside the training side, mean and range over {len(curves)} folds; chosen: in how many of "
        f"{len(row.scores)} folds, by the training side alone. Layer 0 is what enters the first block"
    ]
    return Table(
        f"{corpus}, {protocol}: layers under a {row.head} head", ["layer", "UAR", "range", "chosen"], rows, notes, 0
    )


def _results(task: str, corpus: str, protocol: str, row: Row) -> list[Result]:
    """Return a row's numbers; none where labels of its clips were seen, or it was chosen on what it was tested on."""
    if row.pretraining == LABELS_SEEN or _chosen_on_test(row):
        return []
    tuned = "run" in row.scores[0].details
    how = f"{protocol}; {'models of the folds, ' if tuned else ''}{row.head}{'' if tuned else ' head'}"
    return [
        Result(task, corpus, how, row.pretraining, metric.removesuffix("_true"), name, found.value, _interval(found))
        for metric, name in METRICS.items()
        if (found := row.pooled.get(metric)) is not None and found.value == found.value
    ]


def _chosen_on_test(row: Row) -> bool:
    return any(ON_TEST in score.lets_through for score in row.scores)


def _interval(found: Estimate) -> str:
    return "" if found.low is None or found.high is None else f"[{short(found.low)}, {short(found.high)}]"
