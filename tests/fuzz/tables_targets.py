"""Targets that are texts: manifests, ledgers, scores, analyses, records, recipes, tables of metadata, names."""

import hashlib
import json
from pathlib import Path
from typing import Any

from bench import Target
from made_analyses import apart, attention, layers
from made_shards import made_clip
from mutate import Files
from report_inputs import write_map_of, write_run, write_tables
from studied import corpus, model, record, step, write_step
from transcribed import write_transcribed

from nonverbal.data.manifest import Clip, read_manifest, write_manifest
from nonverbal.evaluation.analyses.base import write_analysis
from nonverbal.evaluation.analyses.confusion import Confusions, ConfusionSettings
from nonverbal.evaluation.analyses.decisions import Decisions, DecisionsSettings
from nonverbal.evaluation.studies import write_study
from nonverbal.launches import FILE as ENVIRONMENT
from nonverbal.launches import add_launch, launch_of, read_launches


def clip_of(number: int, **more: Any) -> Clip:
    """Return a clip of a manifest."""
    named = f"made:{number % 3}"
    facts = {"end": 1.5, "label": "ab"[number % 2], "speaker": named, "recording": named, "text": "one two"}
    return made_clip("made", number, **facts | more)


def make_manifest(folder: Path) -> None:
    """Write a manifest whose clips have texts and attributes."""
    write_manifest(folder / "manifest.jsonl", [clip_of(n, attributes={"age": n, "sex": "f"}) for n in range(4)])


def read_rows(folder: Path) -> object:
    """Read a manifest, and what tasks and audits ask of it."""
    from nonverbal.data.manifest import as_row

    clips = list(read_manifest(folder / "manifest.jsonl"))
    return [json.dumps(as_row(clip), ensure_ascii=False).encode() for clip in clips], {clip.recording for clip in clips}


def make_ledger(folder: Path) -> None:
    """Write a ledger of two corpora."""
    from nonverbal.data.preparing.ledger import Entry, summarise, write_ledger

    entries = [Entry("a", "1.wav", "kept", seconds=2.0, split="train", group=0, notes=["downmixed"])]
    entries += [Entry("a", "2.wav", "dropped", "silent", seconds=1.0), Entry("b", "3.txt", "skipped", "not audio")]
    facts: dict[str, Any] = {"reader": "folder", "licence": "CC0-1.0", "expected_hours": None}
    summaries = [summarise(entries, name, expected_clips=(1, 2), **facts) for name in "ab"]
    write_ledger(folder, entries, summaries)


def read_ledger(folder: Path) -> object:
    """Read a ledger, and print what ``nonverbal prepare`` prints of it."""
    from nonverbal.data.preparing.ledger import print_summaries, read_summaries, share_of_voc125

    summaries = read_summaries(folder)
    print_summaries(summaries)
    return share_of_voc125(summaries)


def make_scores(folder: Path) -> None:
    """Write scores of two models, with predictions."""
    write_tables(folder)


def read_results(folder: Path) -> object:
    """Make the tables of scores."""
    from nonverbal.evaluation.results import results
    from nonverbal.tasks.measurements import read_measurements

    return results(read_measurements([folder]))


def make_report(folder: Path) -> None:
    """Write scores with what only a report and tables for people show of them."""
    file = write_tables(folder)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    null = {"p": 0.01, "mean": 0.5, "draws": 99, "exceeding": 0, "what": "labels of speakers"}
    for row in rows:
        row |= {"null": null, "chosen": {"layer": 1, "C": "0.1"}}
        row["details"]["parameters"] = 100
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_report(folder: Path) -> object:
    """Make the tables and sections of scores."""
    from nonverbal.evaluation.results import results
    from nonverbal.evaluation.score_tables import classes_table, probabilities_table, scores_table
    from nonverbal.report.origins import origins
    from nonverbal.report.sections import task_sections
    from nonverbal.tasks.measurements import read_measurements

    measured = read_measurements([folder])
    tables = [kind(task) for task in results(measured) for kind in (scores_table, classes_table, probabilities_table)]
    return tables, task_sections(measured, None), origins(measured)


