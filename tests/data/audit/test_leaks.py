import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluate.audit import AuditConfig, main
from nonverbal import cli, config
from nonverbal.data.audit.leaks import audit
from nonverbal.data.index import open_shards
from nonverbal.data.manifest import read_manifest
from nonverbal.data.preparing.prepare import prepare
from nonverbal.data.preparing.settings import PrepareConfig, Source
from nonverbal.errors import UserError

KINDS = ["samples", "recording", "speaker", "sound"]
SHARED = Path("/work/shared/data")
PATTERN = r"(?P<speaker>s\d+)_"


def sound(number, seconds=2.0):
    """Noise whose loudness and colour wander, ``(T,)`` at 16 kHz: each number another."""
    random = np.random.default_rng(number)
    time = np.arange(round(seconds * 16_000)) / 16_000
    carrier = np.sin(2 * np.pi * np.cumsum(np.interp(time, np.arange(9) / 4, random.uniform(300, 1500, 9))) / 16_000)
    return 0.3 * carrier * random.uniform(0.3, 1, len(time)) + 0.1 * random.standard_normal(len(time))


def write(path, samples, rate=16_000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.clip(samples, -1, 1), rate, subtype="PCM_16")


def shards(folder, out, name="x", pattern=None, **changes):
    source = Source(folder, "folder", pattern)
    settings = {"processes": 1, "validation_share": 0.3, "max_seconds": 2.0, **changes}
    return prepare(PrepareConfig(out=out, corpora={name: source}, **settings), lambda line: None)


@pytest.fixture(scope="module")
def pretraining(tmp_path_factory):
    """Eight clips: two that ``evaluation`` holds otherwise, one with the same samples, one of the same speaker."""
    folder = tmp_path_factory.mktemp("pretraining")
    for number in range(8):
        write(folder / f"s{number}_a.wav", sound(number))
    return folder


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    write(folder / "s10_gain.wav", 0.2 * sound(0))
    write(folder / "s11_cut.wav", sound(1)[8000:26_000])
    write(folder / "s12_same.wav", sound(2))
    write(folder / "s3_other.wav", sound(103))
    write(folder / "s14_long.wav", np.concatenate([sound(104), sound(105), sound(4)]))
    write(folder / "s15_new.wav", sound(106))
    return folder


@pytest.fixture(scope="module")
def both(pretraining, evaluation, tmp_path_factory):
    out = tmp_path_factory.mktemp("shards")
    return shards(pretraining, out / "a", pattern=PATTERN), shards(evaluation, out / "b", pattern=PATTERN)


