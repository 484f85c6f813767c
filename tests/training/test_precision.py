import json
import subprocess

import pytest
import torch
import yaml
from test_trainer import CLIPS, settings_of, trainer_of
from tiny_runs import TORCHRUN, command_of, environment

from nonverbal import system
from nonverbal.errors import UserError
from nonverbal.training import precision
from nonverbal.training.precision import choose_precision
from pretrain import train

SECOND_WITHOUT_UNITS = """
import os, runpy, sys
if os.environ["RANK"] == "1":
    os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


class World:
    """Processes whose sums are those of ``able`` ones, seen from the first or the last."""

    device = torch.device("cpu")

    def __init__(self, able, rank=0, before=None):
        self.able, self.world, self.is_first = able, len(able), rank == 0
        first = before if before is not None else ("bf16" if able[0] else "fp32")
        self.sums = [int(before is not None), int(first == "bf16"), able.count(False)]

    def add(self, *numbers):
        assert len(numbers) == len(self.sums)
        return self.sums


@pytest.mark.parametrize(
    ("flags", "held_to", "units"),
    [
        ("fpu avx512f avx512_bf16", None, True),
        ("fpu avx512f amx_bf16", None, True),
        ("fp asimd bf16", None, True),
        ("fpu avx2 avx512f avx512_vnni", None, False),
        ("", None, False),
        ("fpu avx512f avx512_bf16", "AVX512_CORE", False),
        ("fpu avx512f avx512_bf16", "avx2", False),
        ("fpu avx512f avx512_bf16", "AVX512_CORE_BF16", True),
    ],
)
def test_units_for_bf16_are_those_that_the_system_tells(monkeypatch, flags, held_to, units):
    monkeypatch.setattr(system, "processor_flags", flags.split)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if held_to is not None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", held_to)
    assert system.has_bf16_units() is units


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("asked", "before", "able", "value", "why"),
    [
        ("auto", None, [True, True], "bf16", "for which this processor has units"),
        ("auto", None, [False, True], "fp32", "no units for bf16"),
        ("auto", "fp32", [True, True], "fp32", "as the run began"),
        ("auto", "bf16", [False, False], "bf16", "as the run began; this processor emulates it slowly"),
        ("fp32", "bf16", [True, True], "fp32", "as set"),
    ],
)
def test_all_processes_have_one_precision(monkeypatch, rank, asked, before, able, value, why):
    monkeypatch.setattr(precision, "multiplies_bf16", lambda device: able[rank])
    if why.startswith("no units") and able[rank]:
        why = "fp32"
    chosen = choose_precision(asked, before if rank == 0 else None, World(able, rank, before))
    assert chosen.value == value
    assert why in str(chosen)


@pytest.mark.parametrize("before", [None, "bf16"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_without_the_units_of_the_others_is_refused_on_all(monkeypatch, rank, before):
    able = [True, False]
    monkeypatch.setattr(precision, "multiplies_bf16", lambda device: able[rank])
    with pytest.raises(UserError, match=r"bf16, but 1 of its 2 processes have no units.*--trainer.precision fp32"):
        choose_precision("auto", before if rank == 0 else None, World(able, rank, before))


def test_asked_bf16_is_taken_and_its_cost_is_said(monkeypatch):
    monkeypatch.setattr(precision, "multiplies_bf16", lambda device: False)
    assert str(choose_precision("bf16", None, World([False]))) == (
        "precision: bf16, as set, which this processor emulates slowly: fp32 is faster here"
    )


@pytest.mark.parametrize(("units", "value"), [(True, "bf16"), (False, "fp32")])
def test_auto_is_what_the_device_does_best(monkeypatch, tmp_path, make_shards, units, value):
    monkeypatch.setattr(precision, "has_bf16_units", lambda: units)
    trainer = trainer_of(tmp_path, make_shards(CLIPS), settings_of(precision="auto"))
    assert trainer.settings.precision == trainer.precision.value == value


def test_a_run_writes_what_auto_became_and_keeps_it_elsewhere(tmp_path, make_shards, monkeypatch, capsys):
    out = tmp_path / "run"
    auto = command_of(make_shards(CLIPS).folder, out, "trainer.precision=auto", "trainer.steps=3")[2:]
    monkeypatch.setattr(precision, "has_bf16_units", lambda: False)
    train.main(auto)
    assert "precision: fp32, since this processor has no units for bf16 (trainer.precision: auto)" in said(capsys)
    assert yaml.safe_load((out / "recipe.yaml").read_text())["trainer"]["precision"] == "fp32"
    assert json.loads((out / "environment.json").read_text())[0]["precision"]["value"] == "fp32"
    monkeypatch.setattr(precision, "has_bf16_units", lambda: True)
    train.main(auto)
    assert "precision: fp32, as the run began" in said(capsys)
    with pytest.raises(UserError, match="trainer.precision: 'fp32' then, 'bf16' now"):
        train.main([*auto, "--trainer.precision=bf16"])
    (out / "recipe.yaml").write_text((out / "recipe.yaml").read_text().replace("precision: fp32", "precision: auto"))
    train.main(auto)
    assert yaml.safe_load((out / "recipe.yaml").read_text())["trainer"]["precision"] == "bf16"


def said(capsys):
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.processes
@pytest.mark.slow  # several processes, or a compiler, that import torch
def test_processors_of_two_kinds_are_refused_at_once(tmp_path, make_shards):
    if not system.has_bf16_units():
        pytest.skip("this processor has no units for bf16, so none of its processes can have them")
    command = command_of(make_shards(CLIPS).folder, tmp_path / "run", "trainer.precision=auto")
    script = tmp_path / "wrapped.py"
    script.write_text(SECOND_WITHOUT_UNITS)
    launched = [*TORCHRUN, "2", str(script), *command[1:]]
    result = subprocess.run(launched, capture_output=True, text=True, env=environment(), check=False)
    assert result.returncode != 0
    assert result.stderr.count("1 of its 2 processes have no units") == 2
    assert not (tmp_path / "run/recipe.yaml").exists()