def make_texts(folder: Path) -> None:
    """Write transcriptions."""
    rows = [
        {"clip": f"c{n}", "text": "one two", "predicted_text": "one", "group": f"s{n}", "fold": "0", "speaker": None}
        for n in range(4)
    ]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_texts(folder: Path) -> object:
    """Read transcriptions."""
    from nonverbal.tasks.transcriptions import read_transcriptions

    return read_transcriptions(folder / "predictions.jsonl")


def make_recognised(folder: Path) -> None:
    """Write scores of two recognisers, with transcriptions."""
    for name in "mn":
        write_transcribed(folder, name)


def read_recognised(folder: Path) -> object:
    """Make the tables and sections of scores of texts."""
    from nonverbal.evaluation.text_results import text_results, text_table
    from nonverbal.report.sections import text_sections
    from nonverbal.tasks.measurements import read_text_measurements

    measured = read_text_measurements([folder / "scores.jsonl"])
    return [text_table(task) for task in text_results(measured)], text_sections(measured)


def make_analyses(folder: Path) -> None:
    """Write an analysis of every kind that needs no encoder to be made, and those of tests."""
    write_map_of(folder / "x.map.json", 6)
    scores = write_tables(folder / "scores")
    decisions = Decisions.make(DecisionsSettings(scores=[scores], out=folder / "x"))
    write_analysis(folder / "x.decisions.json", decisions)
    write_analysis(folder / "x.confusion.json", Confusions.make(ConfusionSettings(scores=[scores], out=folder / "x")))
    for name, made in (("distances", apart()), ("attention", attention()), ("layers", layers())):
        write_analysis(folder / f"x.{name}.json", made)
    for path in sorted((folder / "scores").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (folder / "scores").rmdir()


def read_analyses(folder: Path) -> object:
    """Tell, tabulate and draw each analysis, as a report does."""
    from nonverbal.evaluation.analyses.kinds import kind_of
    from nonverbal.evaluation.analyses.maps import SoundMap
    from nonverbal.report.analyses import analysis_section
    from nonverbal.report.drawing import svg
    from nonverbal.report.maps import map_section

    drawn = []
    for number, path in enumerate(sorted(folder.glob("*.json"))):
        is_map = kind_of(path) is SoundMap
        section: Any = map_section(number, path, []) if is_map else analysis_section(number, path)
        drawn.append([svg(one, alone=True).encode() for one in section.drawings])
    return drawn


def make_run(folder: Path) -> None:
    """Write a pretraining run with the ledger of its data."""
    write_run(folder / "run", folder / "shards", steps=3)


def read_run(folder: Path) -> object:
    """Make a run's section of a report."""
    from nonverbal.report.runs import is_run, run_section

    return run_section(0, folder / "run") if is_run(folder / "run") else None


def bind_run(files: Files) -> Files:
    """Let the run name the index that is there."""
    said = json.loads(files["run/data.json"])
    sha256 = hashlib.sha256(files["shards/index.json"]).hexdigest()
    return {**files, "run/data.json": json.dumps(dict.fromkeys(said, sha256)).encode()}


def make_study(folder: Path) -> None:
    """Write the record of a study with a step that has scores."""
    write_step(folder, "probe.mine.x", "x", 3)
    steps = [step("probe.mine.x", "probe", out="probe.mine.x")]
    write_study(folder, record([corpus("mine")], [model("x")], steps, {}, paper=None))


def read_study(folder: Path) -> object:
    """Read the record, and make its section of a report."""
    from nonverbal.evaluation.studies import FILE
    from nonverbal.evaluation.studies import read_study as read_record
    from nonverbal.report.studies import study_section

    return read_record(folder / FILE), study_section(0, folder / FILE, {})


def make_passport(folder: Path) -> None:
    """Write a folder with a passport."""
    from nonverbal.release.passport import Measured, write_passport

    (folder / "config.json").write_text('{"model_type": "wav2vec2"}')
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n# A model\n")
    measured = Measured({"python": "3.11", "device": "cpu"}, {"batch": 0.0, "gpu": None}, [1.0, 2.0], [[[0.5] * 8] * 2])
    write_passport(folder, "0" * 64, [measured])


def read_passport(folder: Path) -> object:
    """Look at a released folder without loading its model."""
    from nonverbal.release.contents import contents_of
    from nonverbal.release.passport import read_passport as read
    from nonverbal.release.verify import look

    found, passport = contents_of(folder), read(folder)
    return look(found, passport, False, ["Ann"])


def make_environment(folder: Path) -> None:
    """Write the launches of a command."""
    add_launch(folder, launch_of(["nonverbal", "probe"], settings="seed: 1\n", gpu="none", processes=2))


def read_environment(folder: Path) -> object:
    """Read launches, by the program that adds to them and by the report."""
    from nonverbal.launches import launch_key
    from nonverbal.report.origins import read_launches as shown

    return [launch_key(row) for row in read_launches(folder / ENVIRONMENT)], shown(folder)


CSV = 'file_name,label,speaker,age,note\na/1.wav,cry,x,3,"one, two"\na/2.wav,laugh,y,,\n"3.wav",cry,x,5.0,ü\n'


def make_metadata(folder: Path) -> None:
    """Write audiofolders with a table of each kind."""
    for kind in ("csv", "tsv", "jsonl"):
        (folder / kind / "a").mkdir(parents=True)
        for name in ("a/1.wav", "a/2.wav", "3.wav"):
            (folder / kind / name).write_bytes(b"RIFF")
    (folder / "csv/metadata.csv").write_text(CSV)
    (folder / "tsv/metadata.tsv").write_text('file_name\tlabel\tsplit\na/1.wav\tcry\ttrain\n3.wav\t"x"\ttest\n')
    rows = [{"file_name": "a/1.wav", "label": "cry", "age": 3}, {"file_name": "3.wav", "label": None, "speaker_id": 7}]
    (folder / "jsonl/metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_metadata(folder: Path) -> object:
    """Say of every file what it is."""
    return [rows_of(folder / kind, "audiofolder") for kind in ("csv", "tsv", "jsonl") if (folder / kind).is_dir()]


def rows_of(folder: Path, reader: str) -> list[bytes]:
    """Return what a reader says of a folder's files, as ``nonverbal prepare`` writes it."""
    from nonverbal.data.corpora import choose_reader, read
    from nonverbal.data.corpora.base import Found

    said: list[str] = []
    found = list(read("made", folder, choose_reader("made", folder, reader), None, said.append))
    rows = [file.as_row() if isinstance(file, Found) else vars(file) for file in found]
    return [json.dumps(row).encode() for row in rows] + [one.encode() for one in said]


def make_folds(folder: Path) -> None:
    """Write lists of folds of each kind."""
    (folder / "folds.csv").write_text("path,fold,speaker\na.wav,1,x\nb.wav,2,y\n")
    (folder / "sides").mkdir()
    (folder / "sides/train.jsonl").write_text('{"path": "a.wav", "speaker": "x"}\n{"path": "c.wav", "speaker": "y"}\n')
    (folder / "sides/test.jsonl").write_text('{"path": "b.wav", "speaker": "z"}\n')
    (folder / "emobox.json").write_text('{"a": {"wav": "a.wav", "fold": 1}, "b": {"wav": "b.wav", "fold": 2}}')


def read_folds(folder: Path) -> object:
    """Read each list."""
    from nonverbal.data.audit.fold_lists import read_lists

    return [read_lists(path) for path in sorted(folder.iterdir())]


TARGETS = [
    Target("manifest", make_manifest, read_rows),
    Target("ledger", make_ledger, read_ledger),
    Target("scores", make_scores, read_results),
    Target("score-report", make_report, read_report, smoke=30),
    Target("transcriptions", make_texts, read_texts),
    Target("text-report", make_recognised, read_recognised, smoke=30),
    Target("analyses", make_analyses, read_analyses),
    Target("run", make_run, read_run, bind=bind_run),
    Target("study", make_study, read_study),
    Target("passport", make_passport, read_passport),
    Target("environment", make_environment, read_environment),
    Target("metadata", make_metadata, read_metadata),
    Target("fold-lists", make_folds, read_folds),
]
