"""Tables of texts: in the terminal, as LaTeX, and as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from nonverbal.tasks.contamination import LABELS_SEEN, TRANSDUCTIVE
from nonverbal.terminal import console_of
from nonverbal.text import one_line

WIDTH = 160
"""Width for files and pipes, which have none: enough for a whole table, so that it can be searched."""


@dataclass(frozen=True)
class Table:
    """A title, columns, rows of texts, and notes that a reader needs."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    notes: list[str] = field(default_factory=list)
    texts: int = 1
    """Number of columns from the left that hold words and may be wrapped; the others hold numbers, with exceptions."""


def show(tables: Sequence[Table]) -> None:
    """Print tables."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table as RichTable

    console = console_of(WIDTH)
    for table in tables:
        shown = RichTable(
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            padding=(0, 1, 0, 0),
        )
        for place, name in enumerate(table.columns):
            words = place < table.texts
            shown.add_column(
                escape(one_line(name)),
                justify="left" if words or not is_numeric(table, place) else "right",
                overflow="fold",
                no_wrap=not words and is_numeric(table, place),
                min_width=16 if place == 0 else None,
            )
        for row in table.rows:
            shown.add_row(*map(_marked, row))
        console.print(one_line(table.title), style="bold", markup=False, soft_wrap=True)
        if table.rows:
            console.print(shown)
        for note in table.notes:
            console.print(one_line(note), style="italic", markup=False, soft_wrap=not console.is_terminal)
        console.print()


def latex(tables: Sequence[Table]) -> str:
    """Return the tables that have rows as LaTeX, one environment for each, which needs ``\\usepackage{booktabs}``."""
    return "% needs \\usepackage{booktabs}\n" + "\n".join(_environment(table) for table in tables if table.rows)


def markdown(tables: Sequence[Table]) -> str:
    """Return tables as Markdown, each with its title as a heading and its notes as a list."""
    return "\n".join(map(_in_markdown, tables))


def short(value: float) -> str:
    """Return a number with three decimals and without a leading zero, the style of tables of scores."""
    text = f"{round(value, 3) + 0.0:.3f}"  # adding 0 makes -0 positive
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def short_or(value: float | None, otherwise: str = "") -> str:
    """Return a number in the style of ``short``, or ``otherwise`` if there is none."""
    return otherwise if value is None else short(value)


def bounds(low: float | None, high: float | None, otherwise: str = "-") -> str:
    """Return an interval, or ``otherwise`` if there is none."""
    return otherwise if low is None or high is None else f"[{short(low)}, {short(high)}]"


def signed(value: float) -> str:
    """Return a difference in the style of ``short``, with its sign."""
    text = short(value)
    return text if text.startswith("-") else f"+{text}"


def is_numeric(table: Table, place: int) -> bool:
    """Whether a column's cells are numbers, which begin with a digit, a point, a sign or a bracket, or are empty."""
    return all(row[place][:1] in "0123456789.+-[<" for row in table.rows)


def _marked(cell: str) -> str:
    from rich.markup import escape

    text = escape(one_line(cell))
    return f"[yellow]{text}[/]" if cell.startswith((TRANSDUCTIVE, LABELS_SEEN)) else text


def _in_markdown(table: Table) -> str:
    ends = [
        "--:" if place >= table.texts and is_numeric(table, place) else "---" for place in range(len(table.columns))
    ]
    rows = [[*map(md, table.columns)], ends, *([*map(md, row)] for row in table.rows)] if table.rows else []
    lines = [f"### {md(table.title)}", "", *(f"| {' | '.join(row)} |" for row in rows), *([""] if rows else [])]
    return "\n".join([*lines, *(f"- {md(note)}" for note in table.notes), ""])


_MARKUP = str.maketrans({character: f"\\{character}" for character in "\\`*_{}[]<>#|~$"} | {"&": "&amp;"})


def md(text: str) -> str:
    """Return a text for Markdown, on one line, escaped so that it contains no markup and does not end a cell."""
    return one_line(text).translate(_MARKUP)


def _environment(table: Table) -> str:
    columns = "".join(
        "r" if place >= table.texts and is_numeric(table, place) else "l" for place in range(len(table.columns))
    )
    rows = [" & ".join(map(_tex, row)) + r" \\" for row in [table.columns, *table.rows]]
    notes = " ".join(f"{_tex(note)}." for note in table.notes)
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_tex(table.title)}. {notes}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            rows[0],
            r"\midrule",
            *rows[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "×": r"$\times$", "<": r"$<$", ">": r"$>$",
    "|": r"$|$", "[": "{[}", "]": "{]}",
}  # fmt: skip


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in one_line(text))
