"""Results of transcriptions: word and character error rates with intervals, by corpus and protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nonverbal.data.transcripts import Edits
from nonverbal.errors import UserError
from nonverbal.evaluation.of_data import OfData, told_apart_by_data
from nonverbal.evaluation.results import Estimate, Result, lets_through
from nonverbal.evaluation.tables import Table, bounds, short
from nonverbal.grouping import grouped
from nonverbal.tasks.groups import units
from nonverbal.tasks.measurements import TextMeasurement
from nonverbal.tasks.predictions import AGAIN
from nonverbal.tasks.scores import summarise
from nonverbal.tasks.statistics.intervals import rate_t
from nonverbal.tasks.told_apart import apart_notes

RATES = {"wer": "WER", "cer": "CER"}
"""From a metric's name in scores to its name in tables."""


@dataclass(frozen=True, kw_only=True)
class TextResult(OfData):
    """Recognisers on the same clips under one protocol."""

    clips: int
    words: int
    """Number of words of the clips, each clip counted once."""
    characters: int
    units: int
    unit: str
    """What units are: ``speakers``, ``recordings``, ``clips``, or ``groups`` of the folds."""
    models: list[Result]
    """Recognisers; their metrics are ``wer`` and ``cer``."""


def text_results(measurements: Sequence[TextMeasurement]) -> list[TextResult]:
    """Return the results of transcriptions, one for each corpus and protocol, in their order.

    Raises:
        UserError: models of one corpus and protocol were tested on different clips or texts.
    """
    found = [_result(table) for table in grouped(measurements, lambda one: one.table).values()]
    return told_apart_by_data(found, lambda _: ())


def text_table(result: TextResult) -> Table:
    """Return the table of recognisers, with a row for each."""
    rows = [
        [
            model.model,
            model.head,
            *(cell for name in RATES for cell in _with_interval(model.pooled[name])),
            f"{short(model.fold_mean['wer'])}±{short(model.fold_std['wer'])}",
            model.pretraining,
        ]
        for model in result.models
    ]
    through = lets_through(result.models)
    notes = [
        f"{result.clips} clips of {result.units} {result.unit}, {result.words} words, {result.characters} characters; "
        "WER, CER: words, characters to substitute, delete and insert, divided by those in the reference, in all "
        "folds together; "
        "upper case, without punctuation; the most likely token of each frame, no language model",
        f"interval: .95 over {result.unit} (jackknife t, log scale), for these trained models; none if no word is "
        "wrong, or all clips belong to one",
        "by fold: mean ± population std over folds; this is not an interval",
        *apart_notes(score for model in result.models for score in model.scores),
        *([f"possible leakage: {'; '.join(through)}"] if through else []),
    ]
    columns = ["model", "head", "WER", "interval", "CER", "interval", "WER by fold", "pretraining"]
    return Table(f"{result.corpus}: texts, {result.protocol}{result.which_data}", columns, rows, notes, 2)


def text_rows(results: Sequence[TextResult]) -> list[dict[str, Any]]:
    """Return one flat row per model, corpus and protocol, unrounded."""
    rows = []
    for result in results:
        for model in result.models:
            row: dict[str, Any] = {
                "corpus": result.corpus,
                "classes": 0,
                "protocol": result.protocol,
                "model": model.model,
                "head": model.head,
                "pretraining": model.pretraining,
                "clips": result.clips,
                "words": result.words,
                "characters": result.characters,
                "units": result.units,
                "unit": result.unit,
                "folds": len(model.scores),
            }
            for name in RATES:
                value, low, high = model.pooled[name]
                row |= {name: value, f"{name}_low": low, f"{name}_high": high}
                row |= {f"{name}_fold_mean": model.fold_mean[name], f"{name}_fold_std": model.fold_std[name]}
            rows.append(row)
    return rows


@dataclass(frozen=True)
class _Clips:
    """The clips of a table."""

    texts: dict[str, str]
    """True texts by id."""
    units: dict[str, int]
    """Numbers of units by id."""
    unit: str


def _result(measurements: Sequence[TextMeasurement]) -> TextResult:
    rows = grouped(measurements, lambda one: one.row)
    clips, score = _clips(measurements), measurements[0].scores[0]
    sums = [_sums(seeds, clips) for seeds in rows.values()]
    for seeds, own in zip(rows.values(), sums, strict=True):
        if not np.array_equal(own.words, sums[0].words) or not np.array_equal(own.characters, sums[0].characters):
            raise UserError(
                f"{seeds[0].transcriptions.path} and {measurements[0].transcriptions.path} are of one corpus and "
                "protocol, but of different clips, so their numbers cannot share a table; test both with the same "
                "folds and seeds"
            )
    found = list(clips.texts.values())
    return TextResult(
        corpus=score.corpus,
        data_sha256=score.data_sha256,
        protocol=score.protocol,
        clips=len(found),
        words=sum(len(text.split()) for text in found),
        characters=sum(map(len, found)),
        units=len(set(clips.units.values())),
        unit=clips.unit,
        models=[_recogniser(seeds, own) for seeds, own in zip(rows.values(), sums, strict=True)],
    )


def _clips(measurements: Sequence[TextMeasurement]) -> _Clips:
    texts: dict[str, str] = {}
    known: dict[str, tuple[str, str | None, str | None]] = {}
    for measurement in measurements:
        own = measurement.transcriptions
        for clip, text in zip(own.clips, own.texts, strict=True):
            if texts.setdefault(clip, text) != text:
                raise UserError(f"{own.path}: clip {clip} has a different text with the other models; {AGAIN}")
        known |= zip(own.clips, zip(own.groups, own.speakers, own.recordings, strict=True), strict=True)
    groups, speakers, recordings = map(list, zip(*known.values(), strict=True))
    numbers, unit = units(groups, speakers, recordings)
    return _Clips(texts, dict(zip(known, numbers.tolist(), strict=True)), unit)


def _sums(seeds: Sequence[TextMeasurement], clips: _Clips) -> Edits:
    """Return the edits of each unit, ``(units,)`` float64 each, averaged over seeds."""
    count = max(clips.units.values()) + 1
    of_seeds = []
    for measurement in seeds:
        own = measurement.transcriptions
        unit = np.array([clips.units[clip] for clip in own.clips], dtype=np.int64)
        of_seeds.append([np.bincount(unit, column, count) for column in own.edits])
    return Edits(*np.mean(of_seeds, axis=0))


def _recogniser(seeds: Sequence[TextMeasurement], sums: Edits) -> Result:
    scores = [score for measurement in seeds for score in measurement.scores]
    summary = summarise(scores)[0]
    pooled = {
        "wer": _estimate(sums.word_errors, sums.words),
        "cer": _estimate(sums.character_errors, sums.characters),
    }
    return Result(scores[0].model, scores[0].probe, summary.pretraining, pooled, summary.mean, summary.std, scores)


def _estimate(errors: np.ndarray, totals: np.ndarray) -> Estimate:
    value = float(errors.sum() / totals.sum())
    if (totals > 0).sum() < 2 or value == 0:
        return Estimate(value, None, None)
    interval = rate_t(errors, totals)
    return Estimate(value, interval.low, interval.high)


def _with_interval(estimate: Estimate) -> list[str]:
    return [short(estimate.value), bounds(estimate.low, estimate.high)]
