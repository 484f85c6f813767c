import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from patience import wait_until

from evaluate import study as program
from nonverbal.data.synthetic import write_corpus
from nonverbal.errors import UserError
from nonverbal.evaluation.studies import read_study

RECIPE = r"""
title: Sounds
corpora:
  sounds:
    prepare: {pattern: '(?P<label>[a-z]+)/[a-z]+_(?P<speaker>s\d{3})_\d+\.wav', validation_share: 0.0}
  absent: {}
models:
  words: {source: logmel}
steps:
  probe:
    run: probe
    each: {corpus: all, model: all}
    with: {data: "{data}", encoders: "{source}", folds: 4, cache: cache}
    note: a minute
tables:
  Table I: {caption: UAR of all, steps: [probe], metrics: [uar]}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(RECIPE)
    write_corpus(Path("corpus"), range(4), 1, seed=0)
    return ["study.yaml", "--data", "sounds=corpus", "--out", "out"]


def test_a_dry_run_says_all_and_makes_nothing(here, capsys):
    before = sorted(Path().rglob("*"))
    program.main([*here, "--dry-run"])
    said = capsys.readouterr().out
    assert re.search(r"prepare.sounds +to do +unknown +unknown", said)
    assert re.search(r"probe.sounds.words +to do .*Table I .*a minute", said)
    assert re.search(r"probe.absent.words +left out .*no --data absent=PATH is given", said)
    assert re.search(r"Table I +1 to do, 1 left out +UAR of all", said)
    program.main([*here, "--dry-run", "--only", "prepare"])
    said = capsys.readouterr().out
    pattern = r"'(?P<label>[a-z]+)/[a-z]+_(?P<speaker>s\d{3})_\d+\.wav'"
    settings = f"--corpora.sounds.pattern {pattern} --validation_share 0.0"
    assert f"nonverbal prepare sounds=corpus {settings} --out out/shards/sounds\n" in said
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("folds: 4", "flods: 4", "steps.probe: unknown key 'flods' on the command line; did you mean 'folds'?"),
        (
            "folds: 4",
            "folds: four",
            "steps.probe: --folds must be a whole number, 'leave-one-out', 'auto', 'hold-out', 'official' or null, but",
        ),
        ("run: probe", "run: prob", "steps.probe.run: no step can run 'prob'; did you mean 'probe'?"),
        ("run: probe", "run: study", "steps.probe.run: no step can run 'study'"),
    ],
)
def test_settings_that_a_command_does_not_have_are_found_before_anything_runs(here, old, new, message):
    Path("study.yaml").write_text(RECIPE.replace(old, new))
    with pytest.raises(UserError, match=re.escape(message)):
        program.main(here)
    assert not Path("out").exists()


def test_settings_of_each_corpus_and_of_each_value_are_checked(here):
    given = [*here, "--data", "sounds=corpus", "absent=corpus", "--dry-run"]
    Path("study.yaml").write_text(RECIPE.replace("absent: {}", "absent: {prepare: {validation_shared: 0.1}}"))
    with pytest.raises(UserError, match="corpora.absent.prepare: unknown key 'validation_shared'"):
        program.main(given)
    each = "each: {corpus: all, model: all, folds: [4, four]}"
    text = RECIPE.replace("each: {corpus: all, model: all}", each).replace("folds: 4", 'folds: "{folds}"')
    Path("study.yaml").write_text(text)
    with pytest.raises(UserError, match="steps.probe: --folds must be a whole number, .*, but is 'four'"):
        program.main(given)


@pytest.mark.processes
@pytest.mark.slow  # half a minute: six commands, each with what it imports
def test_a_study_goes_from_sounds_to_a_page_and_on_after_a_signal(here, capfd):
    command = [sys.executable, "-m", "nonverbal", "study", *here]
    with subprocess.Popen(command) as process:
        wait_until(Path("out/logs/probe.sounds.words.log").exists, process)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    assert "interrupted in the step probe.sounds.words; run the same command again" in capfd.readouterr().err
    program.main(here)
    record = read_study(Path("out/study.json"))
    assert {step.name: step.status for step in record.steps} == {
        "prepare.sounds": "done",
        "probe.sounds.words": "done",
        "probe.absent.words": "left out",
    }
    assert Path("out/probe.sounds.words/scores.jsonl").exists()
    assert "Sounds" in Path("out/report.html").read_text()
    assert [json.loads(line)["run"] for line in Path("runs/rates.jsonl").read_text().splitlines()] == [
        "prepare",
        "probe",
    ]
    said = capfd.readouterr().out
    assert "prepare sounds=" not in said
    written = Path("out/report.html").stat().st_mtime_ns
    program.main(here)
    assert Path("out/report.html").stat().st_mtime_ns == written