@pytest.fixture(scope="module")
def within(tmp_path_factory):
    """Twelve clips that share nothing by name, of which each even one overlaps the next."""
    folder = tmp_path_factory.mktemp("cut")
    for number in range(12):
        whole = sound(number // 2, 3)
        write(folder / f"{number}.wav", whole[:32_000] if number % 2 == 0 else whole[12_000:])
    return shards(folder, tmp_path_factory.mktemp("within") / "shards")


@pytest.fixture
def run(capsys, monkeypatch):
    """Return ``run(arguments)``: exit code, standard output and standard error of ``nonverbal audit``."""

    def call(*arguments):
        arguments = [*map(str, arguments), "--processes", "1"]
        monkeypatch.setattr(sys, "argv", ["audit", *arguments])
        code = 0
        try:
            cli.run(main)
        except SystemExit as end:
            code = end.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err.splitlines()[-1] if code else ""

    return call


def named(result, kind):
    return {
        (Path(result.a.clips[pair.a].path).stem, Path(result.other.clips[pair.b].path).stem)
        for pair in result.pairs
        if kind in pair.kinds
    }


def test_what_two_folders_share(both):
    result = audit(*both, KINDS, processes=1)
    assert named(result, "samples") == {("s2_a", "s12_same")}
    copies = {("s0_a", "s10_gain"), ("s1_a", "s11_cut"), ("s2_a", "s12_same"), ("s4_a", "s14_long")}
    assert named(result, "sound") == copies
    assert [(shared.kind, shared.name) for shared in result.shared] == [("speaker", "x:s3")]
    assert result.leaks() == {"samples": 1, "speaker": 1, "sound": 4}
    assert {key: (count.pairs, len(count.a), len(count.b)) for key, count in result.counts().items()} == {
        ("samples", "x", "x"): (1, 1, 1),
        ("speaker", "x", "x"): (1, 1, 1),
        ("sound", "x", "x"): (4, 4, 4),
    }
    at = {result.a.clips[pair.a].path: pair for pair in result.pairs}
    assert at["s1_a.wav"].offset == pytest.approx(0.5, abs=0.03)
    assert at["s1_a.wav"].overlap == pytest.approx(1.125, abs=0.03)
    # In the second and third of three parts: a clip is heard as a whole.
    assert at["s4_a.wav"].offset == pytest.approx(-4, abs=0.03)
    assert at["s4_a.wav"].overlap == pytest.approx(2, abs=0.03)


def test_only_the_chosen_kinds_are_looked_for(both, monkeypatch):
    assert audit(*both, ["speaker"], processes=1).leaks() == {"speaker": 1}
    monkeypatch.setattr("nonverbal.data.audit.leaks.fingerprint_folder", lambda *_: pytest.fail("sound was read"))
    result = audit(*both, ["samples"], processes=1)
    assert result.leaks() == {"samples": 1}
    assert result.as_dict()["sound"] is None


def test_several_processes_find_the_same(both):
    one, two = (audit(*both, ["sound"], processes) for processes in (1, 2))
    assert one.pairs == two.pairs


def test_what_straddles_is_told_from_what_stays_together(within):
    result = audit(within, None, KINDS, processes=1)
    assert named(result, "sound") == {(str(2 * i), str(2 * i + 1)) for i in range(6)} or {
        frozenset(pair) for pair in named(result, "sound")
    } == {frozenset((str(2 * i), str(2 * i + 1))) for i in range(6)}
    (count,) = result.counts().values()
    sides = {clip.path: split for clip, split in zip(result.a.clips, result.a.splits, strict=True)}
    straddling = sum(sides[f"{2 * i}.wav"] != sides[f"{2 * i + 1}.wav"] for i in range(6))
    assert (count.pairs, count.apart, count.straddling) == (6, 6, straddling)
    assert straddling > 0
    assert result.leaks() == {"sound": straddling}
    assert [result.straddles(pair.a, pair.b) for pair in result.pairs] == [True] * straddling + [False] * (
        6 - straddling
    )


def test_one_group_is_no_leak(pretraining, tmp_path):
    folder = tmp_path / "named"
    for number in range(6):
        write(folder / f"r{number // 2}_{number}.wav", sound(number // 2, 3)[: 48_000 - 8000 * (number % 2)])
    result = audit(shards(folder, tmp_path / "out", pattern=r"(?P<recording>r\d)_"), None, KINDS, processes=1)
    rows = [(key[0], count.pairs, count.apart, count.straddling) for key, count in result.counts().items()]
    assert rows == [("recording", 3, 0, 0), ("sound", 3, 0, 0)]
    assert result.leaks() == {}
    assert all(pair.kinds == ["recording", "sound"] for pair in result.pairs)


def test_json_holds_every_pair_and_names_the_content(both, run, tmp_path):
    a, b = both
    code, out, _ = run(a.folder, b.folder, "--json", tmp_path / "audit.json")
    assert code == 0
    assert f"LEAK: pairs between {a.folder} and {b.folder}: 1 by samples, 1 by speaker, 4 by sound" in out
    assert "5 of 8 clips" in out
    found = json.loads((tmp_path / "audit.json").read_text())
    assert (found["a"]["sha256"], found["b"]["sha256"]) == (a.sha256, b.sha256)
    assert (found["a"]["clips"], found["a"]["clips_concerned"]) == (8, 5)
    assert found["settings"] == {"kinds": KINDS}
    assert found["sound"]["thresholds"]["highest_rate"] == 0.35
    assert found["sound"]["comparisons"]["left_out"] == 0
    assert found["leaks"] == {"samples": 1, "speaker": 1, "sound": 4}
    assert found["names"] == [{"kind": "speaker", "name": "x:s3", "a": ["x/s3_a.wav"], "b": ["x/s3_other.wav"]}]
    (same,) = [pair for pair in found["pairs"] if "samples" in pair["kinds"]]
    assert same == {
        "a": "x/s2_a.wav",
        "b": "x/s12_same.wav",
        "kinds": ["samples", "sound"],
        "offset_seconds": 0.0,
        "overlap_seconds": pytest.approx(2, abs=0.03),
        "bit_error_rate": 0.0,
    }


def test_json_within_a_folder_says_where_the_clips_are(within, run, tmp_path):
    code, out, _ = run(within.folder, "--json", tmp_path / "audit.json")
    assert code == 0
    assert "LEAK: pairs that straddle train and validation" in out
    found = json.loads((tmp_path / "audit.json").read_text())
    assert found["b"] is None
    assert {(pair["same_group"], tuple(sorted(set(pair["splits"])))) for pair in found["pairs"]} >= {
        (False, ("train", "validation"))
    }


def test_a_corpus_prepared_without_what_is_shared_has_no_leak(both, pretraining, run, tmp_path):
    a, b = both
    code, out, _ = run(a.folder, b.folder, "--exclude", tmp_path / "shared.jsonl")
    assert code == 0
    assert "shared.jsonl: 10 clips" in out
    assert {clip.path for clip in read_manifest(tmp_path / "shared.jsonl")} >= {"s0_a.wav", "s10_gain.wav"}
    again = shards(pretraining, tmp_path / "again", pattern=PATTERN, exclude=[tmp_path / "shared.jsonl"])
    assert sorted(clip.path for clip in again.clips()) == ["s5_a.wav", "s6_a.wav", "s7_a.wav"]
    assert audit(again, b, KINDS, processes=1).leaks() == {}


def test_strict_ends_with_two_where_there_is_a_leak(both, within, run, tmp_path):
    a, b = both
    code, _, error = run(a.folder, b.folder, "--strict", "--kinds", "samples", "--json", tmp_path / "audit.json")
    assert code == 2
    assert error == f"nonverbal: --strict: LEAK: pairs between {a.folder} and {b.folder}: 1 by samples"
    assert json.loads((tmp_path / "audit.json").read_text())["leaks"] == {"samples": 1}
    assert run(within.folder, "--strict")[0] == 2
    assert run(within.folder, "--strict", "--kinds", "samples,recording")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["{tmp}/none"], "is not a folder of shards"),
        (["{a}", "{tmp}"], "is not a folder of shards"),
        ([], "there is nothing to audit"),
        (["{a}", "{a}"], "hold the same clips; to audit one folder: nonverbal audit"),
        (["{a}", "{b}", "{b}"], "unexpected argument"),
        (["{a}", "--kind", "sound"], "unknown key 'kind' on the command line; did you mean 'kinds'?"),
        (["{a}", "--kinds", "smell"], "--kinds must be among samples, recording, speaker, sound, but has 'smell'"),
        (["{a}", "--exclude", "x.jsonl"], "--exclude needs two folders"),
        (["{a}", "--json", "{tmp}/none/x.json"], "--json: there is no folder"),
        (["{a}", "--shown", "-1"], "--shown must be at least 0, but is -1"),
    ],
)
def test_what_makes_no_sense_is_one_line(both, run, tmp_path, arguments, line):
    places = {"tmp": tmp_path, "a": both[0].folder, "b": both[1].folder}
    code, out, error = run(*(argument.format(**places) for argument in arguments))
    assert (code, out) == (2, "")
    assert error.startswith("nonverbal: ")
    assert line in error


