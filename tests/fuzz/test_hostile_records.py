"""What fuzzing found in files of records, a test for each kind: other types, names too long, aliases without end."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_analyses import apart, layers
from made_shards import noise
from recipes_targets import loaded
from report_inputs import write_tables
from safetensors.numpy import load_file, save_file
from shards_targets import make_embeddings, make_log_mel, read_embeddings, read_zip
from tables_targets import make_ledger, make_report, make_run, read_analyses, read_report, read_run
from weights_targets import (
    make_checkpoint,
    make_folder,
    make_ssam,
    read_checkpoint,
    read_encoder,
    read_file,
    read_folder,
)

from nonverbal.data.index import open_shards
from nonverbal.data.log_mel import FACTS, TABLE, open_log_mel
from nonverbal.data.preparing.ledger import read_summaries
from nonverbal.data.reading.audio import encode
from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.base import write_analysis
from nonverbal.files import sha256_of
from nonverbal.models.checkpoints.weight_files import hold
from nonverbal.recipes import read_recipe, yaml_of
from nonverbal.tasks.measurements import read_measurements

LAUGHS = "a0: &a0 {x: 1, y: 2}\n" + "".join(f"a{n}: &a{n} {{x: *a{n - 1}, y: *a{n - 1}}}\n" for n in range(1, 31))
"""A few lines that stand for thousands of millions of values."""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda ledger: [], "holds list"),
        (lambda ledger: {"a": 3}, "the content of a must be"),
        (lambda ledger: {"a": ledger["a"] | {"clips": "3"}}, "clips must be a whole number, but is '3' of a"),
        (lambda ledger: {"a": ledger["a"] | {"dropped": {"silent": None}}}, "dropped"),
        (lambda ledger: {"a": ledger["a"] | {"expected_clips": [1]}}, "expected_clips has 1 numbers"),
        (lambda ledger: {"a": {"clips": 3}}, "corpus is missing of a"),
    ],
)
def test_a_ledger_of_other_kinds_is_refused_by_name(tmp_path: Path, change: Callable[[Any], Any], said: str) -> None:
    make_ledger(tmp_path)
    before = read_summaries(tmp_path)
    assert before[0].expected_clips == (1, 2)
    path = tmp_path / "ledger.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(UserError, match=f"ledger.json is not a ledger .*{said}"):
        read_summaries(tmp_path)


def test_yaml_whose_aliases_stand_for_too_much_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"its aliases \(\*\) expand to .*e\+\d+ values, but at most 100000 are read"):
        yaml_of(LAUGHS)
    (tmp_path / "a.yaml").write_text(LAUGHS)
    with pytest.raises(UserError, match="expand to"):
        read_recipe(str(tmp_path / "a.yaml"))


def test_yaml_with_a_few_aliases_is_what_it_stands_for() -> None:
    assert yaml_of("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\n") == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}
    assert yaml_of("") is None
    assert yaml_of("3") == 3


@pytest.mark.parametrize(
    "text", ["&a [*a]", "[" * 5000, "a: !!python/name:os.system", "a: !!timestamp 9999-99-99", "\t"]
)
def test_yaml_that_cannot_be_held_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not valid YAML"):
        yaml_of(text)


@pytest.mark.parametrize("text", [LAUGHS, "&a [*a]", "a: !!timestamp 9999-99-99", f"[{', '.join(['x'] * 50)}]"])
def test_a_run_with_another_recipe_is_refused(tmp_path: Path, text: str) -> None:
    make_run(tmp_path)
    (tmp_path / "run/recipe.yaml").write_text(text)
    with pytest.raises(UserError, match=r"recipe.yaml (cannot be read|contains list)"):
        read_run(tmp_path)


def test_data_of_a_name_too_long_is_data_that_is_not_there(tmp_path: Path) -> None:
    make_run(tmp_path)
    (tmp_path / "run/data.json").write_text(json.dumps({"x" * 5000: "0"}))
    section: Any = read_run(tmp_path)
    assert section.ledgers == []
    assert len(section.missing) == 1


def test_a_member_of_a_name_too_long_is_decoded(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "made.zip", "w") as archive:
        archive.writestr(f"{'x' * 5000}.flac", encode(noise(1)))
    (samples,) = read_zip(tmp_path)  # type: ignore[misc]
    assert np.array_equal(samples, noise(1))


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "../a", 3])
def test_parts_of_strange_names_are_refused(tmp_path: Path, name: object) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(UserError, match=r"index.json (names files|is not an index)"):
        hold(path, lambda _: [])


@pytest.mark.parametrize(
    "change",
    [
        lambda held: held | {"pooled": held["pooled"][:, 0]},
        lambda held: held | {"pooled": held["pooled"].astype(np.int32)},
        lambda held: held | {"clips": held["clips"].astype(np.float32)},
        lambda held: held | {"clips": held["clips"][None]},
        lambda held: {"clips": held["clips"]},
    ],
)
def test_kept_embeddings_of_another_kind_are_refused(tmp_path: Path, change: Callable[[Any], Any]) -> None:
    make_embeddings(tmp_path)
    (path,) = (tmp_path / "cache").glob("*.safetensors")
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    save_file(change(load_file(path)), path, metadata)
    with pytest.raises(UserError, match=r"the cached embeddings .* (are not numbers|cannot be read)"):
        read_embeddings(tmp_path)


def test_kept_embeddings_that_say_nothing_of_themselves_are_refused(tmp_path: Path) -> None:
    make_embeddings(tmp_path)
    (path,) = (tmp_path / "cache").glob("*.safetensors")
    save_file(load_file(path), path)
    with pytest.raises(UserError, match="belong to other clips or another encoder"):
        read_embeddings(tmp_path)


@pytest.mark.parametrize("clips", [[float("inf")], [None], 3, [[0]], ["x"]])
def test_frames_of_clips_that_are_no_numbers_are_refused(tmp_path: Path, clips: object) -> None:
    make_embeddings(tmp_path)
    (path,) = (tmp_path / "cache").glob("*.frames/index.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files": {"0.safetensors": clips}}))
    with pytest.raises(UserError, match=r"index.json cannot be read"):
        read_embeddings(tmp_path)


def test_frames_outside_their_folder_are_refused(tmp_path: Path) -> None:
    make_embeddings(tmp_path)
    (path,) = (tmp_path / "cache").glob("*.frames/index.json")
    index = json.loads(path.read_text())
    path.write_text(json.dumps(index | {"files": {"../0.safetensors": [0]}}))
    with pytest.raises(UserError, match="is outside its folder"):
        read_embeddings(tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_a_log_mel_table_without_meaning_is_refused(tmp_path: Path, value: float) -> None:
    make_log_mel(tmp_path)
    table = np.load(tmp_path / TABLE)
    table[2, 1] = value
    np.save(tmp_path / TABLE, table)
    facts = json.loads((tmp_path / FACTS).read_text())
    (tmp_path / FACTS).write_text(json.dumps(facts | {"files": {TABLE: sha256_of(tmp_path / TABLE)}}))
    with pytest.raises(UserError, match="does not belong"):
        open_log_mel(open_shards(tmp_path))


@pytest.mark.parametrize(("name", "value"), [("speaker", ["a"]), ("recording", 3), ("speaker", {})])
def test_predictions_whose_speaker_is_no_text_are_refused(tmp_path: Path, name: str, value: object) -> None:
    file = write_tables(tmp_path)
    path = next((tmp_path / "predictions").iterdir())
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[2][name] = value
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match="line 3: not a prediction: .* must be texts, and speaker and .* null"):
        read_measurements([file])


def test_whole_numbers_beyond_those_of_numpy_are_drawn(tmp_path: Path) -> None:
    make_report(tmp_path)
    file = tmp_path / "scores.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["inner_uar"][2] = 10**30
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_report(tmp_path)


@pytest.mark.parametrize("name", ["uar", "accuracy", "f1"])
def test_scores_without_a_metric_are_refused(tmp_path: Path, name: str) -> None:
    file = write_tables(tmp_path)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    del rows[1]["metrics"][name]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(UserError, match=f"the score of fold 1 has no {name}"):
        read_measurements([file])


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("wavlm base", {"num_hidden_layers": 2**31}, "num_hidden_layers: 2147483648, more than any model has"),
        ("whisper", {"decoder_layers": 501}, "decoder_layers: 501, more than any model has"),
        ("whisper", {"pad_token_id": 2**31}, "cannot load the checkpoint"),
        ("audio_mamba", {"hidden_size": 2**20}, "weights of another shape"),
        ("audio_mamba", {"hidden_size": 10**200}, "no model can be built from the configuration"),
    ],
)
def test_a_configuration_of_a_model_that_cannot_be_built_is_refused(
    tmp_path: Path, kind: str, change: dict[str, int], said: str
) -> None:
    make_folder(kind)(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=said):
        read_encoder(tmp_path)


@pytest.mark.parametrize("dtype", [["float32"], {"a": 1}, "a.b.c", "", 3])
def test_a_configuration_whose_dtype_is_no_name_is_read_or_refused(tmp_path: Path, dtype: object) -> None:
    make_folder("hubert base")(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dtype": dtype}))
    refused = ""
    try:
        assert read_folder(tmp_path) is not None
    except UserError as error:
        refused = str(error)
    assert not refused or str(tmp_path) in refused


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_a_checkpoint_that_neither_lists_nor_has_a_file_is_refused(tmp_path: Path, name: str) -> None:
    make_checkpoint(tmp_path)
    path = tmp_path / "step-00000003/state.json"
    state = json.loads(path.read_text())
    del state["sha256"][name]
    path.write_text(json.dumps(state))
    (path.parent / name).unlink()
    with pytest.raises(UserError, match="the checkpoint .*step-00000003 cannot be read"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(("at", "value"), [(6, 99), (8, 1), (10, 77)])
def test_a_checkpoint_in_a_zip_of_another_kind_is_refused(tmp_path: Path, at: int, value: int) -> None:
    """The version that is needed, the bit of a locked member, and the number of a packing, in the list of members."""
    make_ssam(tmp_path)
    data = bytearray((tmp_path / "a.pt").read_bytes())
    place = data.index(b"PK\x01\x02")
    data[place + at] = value
    (tmp_path / "a.pt").write_bytes(data)
    with pytest.raises(UserError, match=r"a.pt cannot be read"):
        read_file(tmp_path)


@pytest.mark.parametrize("packing", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_checkpoint_whose_packed_member_is_damaged_is_refused(tmp_path: Path, packing: int) -> None:
    make_ssam(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.pt") as given:
        members = {name: given.read(name) for name in given.namelist()}
    with zipfile.ZipFile(tmp_path / "a.pt", "w", packing) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
        (info,) = (info for info in packed.infolist() if info.filename.endswith("data.pkl"))
    data = bytearray((tmp_path / "a.pt").read_bytes())
    middle = info.header_offset + 30 + len(info.filename) + info.compress_size // 2
    data[middle : middle + 20] = b"\xff" * 20
    (tmp_path / "a.pt").write_bytes(data)
    with pytest.raises(UserError, match=r"a.pt cannot be read"):
        read_file(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('out: "\\ud800"\n', "recipe.yaml is not valid YAML: .*surrogates not allowed"),
        ('"\\udfff": x\n', "recipe.yaml is not valid YAML: .*surrogates not allowed"),
        (f"validation_share: {10**400}\n", "validation_share must be a finite number, but is 1000"),
    ],
)
def test_a_recipe_that_cannot_be_written_or_computed_with_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(UserError, match=said):
        loaded([str(tmp_path / "recipe.yaml"), "--out", "x"])


def test_batches_beyond_floating_point_are_left_out_of_a_report(tmp_path: Path) -> None:
    make_run(tmp_path)
    path = tmp_path / "run/recipe.yaml"
    before: Any = read_run(tmp_path)
    recipe = json.loads(path.read_text())
    recipe["batches"]["batch_seconds"] = 10**400
    path.write_text(json.dumps(recipe))
    section: Any = read_run(tmp_path)
    assert {name for name, _ in before.facts} - {name for name, _ in section.facts} == {
        "audio in training",
        "time in training",
    }


def test_a_row_of_metrics_without_a_step_is_refused(tmp_path: Path) -> None:
    make_run(tmp_path)
    with open(tmp_path / "run/metrics.jsonl", "a") as file:
        file.write('{"kind": "train", "step": NaN}\n')
    with pytest.raises(UserError, match="not a row of metrics"):
        read_run(tmp_path)


@pytest.mark.parametrize(("name", "value"), [("shares", 1e308), ("shares", -0.1), ("agreement", 1.1)])
def test_shares_out_of_range_are_refused(tmp_path: Path, name: str, value: float) -> None:
    write_analysis(tmp_path / "x.distances.json", apart())
    content = json.loads((tmp_path / "x.distances.json").read_text())
    content["others"][0][name][1] = value
    (tmp_path / "x.distances.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"a share is not in \[0, 1\]"):
        read_analyses(tmp_path)


def test_weights_of_a_layer_that_no_encoder_has_are_refused(tmp_path: Path) -> None:
    write_analysis(tmp_path / "x.layers.json", layers())
    content = json.loads((tmp_path / "x.layers.json").read_text())
    assert content["weights"][0]["first_layer"] == 1
    content["weights"][0]["first_layer"] = 2**31
    (tmp_path / "x.layers.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="weights are of no layer"):
        read_analyses(tmp_path)
