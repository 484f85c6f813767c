"""Figures of scores: probe results with their spread, and layer curves."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nonverbal.evaluation.plots import MUTED, TRAIN, save
from nonverbal.tasks.contamination import HELD_OUT
from nonverbal.tasks.scores import Score, summarise
from nonverbal.text import one_line

METRIC_NAMES = {"uar": "unweighted average recall (UAR)", "accuracy": "accuracy", "f1": "macro F1"}


def plot_probes(scores: Sequence[Score], figure: Path, metric: str = "uar") -> None:
    """Draw every fold's value, and mean and population standard deviation over folds, one line per model, as a PNG.

    The dashed line is chance: one over the number of classes.

    Args:
        scores: of one protocol and one task.
        figure: the file.
        metric: ``uar``, ``accuracy`` or ``f1``; chance is drawn only for ``uar``.
    """
    from matplotlib.figure import Figure

    summaries = summarise(scores)
    canvas = Figure(figsize=(8, 1.7 + 0.55 * len(summaries)), layout="constrained")
    axes = canvas.subplots()
    for height, summary in enumerate(summaries):
        values = [score.metrics[metric] for score in scores if score.model == summary.model]
        jitter = height + np.linspace(-0.18, 0.18, len(values)) if len(values) > 1 else [height]
        dots = axes.scatter(values, jitter, s=16, color=TRAIN, alpha=0.6, linewidths=0, zorder=2, clip_on=False)
        mean, std = summary.mean[metric], summary.std[metric]
        bar = axes.errorbar(mean, height, xerr=std, fmt="o", color="black", markersize=6, capsize=4, zorder=3)
        axes.annotate(f"{mean:.3f} ± {std:.3f}", (1.02, height), xycoords=("axes fraction", "data"), va="center")
    axes.set_yticks(range(len(summaries)), [_label(summary.model, summary.pretraining) for summary in summaries])
    axes.set_ylim(len(summaries) - 0.5, -0.5)
    marks = [(dots, "one fold"), (bar, f"mean ± population std over {summaries[0].folds} folds")]
    if metric == "uar":
        chance = 1 / len(scores[0].classes)
        line = axes.axvline(chance, color=MUTED, linestyle="--", zorder=1)
        marks.append((line, f"chance ({chance:.2f})"))
    canvas.legend(*zip(*marks, strict=True), frameon=False, fontsize="small", loc="outside lower center", ncols=3)
    axes.set_xlim(0, 1)
    axes.set_xlabel(METRIC_NAMES[metric])
    axes.set_title(_title(scores), fontsize="medium")
    axes.grid(alpha=0.25, axis="x")
    save(canvas, figure)


def plot_layers(scores: Sequence[Score], figure: Path) -> bool:
    """Draw UAR by layer on the training sides, with mean and population standard deviation over folds, as a PNG.

    There is a line for each model with more than one layer. Dots are larger if a layer was best in more folds. These
    are the numbers by which layers are chosen, on inner folds: higher than those of a test side at the best layer would
    be.

    Args:
        scores: of one protocol and one task; rows without ``inner_uar`` are left out.
        figure: the file.

    Returns:
        whether there was a curve to draw; otherwise no file is written.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    by_model = {
        summary.model: [
            score.inner_uar for score in scores if score.model == summary.model and len(score.inner_uar) > 1
        ]
        for summary in summarise(scores)
    }
    curves = {model: folds for model, folds in by_model.items() if folds}
    if not curves:
        return False
    canvas = Figure(figsize=(6.5, 3.8 + 0.2 * len(curves)), layout="constrained")
    axes = canvas.subplots()
    for model, folds in curves.items():
        _layer_curve(axes, model, np.array(folds))
    chance = 1 / len(scores[0].classes)
    axes.axhline(chance, color=MUTED, linestyle="--", linewidth=1, label=f"chance ({chance:.2f})", zorder=1)
    axes.set(xlabel="layer (0: input to the first block); larger dots: best in more folds", ylabel="UAR of inner folds")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_title(_title(scores), fontsize="medium")
    axes.grid(alpha=0.25)
    canvas.legend(frameon=False, fontsize="small", loc="outside lower center")
    save(canvas, figure)
    return True


def _layer_curve(axes: Any, model: str, folds: np.ndarray) -> None:
    """Draw one model's ``(folds, layers)``."""
    mean, std = folds.mean(axis=0), folds.std(axis=0)
    layers = np.arange(len(mean))
    name = f"{_short(model)} (mean ± population std over {len(folds)} folds)"
    (line,) = axes.plot(layers, mean, linewidth=1.3, label=name)
    axes.fill_between(layers, mean - std, mean + std, color=line.get_color(), alpha=0.15, linewidth=0)
    best = Counter(folds.argmax(axis=1).tolist())
    sizes = [120 * count / len(folds) for count in best.values()]
    axes.scatter(list(best), mean[list(best)], s=sizes, color=line.get_color(), zorder=3)


def _title(scores: Sequence[Score]) -> str:
    title = _plain(f"{scores[0].corpus}, {len(scores[0].classes)} classes: {scores[0].protocol}")
    through = scores[0].lets_through
    return title + (f"\npossible leakage: {_plain('; '.join(through))}" if through else "")


def _label(model: str, pretraining: str) -> str:
    """Return a model's name in at most two lines, with what a reader must know about its pretraining."""
    return _short(model) if pretraining == HELD_OUT else f"{_short(model)}\n({pretraining})"


def _short(model: str) -> str:
    return _plain(model if len(model) <= 40 else f"…{model[-39:]}")


def _plain(text: str) -> str:
    """Return a text on one line, escaped so that matplotlib does not read any of it as mathematics."""
    return one_line(text).replace("$", r"\$")