def test_a_manifest_of_other_clips_is_refused(both, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in both[0].folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes() if path.is_file() else b"")
    lines = (folder / "manifest.jsonl").read_text().splitlines(keepends=True)
    (folder / "manifest.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(UserError, match=r"manifest.jsonl has 7 clips, fewer than table.npy beside it names"):
        audit(open_shards(folder), None, ["samples"], processes=1)


def test_a_folder_without_clips_is_refused(make_shards):
    with pytest.raises(UserError, match="shards holds no clips"):
        audit(make_shards([]), None, KINDS, processes=1)


def test_a_damaged_shard_is_one_line_from_several_processes_too(both, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in both[0].folder.glob("*.*"):
        (folder / path.name).write_bytes(path.read_bytes())
    shard = max(folder.glob("train-*.tar"))
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(UserError, match="cannot be decoded .* --verify"):
        audit(open_shards(folder), None, ["sound"], processes=2)


def test_help_names_every_setting(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    help_ = capsys.readouterr().out
    settings = config.to_dict(AuditConfig(a=Path("x")))
    assert all(f"--{name}" in help_ for name in settings)


@pytest.mark.skipif(not (SHARED / "donateacry-corpus").is_dir(), reason="the real clips are not here")
def test_the_originals_of_real_clips_are_found(tmp_path):
    source = {"processes": 2, "validation_share": 0.0}
    folder = SHARED / "donateacry-corpus"
    uploads = prepare(PrepareConfig(tmp_path / "b", {"donateacry-uploads": Source(folder)}, **source), lambda _: None)
    cleaned = folder / "donateacry_corpus_cleaned_and_updated_data"
    tired = prepare(
        PrepareConfig(tmp_path / "a", {"cries": Source(cleaned / "belly_pain", "folder")}, **source), lambda _: None
    )
    result = audit(tired, uploads, ["sound"], processes=2)
    stems = [
        (Path(result.a.clips[pair.a].path).stem.lower(), Path(result.other.clips[pair.b].path).name.lower())
        for pair in result.pairs
    ]
    assert stems
    assert all(b.startswith(a.rsplit("-", 4)[0]) for a, b in stems)
