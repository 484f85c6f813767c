"""The page as its HTML says it: nothing runs but our script, nothing is fetched, numbers are those of tables."""

import base64
import hashlib
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_inputs import HOSTILE, write_run, write_tables

from nonverbal.evaluation.published import published_table
from nonverbal.evaluation.results import results
from nonverbal.evaluation.score_tables import scores_table
from nonverbal.launches import add_launch, launch_of
from nonverbal.report.collect import collect
from nonverbal.report.origins import shared_launches
from nonverbal.report.page import Page, in_script, render, status
from nonverbal.tasks.measurements import read_measurements
from nonverbal.tasks.protocols import NAMED


class Reader(HTMLParser):
    """Elements and their attributes, and the texts of some."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("report")
    names = ["x", HOSTILE, 'y" onload="alert(1)', "z</title>"]
    write_tables(folder / "first", names, [HOSTILE, "b&b"], protocol="by <b>hand</b>")
    write_tables(folder / "second", names, corpus="other", protocol="by <b>hand</b>")
    write_run(folder / "run", folder / "shards", family=HOSTILE)
    return collect([folder], HOSTILE, f"nonverbal report {HOSTILE}")


@pytest.fixture(scope="module")
def read(page: Page) -> Reader:
    return Reader(render(page))


def test_nothing_runs_but_the_script_that_the_policy_names(read: Reader) -> None:
    (policy,) = [meta["content"] for meta in read.of("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    (script,) = [text for tag, text in read.texts if tag == "script"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy is not None
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert read.of("script") == [{}]
    assert not [name for _, attributes in read.elements for name in attributes if name.startswith("on")]


def test_nothing_is_fetched(read: Reader) -> None:
    assert {tag for tag, _ in read.elements} & {"link", "iframe", "object", "embed", "img", "base", "form"} == set()
    links = [value for _, own in read.elements for name, value in own.items() if name in ("src", "href", "action")]
    assert links
    assert all(value is not None and value.startswith("#") for value in links)


def test_names_stay_texts(read: Reader) -> None:
    shown = [text for _, text in read.texts]
    assert HOSTILE in shown  # a heading, a model, a class
    assert sum(HOSTILE in text for tag, text in read.texts if tag in ("th", "td", "text", "h1", "dd", "code")) > 5
    assert ("b", "by <b>hand</b>") in read.texts


def test_links_lead_somewhere(read: Reader) -> None:
    anchors = [own["id"] for _, own in read.elements if "id" in own]
    assert len(anchors) == len(set(anchors))
    assert {(link["href"] or "").removeprefix("#") for link in read.of("a")} <= set(anchors)


def test_figures_have_texts(read: Reader, page: Page) -> None:
    svgs = read.of("svg")
    assert len(svgs) == len(page.drawings) > 20
    assert all(own["role"] == "img" and own["aria-label"] for own in svgs)
    assert len({drawing.name for drawing in page.drawings}) == len(page.drawings)


def test_numbers_are_those_of_the_tables(tmp_path: Path) -> None:
    file = write_tables(tmp_path)
    page = collect([file], "t", "c")
    (task,) = results(read_measurements([file]))
    assert page.tables[0] == scores_table(task)
    cells = [text for tag, text in Reader(render(page)).texts if tag in ("td", "th", "span")]
    assert all(cell in cells for row in page.tables[0].rows for cell in row)


def test_a_task_has_all_that_was_kept_of_it(page: Page) -> None:
    first, second = page.sections
    headings = [part.heading for part in first.parts]
    assert headings == [
        "Scores",
        "Comparisons",
        "Confusion matrices",
        "Recall of each class",
        "Recall of each class, with intervals",
        "Layers",
        "Learned layer weights",
        "Class probabilities",
        "Calibration",
        "Clips that all models get wrong",
        "Clips on which two models disagree",
    ]
    assert (first.heading, second.heading) == ("made, 2 classes", "other, 2 classes")
    assert [table.title for table in page.rankings] == ["by <b>hand</b>: UAR over corpora"]


def test_what_papers_printed_has_columns_of_its_own(tmp_path: Path) -> None:
    protocol = NAMED["reno"].protocol.name
    file = write_tables(tmp_path, ["facebook/wav2vec2-base", "mine"], corpus="jnv", protocol=protocol)
    (task,) = results(read_measurements([file]))
    expected = published_table(task)
    assert expected is not None
    parts = {part.heading: part for part in collect([file], "t", "c").sections[0].parts}
    assert parts["Published numbers"].tables == [expected]
    assert any("printed" in column for column in expected.columns)
    assert not any("printed" in column for column in parts["Scores"].tables[0].columns)


def test_origins_name_files_by_content(tmp_path: Path) -> None:
    file = write_tables(tmp_path, "x")
    (section,) = collect([tmp_path], "t", "c").sections
    (origin,) = section.origins
    names = [path for path, _ in origin.files]
    assert names[0] == str(file)
    assert Path(names[1]).parent == tmp_path / "predictions"
    assert all(sha256 == hashlib.sha256(Path(path).read_bytes()).hexdigest() for path, sha256 in origin.files)
    assert "recorded beside these scores" in render(collect([tmp_path], "t", "c"))


def test_origins_of_fine_tunings_have_their_command(tmp_path: Path) -> None:
    file = write_tables(tmp_path, "x", details={"run": "seed-0/fold-0"})
    fold = tmp_path / "seed-0" / "fold-0"
    fold.mkdir(parents=True)
    launch = {"command": ["finetune/train.py", "--out", "two words"], "python": "3.11", "packages": {"torch": "2.9"}}
    (fold / "environment.json").write_text(json.dumps([launch]))
    (origin,) = collect([file], "t", "c").sections[0].origins
    assert origin.launches[0].command == "finetune/train.py --out 'two words'"
    assert origin.launches[0].versions == "python 3.11, torch 2.9"


def test_scores_have_the_command_that_made_them(tmp_path: Path) -> None:
    command = ["nonverbal", "probe", "--encoders", "x,y"]
    first, again = ({**launch_of(command, settings="head: linear\n"), "time": time} for time in ("then", "later"))
    key = add_launch(tmp_path, first)
    other = add_launch(tmp_path, launch_of(["nonverbal", "probe", "--encoders", "z"]))
    assert add_launch(tmp_path, again) == key != other
    for model, launch in (("x", key), ("y", key), ("z", other), (["gone"], "f" * 12)):
        write_tables(tmp_path, model, launch=launch)
    page = collect([tmp_path], "t", "c")
    (section,) = page.sections
    found = {one.model: [launch.command for launch in one.launches] for one in section.origins}
    assert found["x"] == found["y"] == ["nonverbal probe --encoders x,y"]
    assert (found["z"], found["gone"]) == (["nonverbal probe --encoders z"], [])
    assert next((one.key, one.time) for one in shared_launches(section.origins)) == (key, "later")
    html = render(page)
    # Once, however many rows are of it.
    assert html.count("nonverbal probe --encoders x,y") == 1
    assert "head: linear" in html
    assert "recorded beside these scores" in html


@pytest.mark.parametrize("load", [json.loads])
def test_json_does_not_end_its_element(load: Callable[[str], object]) -> None:
    content = {"</script><!--": "&lt; \u2028"}
    written = in_script(content)
    assert not set("<>&\u2028") & set(written)
    assert load(written) == content


def test_leak_status_is_marked() -> None:
    cells = ["held out", "held out (by its authors)", "transductive", "labels seen", "unknown"]
    assert [status("pretraining", cell) for cell in cells] == ["unheard", "unheard", "heard", "heard", "unknown"]
    assert status("model", "held out") == ""
