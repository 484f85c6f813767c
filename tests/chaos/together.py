"""A cast of commands that share a folder of shards, a cache and a folder of results, and what they come to."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import wave
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from marked_runs import MarkedCommand, done, same_run, same_tensors
from safetensors.torch import load_file
from tiny_runs import ROOT, command_of, environment
from tuned_runs import PROGRAM as FINETUNE
from tuned_runs import arguments, tiny_encoder

PRETRAIN, TUNE, PROBE, OTHER_PROBE, REPORT = "pretrain", "finetune", "probe", "probe of the same", "report"
TRAINING = (PRETRAIN, TUNE)
PROBING = (PROBE, OTHER_PROBE)
WORKING = (*TRAINING, *PROBING)
"""All but the report, which reads what these write."""

STEPS = ("trainer.steps=24", "trainer.keep_checkpoints=2", "trainer.watchdog.on_collapse=warn")


def make_sounds(folder, seed):
    """Write low and high tones in noise by several speakers, each file as long under any seed."""
    draw, lengths = np.random.default_rng(seed), np.random.default_rng(0)
    for speaker in range(8):
        for label, pitch in (("high", 3000), ("low", 400)):
            (folder / label).mkdir(parents=True, exist_ok=True)
            for take in range(2):
                at = np.arange(int(lengths.uniform(0.6, 1.2) * 16_000)) / 16_000
                tone = 0.2 * np.sin(2 * np.pi * draw.uniform(0.8, 1.2) * pitch * at)
                samples = tone + 0.05 * draw.standard_normal(len(at))
                with wave.open(str(folder / label / f"s{speaker}-{take}.wav"), "wb") as file:
                    file.setparams((1, 2, 16_000, len(samples), "NONE", ""))
                    file.writeframes((32767 * samples).astype("<i2").tobytes())
    return folder


def prepare(sounds, out):
    """Make shards of sounds: the same names, speakers and labels, whatever is heard."""
    pattern = r"(?P<label>high|low)/(?P<speaker>s\d)-\d\.wav"
    settings = [f"--corpora.made.folder={sounds}", f"--corpora.made.pattern={pattern}", f"--out={out}"]
    settings += ["--validation_share=0.2", "--shard_megabytes=0.2", "--processes=1"]
    run([sys.executable, str(ROOT / "pretrain/prepare.py"), *settings])
    return out


def run(command):
    """Run a command to its end, which must be a good one."""
    result = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=300)
    assert result.returncode == 0, result.stderr + result.stdout
    return result


@dataclass
class Cast:
    """The commands, by name; the same names and paths but for the folder of results."""

    shards: Path
    encoders: list[Path]
    work: Path
    """Folder of all results."""
    logs: Path
    variables: dict[str, str] = field(default_factory=dict)
    started: dict[str, MarkedCommand] = field(default_factory=dict)

    @property
    def cache(self):
        return self.work / "cache"

    def out(self, name):
        # Both probes write to one folder of results.
        return self.work / {PROBE: "probes", OTHER_PROBE: "probes", REPORT: "report.html"}.get(name, name)

    def command(self, name):
        first, second = self.encoders
        program = [sys.executable, str(ROOT / "evaluate" / ("report.py" if name == REPORT else "probe.py"))]
        if name == PRETRAIN:
            return command_of(self.shards, self.out(name), *STEPS)
        if name == TUNE:
            settings = {"epochs": 4, "trainer.workers": 1}
            return [sys.executable, str(FINETUNE), *arguments(self.shards, first, self.out(name), **settings)]
        if name == REPORT:
            tables = self.work / "report.md"
            return [
                *program,
                str(self.work),
                f"--out={self.out(name)}",
                f"--markdown={tables}",
                f"--data={self.shards}",
            ]
        # The second goes through the encoders the other way round, with another head.
        way, head = ([first, second], "logistic") if name == PROBE else ([second, first], "svm")
        encoders = ["logmel", *map(str, way), "mfcc"]
        places = [f"--data={self.shards}", f"--out={self.out(name)}", f"--cache={self.cache}"]
        return [*program, *places, "--encoders", ",".join(encoders), f"--head={head}", "--folds=3"]

    def start(self, name):
        self.started[name] = MarkedCommand(self.command(name), self.logs / name.replace(" ", "-"), **self.variables)
        return self.started[name]

    def running(self):
        return [name for name, command in self.started.items() if command.process.poll() is None]

    def wait(self, names, limit=300):
        """Wait until these have ended; returns those that failed, with what they said."""
        failed = {}
        for name in names:
            self.started[name].ended(limit)
            if self.started[name].process.returncode:
                failed[name] = self.started[name]
        return failed

    def failed(self, names):
        """Return what those of the started commands that have failed said."""
        ended = [self.started[name] for name in names if name in self.started]
        return ["\n".join(one.said()) or one.log.read_text() for one in ended if one.process.poll() not in (None, 0)]

    def kill(self, pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def finish(self, names=(*WORKING, REPORT)):
        """Give the commands, all at once and the report last, until each has ended well."""
        for name in names:
            if name != REPORT and name not in self.running():
                self.start(name)
        failed = self.wait([name for name in names if name != REPORT])
        assert not failed, {name: command.log.read_text()[-3000:] for name, command in failed.items()}
        if REPORT in names:
            self.start(REPORT)
            failed = self.wait([REPORT])
            assert not failed, failed[REPORT].log.read_text()[-3000:]

    def kill_all(self):
        for command in self.started.values():
            command.kill_all()

    def progress(self, name):
        """How far a command is, by what can be seen of it: grows as it works."""
        if name == PRETRAIN:
            return done(self.out(name)), len(list(self.out(name).glob("checkpoints/.step-*.new")))
        if name == TUNE:
            folds = list(self.out(name).glob("seed-*/fold-*"))
            return sum(map(done, folds)), sum((fold / "fold.json").exists() for fold in folds)
        if name in PROBING:
            kept = len(list(self.cache.glob("*.parts/*"))), len(list(self.cache.glob("*.safetensors")))
            return kept, len(scores(self.out(name)))
        return self.out(name).exists(), len(self.started[name].log.read_text())


def make_cast(shards, folder, encoders, **variables):
    (folder / "logs").mkdir(parents=True)
    (folder / "work").mkdir()
    return Cast(shards, encoders, folder / "work", folder / "logs", variables)


def two_encoders(folder):
    return [tiny_encoder(folder / f"encoder-{seed}", seed) for seed in (0, 1)]


def scores(out):
    """Return the rows of scores, without the hash of the command, which names the folder; in an order of their own."""
    file = out / "scores.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    rows = [{key: value for key, value in row.items() if key != "launch"} for row in rows]
    return sorted(rows, key=lambda row: (row["data_sha256"], row["model"], row["probe"], row["seed"], row["fold"]))


def predictions(out):
    return {file.name: file.read_text() for file in sorted((out / "predictions").glob("*.jsonl"))}


NOTHING_YET = "contains no scores.jsonl, pretraining run or analysis"
"""What a report says truly as long as nothing is done."""


def reports_meanwhile(cast):
    """Write reports as long as the others write what it reads; return those that failed, with what they said."""
    failed = []
    while set(cast.running()) & set(WORKING):
        if REPORT in cast.running():
            time.sleep(0.05)
            continue
        failed += cast.failed([REPORT])
        cast.start(REPORT)
    cast.wait([REPORT])
    return [said for said in failed + cast.failed([REPORT]) if NOTHING_YET not in said]


def drawn_moment(cast, draw, name, done=False):
    """Wait until a running command has come on by a drawn number of steps, or has ended.

    One that was ``done`` before it was started makes no steps: it is caught as it starts.
    """
    for _ in range(0 if done else draw.choice((0, 1, 1, 2, 3))):
        before = cast.progress(name)
        while cast.progress(name) == before and name in cast.running():
            time.sleep(0.002)
    if done or name == REPORT or draw.random() < 0.3:
        time.sleep(draw.uniform(0, 2))


def differences(one, other, report=True):
    """Return in words what two casts have come to differently.

    Args:
        one: what all must come to.
        other: what is compared.
        report: whether to compare the reports too, and to allow nothing that only the second has.
    """
    found = [] if same_run(one.out(PRETRAIN), other.out(PRETRAIN)) else ["the pretraining run"]
    for name in (TUNE, PROBE):
        a, b = one.out(name), other.out(name)
        found += [f"scores of {name}"] if scores(a) != [row for row in scores(b) if report or row in scores(a)] else []
        kept = predictions(b)
        wanted = predictions(a)
        found += [f"predictions {name}" for name in wanted if wanted[name] != kept.get(name)]
    weights = "seed-*/fold-*/encoder/*.safetensors"
    folds = sorted(path.relative_to(one.out(TUNE)) for path in one.out(TUNE).glob(weights))
    found += [f"weights {fold}" for fold in folds if not same_tensors(one.out(TUNE) / fold, other.out(TUNE) / fold)]
    found += [f"{len(folds)} folds"] if len(folds) != 3 else []
    found += embeddings_apart(one, other, only=report)
    return found + (["the report's tables"] if report and tables(one) != tables(other) else [])


def embeddings_apart(one, other, only=True):
    """Return which embeddings two caches hold differently, or only the first of them; or the second, where ``only``."""
    kept = [{path.name for path in cast.cache.glob("*.safetensors")} for cast in (one, other)]
    apart = kept[0] ^ kept[1] if only else kept[0] - kept[1]
    found = [f"embeddings {name} in one cache only" for name in apart]
    for name in kept[0] & kept[1]:
        if not same_tensors(one.cache / name, other.cache / name):
            found.append(f"embeddings {name}")
    return found + [f"{path.name} left in the cache" for path in other.cache.iterdir() if path.suffix != ".safetensors"]


def mixed(cast, *alone):
    """Return in words what a cast has come to that none of these has, each with data of its own."""
    known = [row for one in alone for name in (TUNE, PROBE) for row in scores(one.out(name))]
    found = [f"score {row}" for name in (TUNE, PROBE) for row in scores(cast.out(name)) if row not in known]
    rows = {name: text for one in alone for out in (TUNE, PROBE) for name, text in predictions(one.out(out)).items()}
    for out in (TUNE, PROBE):
        found += [f"predictions {n}" for n, text in predictions(cast.out(out)).items() if rows.get(n) != text]
    kept = {path.name: path for one in alone for path in one.cache.glob("*.safetensors")}
    for path in cast.cache.glob("*.safetensors"):
        found += [] if path.name in kept and same_tensors(kept[path.name], path) else [f"embeddings {path.name}"]
    return found


def tables(cast):
    """Return the rows of the report's tables in an order of their own: theirs is that in which probes ended."""
    lines = (cast.work / "report.md").read_text().replace(str(cast.shards), "SHARDS").splitlines()
    return sorted(_canonical(line) for line in lines)


