"""The page on adding a corpus shows code that works, and names what there is."""

import re
import types
from dataclasses import fields
from pathlib import Path

import pytest
from readings import found_in

from nonverbal.data.corpora import CATALOG, base, names, readers
from nonverbal.errors import UserError

PAGE = (Path(__file__).parents[3] / "docs/add-a-corpus.md").read_text(encoding="utf-8")
READER, TESTS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def run(code):
    module = types.ModuleType("shown")
    exec(compile(code, "docs/add-a-corpus.md", "exec"), vars(module))
    return module


@pytest.fixture
def murmurs(monkeypatch):
    """Enter the page's corpus in the catalog."""
    (corpus,) = run(READER).CORPORA
    monkeypatch.setitem(CATALOG, corpus.name, corpus)
    return corpus


@pytest.mark.parametrize("name", re.findall(r"^def (test_\w+)", TESTS, re.MULTILINE))
def test_the_pages_tests_pass(name, murmurs, tree):
    getattr(run(TESTS), name)(tree)


def test_the_pages_corpus_is_as_its_page_says(murmurs, tree):
    assert murmurs.notes.startswith("Murmurs: ")
    assert sum(murmurs.classes.values()) == murmurs.clips
    with pytest.raises(UserError, match=r"does not look like this corpus: expected studio/<speaker>"):
        found_in(tree("cats/meow.wav"), "murmurs")


def first_column(title):
    table = PAGE.split(f"| {title} |")[1].split("\n\n")[0]
    return {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_the_page_names_every_field_and_helpers_that_are_there():
    assert first_column("field") == {field.name for field in fields(base.Corpus)}
    assert {"read_by_name", "read_by_table"} <= first_column("helper") <= {*vars(base), *vars(readers), *vars(names)}
