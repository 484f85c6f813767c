"""``nonverbal embed``: of shards and of any folder of sound, kept where probes look, and as tables."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file
from tiny_encoders import save_tiny

from evaluate.embed import main
from nonverbal.data.index import ShardFolder, open_shards
from nonverbal.errors import UserError
from nonverbal.evaluation.embeddings import embed
from nonverbal.evaluation.encoders import load_frame_encoder

Make = Callable[..., ShardFolder]


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.fixture
def shards(labelled_shards: Make) -> ShardFolder:
    """Three clips, one in two parts, one without label and speaker."""
    return labelled_shards(
        [
            ("laugh", "s1", "r1", [noise(5000, 1)]),
            (None, None, "r2", [noise(9000, 2)]),
            ("cry", "s2", "r3", [noise(6000, 3), noise(4000, 4)]),
        ]
    )


def test_a_probe_finds_what_was_kept(
    shards: ShardFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = save_tiny("wav2vec2 base", tmp_path / "encoder"), tmp_path / "kept"
    main([f"--data={shards.folder}", f"--encoders=logmel,{folder}", f"--out={out}"])
    files = sorted(out.glob("*.safetensors"))
    assert len(files) == 2
    said = capsys.readouterr().out
    for file in files:
        assert f"embeddings: {file} (3 x " in said
        rows = [json.loads(line) for line in file.with_suffix(".jsonl").read_text().splitlines()]
        manifest = shards.clips()
        assert [row["id"] for row in rows] == [clip.id for clip in manifest]
        assert [(row["label"], row["speaker"]) for row in rows] == [(clip.label, clip.speaker) for clip in manifest]
    encoder = load_frame_encoder(str(folder))
    monkeypatch.setattr(encoder, "frames", lambda _: pytest.fail("computed again"))
    assert embed(encoder, shards, np.array([2, 0]), out).shape == (2, 3, 32)


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_tables_hold_embeddings_beside_ids_and_labels(kind: str, shards: ShardFolder, tmp_path: Path) -> None:
    out = tmp_path / "kept"
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    main([f"--data={shards.folder}", "--encoders=logmel", f"--out={out}", f"--to={kind}"])
    (kept,) = out.glob("*.safetensors")
    pooled, manifest = load_file(kept)["pooled"], shards.clips()
    labels = [clip.label for clip in manifest]
    if kind == "npz":
        with np.load(kept.with_suffix(".npz"), allow_pickle=False) as table:
            np.testing.assert_array_equal(table["pooled"], pooled)
            assert table["label"].tolist() == [label or "" for label in labels]
            assert table["id"].tolist() == [clip.id for clip in manifest]
    else:
        import pyarrow.parquet as pq

        columns = pq.read_table(kept.with_suffix(".parquet")).to_pydict()
        np.testing.assert_array_equal(np.array(columns["layer_0"], dtype=np.float32), pooled[:, 0])
        assert columns["label"] == labels
        assert columns["id"] == [clip.id for clip in manifest]


def test_any_folder_of_sound_may_be_given(tmp_path: Path) -> None:
    for number, label in enumerate(("laugh", "laugh", "cry")):
        (tmp_path / "My Sounds" / label).mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "My Sounds" / label / f"{number}.wav", noise(8000, number), 8000)
    out = tmp_path / "kept"
    for _ in range(2):
        main([f"--data={tmp_path / 'My Sounds'}", "--encoders=logmel", f"--out={out}", "--frames=true"])
    shards = open_shards(out / "shards" / "my-sounds")
    (kept,) = out.glob("*.safetensors")
    rows = [json.loads(line) for line in kept.with_suffix(".jsonl").read_text().splitlines()]
    assert sorted(row["label"] for row in rows) == ["cry", "laugh", "laugh"]
    assert {row["split"] for row in rows} <= {None, "train"}
    assert len(list(out.glob("*.frames/index.json"))) == 1
    assert shards.sha256


def test_what_is_not_there_is_named(shards: ShardFolder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no folder .*nothing; give a folder of shards or of sound"):
        main([f"--data={tmp_path / 'nothing'}", "--encoders=logmel"])
    with pytest.raises(UserError, match="rate is taken from the manifest"):
        main([f"--data={shards.folder}", "--encoders=rate", f"--out={tmp_path / 'kept'}"])
    with pytest.raises(UserError, match="--processes must be at least 0, but is -1"):
        main([f"--data={shards.folder}", "--encoders=logmel", "--processes=-1"])


def test_parquet_without_pyarrow_is_refused_before_anything_is_computed(
    shards: ShardFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(UserError, match=r"parquet needs pyarrow: pip install 'nonverbal\[datasets\]'"):
        main([f"--data={shards.folder}", "--encoders=logmel", f"--out={tmp_path / 'kept'}", "--to=parquet"])
    assert not (tmp_path / "kept").exists()
