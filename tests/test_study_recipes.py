"""The studies that are shipped: every table, figure, model and corpus of each paper is in its recipe."""

from pathlib import Path

import pytest
from crowds import write_crowd

from nonverbal.cli import PROGRAMS
from nonverbal.data.corpora import CATALOG
from nonverbal.evaluation.printed_cells import printed_table, spelled
from nonverbal.evaluation.published import published_rows
from nonverbal.shipped import find_shipped
from nonverbal.stages.studying.costs import Costs
from nonverbal.stages.studying.kept import Kept
from nonverbal.stages.studying.overview import tables_of
from nonverbal.stages.studying.placing import placed, sources
from nonverbal.stages.studying.planning import Plan
from nonverbal.stages.studying.settings import Study, read_study_recipe
from nonverbal.stages.studying.standing import rows_of

ROOT = Path(__file__).parent.parent
RECIPES = sorted(ROOT.glob("recipes/studies/*.yaml"))
PAPERS = ["voc2vec", "reno", "recovery", "cross_lingual"]
FIGURES = {
    "voc2vec": {"Figure 1"},
    "reno": {"Figure 2", "Figure 3"},
    "recovery": {"Figure 3", "Figure 4"},
    "cross_lingual": {"Figure 2"},
}
"""Of results: a map and confusion matrices; the same two; distances and attention; layer weights."""


def study(name: str) -> Study:
    return read_study_recipe(f"recipes/studies/{name}.yaml")[0]


def places(paper: str) -> list[str]:
    return list(dict.fromkeys(row["place"] for row in published_rows() if row["paper"] == paper))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_study_names_what_there_is(recipe: Path) -> None:
    made = study(recipe.stem)
    for name, step in made.steps.items():
        assert step.run in PROGRAMS or step.run == "study", name
        assert step.recipe is None or find_shipped(step.recipe).is_file(), name
        for word, known in (("corpus", {*made.corpora, "all", "score", "pretrain"}), ("model", {*made.models, "all"})):
            values = step.each.get(word, [])
            assert {values} <= known if isinstance(values, str) else set(values) <= known, name
    shown = [made.tables[name].all_steps for name in made.tables] + [figure.steps for figure in made.figures.values()]
    assert {name for names in shown for name in names} <= {*made.steps, "prepare"}
    for corpus in made.corpora.values():
        assert corpus.reader is None or corpus.reader in CATALOG


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_step_shows_something_that_there_is(recipe: Path) -> None:
    made = study(recipe.stem)
    for name, step in made.steps.items():
        assert set(step.shows) <= {*made.tables, *made.figures}, name
    named = {name for shape in made.tables.values() for name in shape.all_steps}
    named |= {name for figure in made.figures.values() for name in figure.steps}
    used = " ".join(str(step.with_) for step in made.steps.values()) + str(made.models)
    assert [name for name in made.steps if name not in named and f"{{step:{name}" not in used] == []


@pytest.mark.parametrize("paper", PAPERS)
def test_every_table_and_figure_of_a_paper_is_in_its_study_and_its_comments(paper: str) -> None:
    made = study(paper)
    assert made.paper == paper
    assert set(made.tables) == set(places(paper))
    assert set(made.figures) == FIGURES[paper]
    comments = (ROOT / f"recipes/studies/{paper}.yaml").read_text().split("title:")[0]
    assert [name for name in [*made.tables, *made.figures] if name.split(" (")[0] not in comments] == []


@pytest.mark.parametrize("paper", PAPERS)
def test_every_cell_of_a_paper_has_a_model_a_corpus_and_a_metric(paper: str) -> None:
    made = study(paper)
    models = {spelled(model.printed or "") for model in made.models.values()}
    corpora = {spelled(corpus.printed or "") for corpus in made.corpora.values()}
    for place, shape in made.tables.items():
        printed = printed_table(paper, place, shape.heads)
        own = {spelled(name.replace("{model}", model)) for name in shape.names.values() for model in models}
        singles = {one for name in printed.models for one in spelled(name).split("+")}
        assert singles <= models | own, place
        known = corpora | {spelled(name) for name in (shape.mean, shape.total, "LibriSpeech clean") if name}
        assert {spelled(name) for name in printed.corpora} <= known, place
        assert set(printed.metrics) == set(shape.metrics), place
        assert set(printed.heads) == set(shape.heads), place


