"""Sections of a page for tasks: tables, drawings, and the origin of every number."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from nonverbal.evaluation.published import published_table
from nonverbal.evaluation.results import TaskResult, comparisons, lets_through, results
from nonverbal.evaluation.score_tables import (
    classes_table,
    comparisons_table,
    probabilities_table,
    scores_table,
)
from nonverbal.evaluation.tables import Table
from nonverbal.evaluation.text_results import RATES, TextResult, text_results, text_table
from nonverbal.grouping import grouped
from nonverbal.report import task_charts as charts
from nonverbal.report.clips import ListedClip, Rivals, disputed, rivals, wrong_for_all
from nonverbal.report.drawing import Drawing
from nonverbal.report.origins import Origin, origins
from nonverbal.report.score_charts import Lane, folds_chart
from nonverbal.tasks.measurements import Measurement, ScoredFolds, TextMeasurement
from nonverbal.text import slug

M = TypeVar("M", bound=ScoredFolds)


@dataclass(frozen=True)
class Part:
    """A part of a section: a heading, an explanation, and tables or drawings."""

    heading: str
    text: str = ""
    tables: list[Table] = field(default_factory=list)
    drawings: list[Drawing] = field(default_factory=list)
    clips: list[ListedClip] = field(default_factory=list)
    folded: bool = False
    """Whether it is collapsed at first."""


@dataclass(frozen=True)
class Section:
    """A task under a protocol."""

    anchor: str
    heading: str
    protocol: str
    summary: str
    """Numbers of clips, units and models."""
    lets_through: list[str]
    parts: list[Part]
    origins: list[Origin]
    rivals: Rivals | None = None
    """The two models with the highest UAR; None if there are fewer, and for texts."""


def task_sections(measurements: Sequence[Measurement], against: str | None) -> list[Section]:
    """Return a section for each task and protocol of measurements of classes, in order.

    Args:
        measurements: of any tasks.
        against: the model with which all others are compared; None for all pairs.
    """
    found = zip(results(measurements), _by_table(measurements), strict=True)
    return [_of_classes(number, task, own, against) for number, (task, own) in enumerate(found)]


def text_sections(measurements: Sequence[TextMeasurement]) -> list[Section]:
    """Return a section for each corpus and protocol of measurements of texts, in order."""
    found = zip(text_results(measurements), _by_table(measurements), strict=True)
    return [_of_texts(f"texts-{number}", result, own) for number, (result, own) in enumerate(found)]


def _by_table(measurements: Sequence[M]) -> list[list[M]]:
    return list(grouped(measurements, lambda one: one.table).values())


def _of_classes(number: int, task: TaskResult, own: Sequence[Measurement], against: str | None) -> Section:
    anchor = slug(f"task-{number}-{task.corpus}")
    family, many = comparisons(task, against), len(task.models) > 6
    probabilities, published = probabilities_table(task), published_table(task)
    parts = [
        Part("Scores", tables=[scores_table(task)], drawings=[charts.folds(anchor, task)]),
        Part("Published numbers", PUBLISHED, [published] if published else []),
        Part("Comparisons", "", [comparisons_table(task, family)] if family else [], folded=len(family) > 12),
        Part("Confusion matrices", CONFUSIONS, drawings=charts.confusions(anchor, task), folded=many),
        Part("Recall of each class", drawings=[charts.recalls(anchor, task)]),
        Part("Recall of each class, with intervals", tables=[classes_table(task)], folded=True),
        Part("Layers", LAYERS, drawings=charts.layers(anchor, task)),
        Part("Learned layer weights", WEIGHTS, drawings=charts.weights(anchor, task)),
        Part("Class probabilities", tables=[probabilities] if probabilities else []),
        Part("Calibration", CALIBRATION, drawings=charts.calibrations(anchor, task, own), folded=many),
    ]
    listed, best = _listed(task, own)
    units = f"{sum(task.clips.values())} clips, {task.units} {task.unit}"
    return Section(
        anchor,
        f"{task.corpus}, {len(task.classes)} classes{task.which_data}",
        task.protocol,
        f"{units}; classes: {', '.join(f'{name} ({clips})' for name, clips in task.clips.items())}",
        lets_through(task.models),
        [part for part in parts if part.tables or part.drawings] + listed,
        origins(own),
        best,
    )


PUBLISHED = (
    "Values printed in papers have columns of their own. They were measured by others, with other code, and often on "
    "other clips. No interval or test here applies to them."
)
CONFUSIONS = "Rows: true classes. Shades: shares of a row. Numbers: clips of all folds together, as a mean over seeds."
LAYERS = (
    "UAR by layer in the inner folds, from which the layers were chosen: mean and population standard deviation over "
    "folds. The table above shows the scores of the chosen layers on test clips, which were not used for the choice. "
    "Dashed: chance."
)
WEIGHTS = (
    "Weights that heads with a weighted sum of layers have learned. Bars are means over folds, dots are single folds. "
    "Layer 0 is the input of the first block, which the probe multilayer leaves out."
)
CALIBRATION = (
    "The share of right decisions by their predicted probability, with all classes weighted equally. On the diagonal, "
    "decisions are calibrated. Larger dots stand for more clips."
)


def _listed(task: TaskResult, own: Sequence[Measurement]) -> tuple[list[Part], Rivals | None]:
    """Return the lists of clips, for each model's first seed, and the two best models; none if there is only one."""
    first: dict[tuple[str, str], Measurement] = {}
    for measurement in own:
        first.setdefault(measurement.row, measurement)
    models = {task.name(model): first[model.model, model.head].predictions for model in task.models}
    if len(models) < 2:
        return [], None
    wrong, text = wrong_for_all(models, task.classes)
    parts = [Part("Clips that all models get wrong", text, clips=wrong, folded=True)]
    best = sorted(task.models, key=lambda model: -model.pooled["uar"].value)[:2]
    two = {name: models[name] for name in map(task.name, best)}
    apart, text = disputed(two, task.classes)
    return [*parts, Part("Clips on which two models disagree", text, clips=apart, folded=True)], rivals(two)


def _of_texts(anchor: str, result: TextResult, own: Sequence[TextMeasurement]) -> Section:
    drawings = []
    for rate, name in RATES.items():
        lanes = [
            Lane(f"{m.model}, {m.head}", m.pooled[rate], [s.metrics[rate] for s in m.scores]) for m in result.models
        ]
        drawings.append(folds_chart(f"{anchor}-{rate}", name, lanes, None))
    return Section(
        anchor,
        f"{result.corpus}, texts{result.which_data}",
        result.protocol,
        f"{result.clips} clips, {result.units} {result.unit}, {result.words} words",
        lets_through(result.models),
        [Part("Word and character error rates", tables=[text_table(result)], drawings=drawings)],
        origins(own),
    )
