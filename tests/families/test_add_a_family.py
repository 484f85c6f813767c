"""The page on adding a family shows code that works, from pretraining to a probe, and names what there is."""

import importlib.util
import json
import re
import sys
import types
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from evaluate.compare import CompareConfig, with_encoders
from evaluate.compare import main as compare
from evaluate.probe import ProbeConfig
from nonverbal import config
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import load_encoder
from nonverbal.families import FAMILIES, base, read_any, recognised
from nonverbal.models.checkpoints import hugging_face
from nonverbal.objectives.base import Objective
from nonverbal.stages import pretraining
from pretrain import train
from pretrain.convert import ConvertConfig
from pretrain.convert import main as convert

PAGE = (Path(__file__).parents[2] / "docs/add-a-family.md").read_text(encoding="utf-8")
FILE, TESTS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
CLIPS = [("a", seconds, "train") for seconds in (0.6, 1.0, 1.5, 0.4)] * 3 + [("a", 1.0, "validation")]
TINY = {
    "batches.batch_seconds": 3,
    "batches.batches_per_step": 2,
    "batches.max_seconds": 1.5,
    "batches.min_seconds": 0.5,
    "trainer.steps": 3,
    "trainer.precision": "fp32",
    "trainer.validate_every": 3,
    "trainer.checkpoint_every": 3,
    "trainer.workers": 0,
    "trainer.optimizer.warmup_steps": 1,
}


def imported(file, name):
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def ripple(tmp_path_factory):
    """Do what the page says: a file of its code, and a line in the table, which programs find as they start."""
    file = tmp_path_factory.mktemp("families") / "ripple.py"
    file.write_text(FILE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "nonverbal.families.ripple", None)
        module = imported(file, "nonverbal.families.ripple")
        patch.setitem(FAMILIES, module.FAMILY.name, module.FAMILY)
        start_again()
        yield module
    start_again()


def start_again():
    for program in (pretraining, train):
        importlib.reload(program)


@pytest.fixture(scope="module")
def pretrain(ripple, module_shards):
    shards = module_shards(CLIPS).folder

    def start(out, **settings):
        given = TINY | settings
        train.main([f"--data={shards}", f"--out={out}", "--family=ripple", *(f"--{k}={v}" for k, v in given.items())])
        return out

    return start


@pytest.fixture(scope="module")
def trained(pretrain, tmp_path_factory):
    return pretrain(tmp_path_factory.mktemp("ripple") / "run")


@pytest.mark.parametrize("name", re.findall(r"^def (test_\w+)", TESTS, re.MULTILINE))
def test_the_pages_tests_pass(name, ripple, tmp_path):
    # A test imports from the file what it tests.
    module = types.ModuleType("shown")
    vars(module).update(vars(ripple))
    exec(compile(TESTS, "docs/add-a-family.md", "exec"), vars(module))
    test = getattr(module, name)
    test(tmp_path) if "tmp_path" in test.__code__.co_varnames else test()


def test_it_learns_and_is_recognised_read_back_and_continued(ripple, pretrain, trained, tmp_path, capsys):
    losses = [json.loads(row) for row in (trained / "metrics.jsonl").read_text().splitlines()]
    assert np.isfinite([row["loss"] for row in losses if "loss" in row]).all()
    assert recognised(str(trained)) is ripple.FAMILY.encoders
    before = read_any(str(trained))
    slowly = {"ripple.init": trained, "trainer.optimizer.lr": 1e-9}
    again = pretrain(tmp_path / "run", **slowly)
    assert re.search(r"starting from .*\n.*taken.*encoder.*8 weights", capsys.readouterr().out, re.DOTALL)
    after = read_any(str(again))
    assert all(value.allclose(after.weights[name]) for name, value in before.weights.items())
    # The same command again finds the run done.
    pretrain(tmp_path / "run", **slowly)


def test_it_is_compared_converted_and_probed(ripple, trained, tmp_path, capsys):
    compare([str(trained), str(trained), "--clips", "2"])
    assert "no weight differs" in capsys.readouterr().out
    convert([str(trained), "--to", "transformers", "--out", str(tmp_path / "folder")])
    assert "no head: the encoder alone" in capsys.readouterr().out
    with pytest.raises(UserError, match="is a Ripple, for which --to must be transformers, but it is fairseq"):
        convert([str(trained), "--to", "fairseq", "--out", str(tmp_path / "a.pt")])
    waveform = np.sin(np.arange(8000) / 9).astype(np.float32)
    frames = [load_encoder(name).frames(waveform) for name in (str(trained), str(tmp_path / "folder"))]
    assert frames[0].shape == (4, 50, 32)
    np.testing.assert_array_equal(*frames)
    assert (load_encoder(f"initialised:{trained}").frames(waveform) != frames[0]).any()


def test_programs_know_its_settings(ripple, capsys):
    given = ["--data=shards", "--out=run"]
    with pytest.raises(UserError, match=r"ripple.mask_ratio must be above 0 and below 1, but is 2.0"):
        train.main([*given, "--family=ripple", "--ripple.mask_ratio=2"])
    with pytest.raises(UserError, match=r"ripple.layers is set, but has no effect because the family is wav2vec2"):
        train.main([*given, "--ripple.layers=2"])
    with pytest.raises(SystemExit):
        train.main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "A Ripple and its objective" in shown
    assert "Share of a row's windows that are masked" in shown
    assert "{wav2vec2,hubert,ssam,ripple}" in shown


def test_the_pages_commands_are_understood(ripple):
    lines = re.findall(r"^nonverbal (\w+) (.*?)(?: +#.*)?$", PAGE, re.MULTILINE)
    assert [command for command, _ in lines] == ["pretrain", "pretrain", "compare", "probe", "convert"]
    programs = {
        "pretrain": (train.PretrainConfig, list),
        "compare": (CompareConfig, with_encoders),
        "probe": (ProbeConfig, list),
        "convert": (ConvertConfig, lambda argv: config.with_first(argv, "source")),
    }
    for command, line in lines:
        settings, keyed = programs[command]
        config.load(settings, keyed(line.split()), f"nonverbal {command}", "")


def first_column(*titles):
    """The names in the first column of the tables under these titles."""
    tables = [PAGE.split(title)[1].split("\n|---")[1].split("\n\n")[0] for title in titles]
    rows = [row for table in tables for row in table.splitlines()[1:]]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_the_page_names_every_field_and_helpers_that_are_there():
    assert first_column("## What a family says") == {field.name for field in fields(base.Family)}
    assert first_column("`build` returns") == {field.name for field in fields(base.Pretraining)}
    assert first_column("## What a kind of encoder says") == {field.name for field in fields(base.Encoders)}
    annotated = set(Objective.__annotations__) | {"forward", "finish", "part", "export"}
    assert first_column("An objective is a") == annotated
    assert {"load", "check_whole"} <= first_column("`read` needs little code") <= set(vars(hugging_face))
