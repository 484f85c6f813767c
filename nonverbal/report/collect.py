"""From paths to a page: finds the score files, runs and analyses in them, and builds their sections."""

import sys
from collections.abc import Sequence
from pathlib import Path

from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.base import end_of
from nonverbal.evaluation.analyses.kinds import KINDS, kind_of
from nonverbal.evaluation.analyses.maps import SoundMap
from nonverbal.evaluation.plots import NothingYet
from nonverbal.evaluation.results import check_against, rankings, results
from nonverbal.evaluation.score_tables import ranking_table
from nonverbal.evaluation.studies import FILE as STUDY
from nonverbal.files import files_below
from nonverbal.report.analyses import AnalysisSection, analysis_section
from nonverbal.report.maps import MapSection, map_section
from nonverbal.report.page import Page
from nonverbal.report.runs import RunSection, is_run, run_section
from nonverbal.report.sections import task_sections, text_sections
from nonverbal.report.sounds import sounds_of
from nonverbal.report.studies import Link, counts, outputs_of, studies_in, study_section
from nonverbal.tasks.measurements import SCORES, read_measurements, read_text_measurements


def collect(
    paths: Sequence[Path],
    title: str,
    command: str,
    against: str | None = None,
    data: Sequence[Path] = (),
    sounds: int = 300,
) -> Page:
    """Read the results in paths.

    Args:
        paths: score files, run folders, or folders that contain some.
        title: of the page.
        command: that was given.
        against: name of a model with which all others in its tables are compared; None for all pairs.
        data: folders of shards with the listed clips, so that the page can play them.
        sounds: largest number of clips to play.

    Raises:
        UserError: a path has no results, something is damaged, or no table has the model ``against``.
    """
    files, runs, analyses = found(paths)
    studies = studies_in(paths)
    measurements = read_measurements(files) if files else []
    texts = read_text_measurements(files) if files else []
    tasks = results(measurements)
    check_against(against, tasks)
    sections = [*task_sections(measurements, against), *text_sections(texts)]
    known = [section.rivals for section in sections if section.rivals is not None]
    maps = [path for path in analyses if kind_of(path) is SoundMap]
    drawn = [map_section(number, path, known) for number, path in enumerate(maps)]
    looked_into = [analysis_section(number, path) for number, path in enumerate(analyses) if path not in maps]
    lists = [[clip.id for clip in part.clips] for section in sections for part in section.parts if part.clips]
    lists += [section.clips for section in drawn]
    of_analyses: list[MapSection | AnalysisSection] = [*drawn, *looked_into]
    shown = {Path(section.origin[0]): Link(section.anchor, section.heading) for section in of_analyses}
    return Page(
        title,
        [study_section(number, path, shown) for number, path in enumerate(studies)],
        sections,
        _run_sections(runs, alone=not sections and not of_analyses and not studies),
        drawn,
        looked_into,
        [ranking_table(ranking) for ranking in rankings(tasks)],
        command,
        sounds_of(lists, data, sounds, {one.scores[0].data_sha256 for one in [*measurements, *texts]}),
    )


def _run_sections(runs: Sequence[Path], alone: bool) -> list[RunSection]:
    """Read runs. A run without metrics is left out with a message, or refused if the page would otherwise be empty."""
    sections: list[RunSection] = []
    for folder in runs:
        try:
            sections.append(run_section(len(sections), folder))
        except NothingYet as error:
            if alone and folder == runs[-1] and not sections:
                raise
            print(f"nonverbal: {error}, so the run is left out of the page", file=sys.stderr)
    return sections


def found(paths: Sequence[Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """Return the score files, run folders and analyses in paths, each once.

    For a study, these are the current outputs of its steps, without outputs of earlier versions.

    Raises:
        UserError: a path does not exist, or has no results.
    """
    files: list[Path] = []
    runs: list[Path] = []
    analyses: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UserError(f"there is no {path}; give score files, run folders, or folders that contain some")
        if path.name == STUDY:
            continue
        looked = _analyses(path)
        inside = files_below(path, SCORES) if path.is_dir() else [path] if not looked else []
        folders = sorted({file.parent for file in files_below(path, "metrics.jsonl")}) if path.is_dir() else []
        own = [folder for folder in folders if is_run(folder)]
        studies = studies_in([path])
        if not inside and not own and not looked and not studies:
            raise UserError(
                f"{path} contains no {SCORES}, pretraining run or analysis; give the --out of a command that wrote one"
            )
        made = outputs_of(studies)
        files += [file for file in inside if counts(file, made)]
        runs += [folder for folder in own if counts(folder, made)]
        analyses += [file for file in looked if counts(file, made)]
    return list(dict.fromkeys(files)), list(dict.fromkeys(runs)), list(dict.fromkeys(analyses))


def _analyses(path: Path) -> list[Path]:
    """Return the analyses in a folder, ordered by kind; or the path itself if it is an analysis."""
    if not path.is_dir():
        return [path] if kind_of(path) is not None else []
    return [file for name in KINDS for file in files_below(path, f"*{end_of(name)}")]
