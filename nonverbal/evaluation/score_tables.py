"""Results as tables: scores, recalls by class, class probabilities, comparisons, ranks."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median

from nonverbal.evaluation.results import Estimate, ModelResult, Ranking, TaskResult, lets_through, recalls, results
from nonverbal.evaluation.tables import Table, bounds, short, show, signed
from nonverbal.evaluation.text_results import text_results, text_table
from nonverbal.tasks.measurements import measurements_of, text_measurements_of
from nonverbal.tasks.scores import Score
from nonverbal.tasks.statistics.comparisons import ALPHA, EXACT_GROUPS, Comparison, is_testable
from nonverbal.tasks.statistics.probabilities import CALIBRATION_BINS
from nonverbal.tasks.statistics.ranks import FRIEDMAN_CORPORA
from nonverbal.tasks.told_apart import apart_notes
from nonverbal.text import counted

CAUTION = (
    "the test compares these trained models: if one encoder's probe was trained better by chance, that counts as a "
    "difference. With weakly trained probes (UAR about .6), equally good encoders differed in up to .097 of cases "
    "instead of .05"
)


def print_scores(scores: Sequence[Score], file: Path) -> None:
    """Print a table for each task and protocol of scores, for classes or texts, with a row per model.

    Args:
        scores: all folds of each model, head and seed.
        file: the file that they are kept in; their predictions are beside it.
    """
    classes, texts = ([score for score in scores if bool(score.classes) is told] for told in (True, False))
    of_texts = text_results(text_measurements_of(texts, file))
    show([*map(scores_table, results(measurements_of(classes, file))), *map(text_table, of_texts)])


def scores_table(task: TaskResult, percentile: bool = False) -> Table:
    """Return the table of a task's models, with a row for each.

    Args:
        task: the models.
        percentile: whether intervals are those of the bootstrap, which the table then says.
    """
    choices = [name for model in task.models for name in dict.fromkeys(_first_choices(model.scores))]
    choice = choices[0] if len(set(choices)) == 1 else "chosen"
    nulls = [model.null for model in task.models if model.null]
    columns = [*model_columns(task), "UAR", "interval", "accuracy", "F1 true", "F1 seen", "UAR by fold"]
    columns += ["null UAR", "p (null)"] if nulls else []
    rows = [
        [
            *model_cells(task, model),
            *_with_interval(model.pooled["uar"]),
            *(short(model.pooled[name].value) for name in ("accuracy", "f1_true", "f1_seen")),
            spread(model, "uar"),
            *(_null_cells(model) if nulls else []),
            *([_chosen(model.scores, choice)] if choices else []),
            model.pretraining,
        ]
        for model in task.models
    ]
    columns += [*([choice] if choices else []), "pretraining"]
    return Table(title(task), columns, rows, _notes(task, percentile), len(model_columns(task)))


def classes_table(task: TaskResult, percentile: bool = False) -> Table:
    """Return the recall of each class by each model, with a row per model."""
    rows = [
        [*model_cells(task, model), name, str(task.clips[name]), *_with_interval(recall)]
        for model in task.models
        for name, recall in recalls(model, percentile).items()
    ]
    columns = [*model_columns(task), "class", "clips", "recall", "interval"]
    notes = [f".95 intervals over those of the {task.units} {task.unit} that have clips of the class"]
    return Table(f"{title(task)}: recall by class", columns, rows, notes, len(model_columns(task)) + 1)


def probabilities_table(task: TaskResult) -> Table | None:
    """Return the metrics of class probabilities, with a row per model; None if there are none."""
    models = [model for model in task.models if model.probabilities]
    names = {"auc": "AUC", "calibration_error": "calibration error", "brier": "Brier"}
    present = {name: text for name, text in names.items() if any(name in model.probabilities for model in models)}
    if not present:
        return None
    rows = [
        [*model_cells(task, model), *(_value(model.probabilities.get(name)) for name in present)] for model in models
    ]
    notes = []
    if "auc" in present:
        notes.append("AUC: area under the ROC curve, clips of all folds ranked together; chance .500")
    if "brier" in present:
        notes.append(
            f"calibration error: expected, class-balanced, {CALIBRATION_BINS} bins of equal width of the highest "
            "probability; balanced training shifts the prior. Brier: squared distance summed over classes, 0 to 2"
        )
    columns = [*model_columns(task), *present.values()]
    return Table(f"{title(task)}: class probabilities", columns, rows, notes, len(model_columns(task)))


def comparisons_table(task: TaskResult, family: Sequence[Comparison]) -> Table:
    """Return the comparisons of a family, at least one, with a row for each."""
    rows = [
        [
            one.first,
            one.second,
            signed(one.difference.value),
            f"[{signed(one.difference.low)}, {signed(one.difference.high)}]",
            probability(one.p),
            probability(one.p_holm) if one.testable else "not testable",
            f"{one.better}, {one.worse}, {one.equal}",
        ]
        for one in family
    ]
    groups = family[0].difference.groups
    how = "in all ways" if groups <= EXACT_GROUPS else "in 100000 random ways"
    notes = [
        f"difference of UAR, the first model's minus the second's, with its .95 interval over {groups} {task.unit}; p: "
        f"predictions swapped by {task.unit}, {how}; Holm over {counted(len(family), 'comparison')}; last: the "
        f"{task.unit} for which the first is better, worse, equal (by accuracy if one has a single class)",
        CAUTION,
    ]
    if not family[0].testable:
        notes.insert(0, untestable(groups, len(family), task.unit))
    columns = ["model", "against", "difference", "interval", "p", "p (Holm)", "better, worse, equal"]
    return Table(f"{title(task)}: comparisons", columns, rows, notes, 2)


def untestable(groups: int, comparisons: int, unit: str) -> str:
    """Say that so few units cannot show a difference; empty if they can."""
    if comparisons < 1 or is_testable(groups, comparisons):
        return ""
    return (
        f"not testable: over {groups} {unit} p is at least 2^(1 - {groups}) = {2.0 ** (1 - groups):.3g}, which Holm "
        f"multiplies by {counted(comparisons, 'comparison')}: above {ALPHA:g} whatever the models do; compare fewer, "
        f"or on more {unit}"
    )


def ranking_table(ranking: Ranking) -> Table:
    """Return the UARs of models over corpora, and their average ranks."""
    rows = [
        [model, *map(short, ranking.uar[:, number]), f"{ranking.ranks[number]:.2f}"]
        for number, model in enumerate(ranking.models)
    ]
    if ranking.friedman is None:
        note = f"no Friedman test: it needs {FRIEDMAN_CORPORA} corpora and 3 models that differ somewhere"
    else:
        statistic, p = ranking.friedman
        note = f"Friedman: chi-squared {statistic:.2f}, p {probability(p)}, over {len(ranking.corpora)} corpora"
    columns = ["model", *ranking.corpora, "average rank"]
    return Table(f"{ranking.protocol}: UAR over corpora", columns, rows, ["average rank: 1 is the best", note])


def title(task: TaskResult) -> str:
    """Return the title of a task's tables: corpus, head if there is only one, classes, protocol."""
    head = f" {task.heads[0]} head," if len(task.heads) == 1 else ""
    return f"{task.corpus}:{head} {len(task.classes)} classes, {task.protocol}{task.which_data}"


