import json
import os
import signal
import sys
import threading
from pathlib import Path

import pytest
from patience import wait_until
from tiny_demo import tiny_demo

from demo import demo
from nonverbal import config
from nonverbal.errors import UserError
from nonverbal.tasks.scores import read_scores

FILES = """\
corpus/probe/laugh/laugh_s000_00.wav
corpus/pretraining/laugh/laugh_s005_00.wav
shards/probe/manifest.jsonl
shards/pretraining/ledger.jsonl
run/recipe.yaml
run/checkpoints/step-3/model.safetensors
run/encoder/model.safetensors
embeddings
probe/scores.jsonl
finetuned/scores.jsonl
finetuned/seed-0/fold-4/encoder/model.safetensors
finetuned_initialised/scores.jsonl
training.png
probe.png
summary.json
report.html
"""


@pytest.mark.processes
def test_the_demo_goes_the_whole_way_and_twice_to_the_same_figures(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    arguments = tiny_demo(tmp_path)
    demo.main(arguments)
    out = Path("demo")
    assert all((out / name).exists() for name in FILES.split())
    said = capfd.readouterr().out
    assert all(
        f"demo/{name}: " in said for name in ("run/encoder", "training.png", "probe.png", "summary.json", "report.html")
    )
    assert f"open the page in a browser: file://{(tmp_path / 'demo' / 'report.html').resolve()}" in said
    page = (out / "report.html").read_text(encoding="utf-8")
    # The probes, the fine-tunings, and the pretraining run alone: a fold of a fine-tuning is none.
    assert "2 tables of scores" in " ".join(page.split())
    assert "1 pretraining run" in " ".join(page.split())
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary) == [
        "logmel",
        "initialised",
        "pretrained",
        "finetuned",
        "finetuned_initialised",
        "protocol",
        "protocol_finetuned",
        "loss_first",
        "loss_last",
        "seconds",
        "precision",
    ]
    assert all(summary[name].keys() == {"mean", "std"} for name in list(summary)[:5])
    assert summary["protocol"] == "speaker-disjoint 5-fold, stratified"
    scores = read_scores(out / "probe/scores.jsonl")
    assert {(score.model, score.pretraining) for score in scores} == {
        (name, "held out") for name in ("logmel", "initialised", "pretrained")
    }

    checkpoint = out / "run/checkpoints/step-3/model.safetensors"
    written = checkpoint.stat().st_mtime_ns
    demo.main(arguments)
    assert checkpoint.stat().st_mtime_ns == written
    repeated = json.loads((out / "summary.json").read_text())
    assert repeated | {"seconds": summary["seconds"]} == summary
    assert read_scores(out / "probe/scores.jsonl") == scores


CHILD = """
import pathlib, signal, sys
def end(number, _):
    pathlib.Path("saved").write_text(str(number))
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, end)
pathlib.Path("ready").touch()
signal.pause()
"""


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_to_the_command_once_and_waited_for(tmp_path, monkeypatch, number):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "PROGRAM", (sys.executable, "-c", CHILD))

    def send():
        wait_until(Path("ready").exists)
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(SystemExit) as ended:
        demo.run_command("pretrain")
    sender.join()
    assert ended.value.code == 128 + number
    assert Path("saved").read_text() == str(int(number))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--takes", "0"], "--takes must be at least 1, but is 0"),
        (["--probe_speakers", "4"], "--probe_speakers must be at least 5, but is 4"),
        (["--pretraining", "nowhere.yaml"], "no file 'nowhere.yaml' here or among the shipped ones"),
        (["--finetuning", "nowhere.yaml"], "no file 'nowhere.yaml' here or among the shipped ones"),
        (["--takes", "3"], "demo holds a demo with other settings .takes: 4 then, 3 now.; give the same"),
    ],
)
def test_what_no_demo_can_be_made_of_is_refused(tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    Path("demo").mkdir()
    Path("demo/demo.yaml").write_text(config.dump(demo.DemoConfig()))
    with pytest.raises(UserError, match=message):
        demo.main(["--out", "demo", *argv])
