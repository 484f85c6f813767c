"""The page on adding an encoder shows code that works, and names what there is."""

import re
import types
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from labelled_tones import tones

from evaluate import encoders, probe
from nonverbal.data.index import ShardFolder
from nonverbal.evaluation.encoders import KINDS, FrameEncoder, Kind
from nonverbal.tasks.scores import read_scores

PAGE = (Path(__file__).parents[3] / "docs/add-an-encoder.md").read_text(encoding="utf-8")
ENCODER, TESTS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def run(code: str) -> types.ModuleType:
    module = types.ModuleType("shown")
    exec(compile(code, "docs/add-an-encoder.md", "exec"), vars(module))
    return module


@pytest.fixture
def kind(monkeypatch: pytest.MonkeyPatch) -> Kind:
    """Enter the page's encoder in the list."""
    (kind,) = run(ENCODER).KINDS
    monkeypatch.setitem(KINDS, kind.name, kind)
    return kind  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", re.findall(r"^def (test_\w+)", TESTS, re.MULTILINE))
def test_the_pages_tests_pass(name: str, kind: Kind) -> None:
    getattr(run(TESTS), name)()


def test_the_pages_encoder_is_listed_shown_and_scored_as_any(
    kind: Kind, labelled_shards: Callable[..., ShardFolder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoders.main([])
    assert re.search(r"zero-crossings .* computed .* 1 .* 1 .* Apache-2.0 .* nothing", capsys.readouterr().out)
    encoders.main(["show", "zero-crossings"])
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("changes of sign name zero-crossings frames 1 layer of 1 value")
    assert "shortest clip 400 samples (25 ms)" in said
    assert said.endswith("Nothing is learned. Noisy sounds cross zero often, voiced ones seldom.")
    shards = labelled_shards(tones()).folder
    out = tmp_path / "out"
    given = f"--data {shards} --encoders zero-crossings --folds 3 --out {out} --cache {tmp_path / 'cache'}"
    probe.main(given.split())
    scores = read_scores(out / "scores.jsonl")
    assert [(score.model, score.pretraining) for score in scores] == [("zero-crossings", "held out")] * 3
    assert np.mean([score.metrics["uar"] for score in scores]) == 1


def first_column(title: str) -> set[str]:
    table = PAGE.split(f"| {title} |")[1].split("\n\n")[0]
    return {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)[`(]", row.split("|")[1])}


def test_the_page_names_every_field() -> None:
    members = {name for name in vars(FrameEncoder) if not name.startswith("_")}
    assert first_column("member of a `FrameEncoder`") == members
    assert first_column("field of a `Kind`") == {field.name for field in fields(Kind)}