@pytest.mark.parametrize("paper", PAPERS)
def test_a_paper_stands_beside_our_protocol(paper: str) -> None:
    """Wherever clips are divided, there are columns of two protocols."""
    divided = [shape for shape in study(paper).tables.values() if {"uar", "accuracy", "f1"} & set(shape.metrics)]
    assert divided
    assert all(list(shape.groups) == ["as the paper", "ours"] for shape in divided)


def test_where_a_paper_counts_other_clips_than_a_reader_finds_the_study_says_so() -> None:
    for paper in PAPERS:
        for corpus in study(paper).corpora.values():
            rows = [row for row in published_rows() if row["paper"] == paper and row["metric"] == "clips"]
            counts = [row["value"] for row in rows if spelled(row["data"]) == spelled(corpus.printed or "")]
            if counts and str(CATALOG[corpus.reader or ""].clips) != counts[0]:
                assert corpus.note, corpus
    notes = {name: str(corpus.note) for paper in PAPERS for name, corpus in study(paper).corpora.items()}
    for name, numbers in {
        "demos": ("8 labels", "7 emotions"),
        "aesdd": ("604", "500"),
        "oreau": ("434", "502"),
        "cnvve": ("950", "921"),
        "asvp-esd-babies": ("1204", "1339"),
    }.items():
        assert all(number in notes[name] for number in numbers), name


@pytest.mark.parametrize("paper", PAPERS)
def test_with_every_corpus_and_model_no_step_table_or_figure_is_left_out(paper: str, tmp_path: Path) -> None:
    """On the miniatures of all corpora, in their real layouts; models without an id of the Hub are folders."""
    made, recipe = read_study_recipe(f"recipes/studies/{paper}.yaml")
    data = [f"{name}={write_crowd(tmp_path / name, name)}" for name in made.corpora]
    models = [f"{name}={tmp_path}" for name, own in made.models.items() if own.source is None]
    corpora, out = placed(made, data, tmp_path / "out"), tmp_path / "out"
    plan = Plan(made, corpora, sources(made, models), out, recipe.layers[0].path)
    rows = rows_of(plan, Kept(out), Costs(tmp_path / "rates.jsonl", out / "plans"))
    assert {(row.status, row.step.why) for row in rows} == {("to do", None)}
    shown = {name for row in rows for name in plan.shows(row.step)}
    assert shown == {*places(paper), *FIGURES[paper]}
    every = tables_of(plan, rows)[-1]
    assert [row[:2] for row in every.rows] == [[name, "to do"] for name in [*made.tables, *made.figures]]


def test_what_nobody_has_is_left_out_of_a_paper_and_said(tmp_path: Path) -> None:
    """VIVAE alone, and no checkpoint of Audio Mamba: RENO's three pairs of the others are still there."""
    made, recipe = read_study_recipe("recipes/studies/reno.yaml")
    corpora = placed(made, [f"vivae={write_crowd(tmp_path / 'vivae', 'vivae')}"], tmp_path / "out")
    plan = Plan(made, corpora, sources(made, []), tmp_path / "out", recipe.layers[0].path)
    there = {step.name for step in plan.steps if step.why is None}
    assert {"prepare.vivae", "probe.vivae.fcn", "fuse.vivae", "map.vivae.W", "confusion.vivae"} <= there
    assert not [name for name in there if "jnv" in name or ".A-" in name]
    fused = plan.step("fuse.vivae").settings
    assert fused["encoders"] == [made.models[name].source for name in ("W", "W2", "U", "H")]