def _canonical(line):
    """A row of a table; of a comparison, from the side of the first of the two names."""
    cells = [cell.strip() for cell in line.strip("| ").split(" | ")]
    if len(cells) != 7 or "[" not in cells[3] or cells[0] < cells[1]:
        return cells
    low, high = cells[3].strip("\\[]").split(", ")
    better, worse, equal = cells[6].split(", ")
    turned = [_negative(number) for number in (cells[2], high, low)]
    interval = f"\\[{turned[1]}, {turned[2]}\\]"
    return [cells[1], cells[0], turned[0], interval, *cells[4:6], f"{worse}, {better}, {equal}"]


def _negative(number):
    return {"+": "-", "-": "+"}[number[0]] + number[1:] if number.strip("+-.0") else number


def unreadable(cast):
    """Return the files that are not whole: each is read as what its name says."""
    found = []
    for file in sorted(path for path in cast.work.rglob("*") if path.is_file()):
        if any(part.startswith(".") or part.endswith(".parts") for part in file.relative_to(cast.work).parts):
            continue
        try:
            _read(file)
        except Exception as error:
            found.append(f"{file}: {type(error).__name__} {error}")
    return found


def _read(file):
    if file.suffix == ".safetensors":
        load_file(file)
    elif file.suffix == ".json":
        json.loads(file.read_text())
    elif file.suffix == ".jsonl" and file.name != "metrics.jsonl":
        # Of metrics, the last row may be half written: a run that goes on drops it.
        [json.loads(line) for line in file.read_text().splitlines()]
    elif file.suffix == ".html":
        assert file.read_text().rstrip().endswith("</html>")
    elif file.suffix == ".png":
        assert file.read_bytes().endswith(b"IEND\xaeB`\x82")
