"""Scores as a table at the terminal."""

from collections.abc import Sequence

from nonverbal.tasks.contamination import TRANSDUCTIVE
from nonverbal.tasks.scores import Score, summarise
from nonverbal.text import one_line


def print_scores(scores: Sequence[Score]) -> None:
    """Print one protocol's scores, a row a model: UAR, accuracy and macro F1 as mean ± population std over folds.

    Of what was chosen the first is shown, with how often: ``layer`` of the linear probe.
    """
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    first = scores[0]
    title = f"{first.corpus}: {first.probe} probe, {len(first.classes)} classes, {first.protocol}"
    table = Table(
        title=title,
        caption=_caption(scores),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("model", overflow="fold", min_width=16)
    for name in ("UAR", "accuracy", "macro F1"):
        table.add_column(name, justify="right", no_wrap=True)
    choice = next((name for score in scores for name in score.chosen), None)
    if choice is not None:
        table.add_column(escape(choice))
    table.add_column("pretraining", min_width=len("transductive"))
    for summary in summarise(scores):
        values = [f"{_short(summary.mean[name])}±{_short(summary.std[name])}" for name in ("uar", "accuracy", "f1")]
        if choice is not None:
            values.append(_counts([score.chosen[choice] for score in scores if score.model == summary.model]))
        heard = summary.pretraining.startswith(TRANSDUCTIVE)
        status = f"[yellow]{summary.pretraining}[/]" if heard else summary.pretraining
        table.add_row(escape(one_line(summary.model)), *values, status)
    console = Console()
    if not console.is_terminal:
        # A file or a pipe has no width: room for the whole table, so that it can be searched.
        console = Console(width=160)
    console.print(table)


def _caption(scores: Sequence[Score]) -> str:
    from rich.markup import escape

    folds = len({(score.seed, score.fold) for score in scores})
    clips = sum(score.test_clips for score in scores if (score.model, score.seed) == (scores[0].model, scores[0].seed))
    text = f"{clips} clips; mean ± population std over {folds} folds; chance UAR {1 / len(scores[0].classes):.3f}"
    if any(score.test_classes < len(score.classes) for score in scores):
        text += "; some folds lack clips of a class, and their UAR and F1 are means over the classes they have"
    for label, name in scores[0].merged.items():
        text += f"; {escape(one_line(label))} counts as {escape(one_line(name))}"
    return text


def _counts(choices: Sequence[float | str]) -> str:
    """What was chosen, in its order, and how often."""
    named = {choice: choice if isinstance(choice, str) else f"{choice:g}" for choice in sorted(choices)}
    return ", ".join(f"{name}×{choices.count(choice)}" for choice, name in named.items())


def _short(value: float) -> str:
    """Three decimals without a leading zero, as tables of scores are set."""
    return f"{value:.3f}".removeprefix("0")