def probability(p: float) -> str:
    """Return a p-value as shown in tables."""
    return "<.001" if p < 0.001 else short(p)


def _notes(task: TaskResult, percentile: bool) -> list[str]:
    method = "percentile bootstrap" if percentile else "jackknife t"
    clips = f"{sum(task.clips.values())} clips of {task.units} {task.unit}; chance UAR {short(1 / len(task.classes))}"
    notes = [
        f"{clips}; UAR, accuracy (WAR) and macro F1 of the decisions of all folds together; F1 true: mean over true "
        "classes; seen: over true and predicted ones, as in scikit-learn and voc2vec",
        f"interval: .95 over {task.unit} ({method}), for these trained models; it does not cover other training sets"
        if task.units > 1
        else f"no interval: all clips belong to one of the {task.unit}",
        f"by fold: mean ± population std over {_folds(task)}, as papers print it; this is not an interval",
    ]
    if any(score.test_classes < len(score.classes) for model in task.models for score in model.scores):
        notes.append("some folds lack clips of a class: their own UAR and F1 are means over the classes they have")
    notes += [f"null: {text}" for text in dict.fromkeys(_null_note(model) for model in task.models if model.null)]
    notes += apart_notes(score for model in task.models for score in model.scores)
    notes += [f"{label} counts as {name}" for label, name in task.merged.items()]
    if through := lets_through(task.models):
        notes.append(f"possible leakage: {'; '.join(through)}")
    return notes


def _null_cells(model: ModelResult) -> list[str]:
    null = model.null
    return [short(float(null["mean"])), probability(float(null["p"]))] if null else ["-", "-"]


def _null_note(model: ModelResult) -> str:
    return (
        f"{model.null['what']}; folds, choices and fit are repeated for each draw; mean UAR of the draws, and "
        "one-sided p = (b + 1) / (n + 1), of the first seed; not adjusted for the number of models"
    )


def _folds(task: TaskResult) -> str:
    counts = sorted({model.folds for model in task.models})
    return counted(counts[0], "fold") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} folds"


def model_columns(task: TaskResult) -> list[str]:
    """Return the columns that identify a row: the model, and its head if there are several."""
    return ["model", "head"] if len(task.heads) > 1 else ["model"]


def model_cells(task: TaskResult, model: ModelResult) -> list[str]:
    """Return the cells of a model for ``model_columns``."""
    return [model.model, model.head] if len(task.heads) > 1 else [model.model]


def _with_interval(estimate: Estimate) -> list[str]:
    return [_value(estimate.value), bounds(estimate.low, estimate.high)]


def _value(value: float | None) -> str:
    return "-" if value is None or value != value else short(value)


def spread(model: ModelResult, name: str) -> str:
    """Return a metric's mean ± population standard deviation over folds."""
    return f"{short(model.fold_mean[name])}±{short(model.fold_std[name])}"


def _first_choices(scores: Sequence[Score]) -> list[str]:
    """Return the first of the choices in each fold, if there are any."""
    return [next(iter(score.chosen)) for score in scores if score.chosen]


def _order(value: float | str) -> tuple[bool, float | str]:
    return isinstance(value, str), value


def _chosen(scores: Sequence[Score], column: str) -> str:
    """Return the values of the first choice, sorted, with their frequencies; and its name if the column has another.

    For more than four different numbers (mostly epochs), return the range and the median.
    """
    name = next(iter(_first_choices(scores)), None)
    choices = [score.chosen[name] for score in scores if name in score.chosen]
    named = {value: value if isinstance(value, str) else f"{value:g}" for value in sorted(choices, key=_order)}
    text = ", ".join(f"{value}×{choices.count(choice)}" for choice, value in named.items())
    numbers = [value for value in choices if not isinstance(value, str)]
    if len(set(numbers)) > 4:
        text = f"{min(numbers):g} to {max(numbers):g}, median {median(numbers):g}"
    return text if name in (None, column) else f"{name} {text}"
