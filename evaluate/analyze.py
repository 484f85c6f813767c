"""Analyze what models decide and represent: ``nonverbal analyze NAME --key value ... --out FILE.NAME.json``.

By path: ``python evaluate/analyze.py NAME ...``. The numbers are written as JSON, which ``nonverbal report`` shows;
``--figure`` draws them.
"""

import json
from typing import Any

from nonverbal import cli, config
from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.base import Analysis, AnalysisSettings, end_of, write_analysis
from nonverbal.evaluation.analyses.kinds import KINDS
from nonverbal.evaluation.tables import show
from nonverbal.report.analyses import drawings
from nonverbal.report.sheets import check_figure, write_figure

USAGE = "usage: nonverbal analyze NAME --key value ...\n\nanalyses:"


def main(argv: list[str]) -> None:
    """Compute an analysis, write it, show its numbers, and draw it."""
    if argv[:1] in (["-h"], ["--help"]):
        print(listed())
        return
    kind, settings = parsed(argv)
    check(kind, settings)
    made = kind.make(settings)
    write_analysis(settings.out, made)
    if settings.figure is not None:
        write_figure(drawings(made, made.NAME), settings.figure)
    # Files are written first, because the reader of a pipe may close it before the tables are complete.
    show(made.tables())
    print(made.summary())
    for path in filter(None, (settings.out, settings.figure)):
        print(f"wrote {path}")


def parsed(argv: list[str]) -> tuple[type[Analysis[Any]], AnalysisSettings]:
    """Return the analysis that the first argument names, and its settings.

    Raises:
        UserError: there is no such analysis, or a setting is wrong.
    """
    kind = KINDS.get(argv[0]) if argv else None
    if kind is None:
        what = f"there is no analysis {argv[0]!r}" if argv and not argv[0].startswith("-") else "name an analysis"
        raise UserError(f"{what}: nonverbal analyze NAME, of {', '.join(KINDS)}; see nonverbal analyze --help")
    prog, description = f"nonverbal analyze {kind.NAME}", explained(kind)
    return kind, config.load(kind.SETTINGS, with_systems(argv[1:]), prog=prog, description=description)


def with_systems(argv: list[str]) -> list[str]:
    """Turn several ``--systems`` into one list, so that names may hold commas, as "MODEL, HEAD" does."""
    if "--systems" not in argv:
        return argv
    begin = argv.index("--systems") + 1
    end = next((place for place in range(begin, len(argv)) if argv[place].startswith("--")), len(argv))
    values = argv[begin:end]
    return [*argv[:begin], json.dumps(values), *argv[end:]] if len(values) > 1 else argv


def check(kind: type[Analysis[Any]], settings: AnalysisSettings) -> None:
    """Refuse files that cannot be written, before anything is computed."""
    end = end_of(kind.NAME)
    if not settings.out.name.endswith(end) or not settings.out.parent.is_dir():
        raise UserError(f"--out must be a file NAME{end} in an existing folder, but is {settings.out}")
    check_figure(settings.figure)


def explained(kind: type[Analysis[Any]]) -> str:
    """Return the description of an analysis for its help: the docstring of its class."""
    return f"{kind.ABOUT}\n\n{kind.__doc__}"


def listed() -> str:
    """Return the list of analyses."""
    lines = [f"  {name:<14}{kind.ABOUT}" for name, kind in KINDS.items()]
    return "\n".join([USAGE, *lines, "\nnonverbal analyze NAME --help explains an analysis and every key."])


if __name__ == "__main__":
    cli.run(main)
