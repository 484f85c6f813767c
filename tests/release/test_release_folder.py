"""The folder of a release: which files, which bytes, and when there is none."""

import json
import os
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from made_models import CLIPS, measured_here, relabel, settings, write_finetuning, write_pretraining
from made_shards import relisted
from safetensors.torch import load_file, save_file
from tiny_encoders import save_tiny

from evaluate.release import main
from nonverbal.errors import UserError
from nonverbal.release import folder as releases
from nonverbal.release.folder import check_terms, write_release
from nonverbal.release.passport import read_passport

BARE = {"README.md", "config.json", "model.safetensors", "passport.json", "preprocessor_config.json"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    measured_here(monkeypatch)


@pytest.fixture
def shards(make_shards):
    return make_shards(CLIPS)


def release(source, out, **given):
    """Release a model, and return what lies in the folder, name to bytes."""
    asked = settings(source, out, **given)
    write_release(*check_terms(asked), asked, "nonverbal release x")
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.mark.parametrize("kind", ["wav2vec2 base", "wav2vec2 large", "hubert base", "audio_mamba"])
def test_a_pretrained_encoder_is_released_with_nothing_else(kind, shards, tmp_path):
    run = write_pretraining(tmp_path / "run", [shards], kind)
    (run / "encoder" / "optimizer.pt").write_bytes(b"x")
    (run / "encoder" / "notes.txt").write_text(f"of {tmp_path}")
    (run / "encoder" / "other.py").write_text("import os\n")
    files = release(run, tmp_path / "out")
    code = {name for name in files if name.endswith(".py")}
    assert files.keys() - code == BARE
    # The code that config.json names, and what that imports beside it.
    assert bool(code) == (kind == "audio_mamba")
    assert ("audio_mamba.py" in code) == ("selective_scan.py" in code) == bool(code)
    assert files["model.safetensors"] == (run / "encoder" / "model.safetensors").read_bytes()
    assert nowhere(tmp_path, files)
    assert read_passport(tmp_path / "out").data_sha256 == shards.sha256


def nowhere(place: Path, files: dict[str, bytes]) -> bool:
    """Whether no file names the place where it was made."""
    return not any(part.encode() in content for content in files.values() for part in (str(place), place.name))


def test_the_same_command_again_writes_the_same_bytes(shards, tmp_path):
    run = write_pretraining(tmp_path / "run", [shards])
    once = release(run, tmp_path / "out")
    (tmp_path / "out" / "extra.txt").write_text("x")
    assert release(run, tmp_path / "out") == once
    assert release(run / "encoder", tmp_path / "other") == once


def test_a_final_model_is_released_with_what_prediction_needs(shards, make_shards, tmp_path):
    before = write_pretraining(tmp_path / "before", [shards])
    labelled = make_shards([("c", 1.0, "train")] * 12, "labelled")
    path = labelled.folder / "manifest.jsonl"
    rows = [json.loads(line) | {"label": "ab"[n % 2]} for n, line in enumerate(path.read_text().splitlines())]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = write_finetuning(tmp_path / "tuned", relisted(labelled.folder), before)
    files = release(run, tmp_path / "out")
    assert files.keys() == BARE | {"clips.json", "heard.json"}
    heard = json.loads(files["heard.json"])
    assert heard["init"] is None
    assert len(heard["labels_seen"]) == 12
    assert nowhere(tmp_path, files)
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.pipeline_tag == "audio-classification"
    assert (
        "pretrained from random weights on 0.000833 h of audio (a, b), fine-tuned on 0.00333 h of audio (c)."
        in card.text
    )
    assert "It distinguishes 2 classes: a, b." in card.text
    assert "Models of cross-validation folds, trained in the same way, were evaluated on" in card.text
    assert "| longest input in fine-tuning | 4 s |" in card.text
    assert "trained on all labelled clips, so that no clip is left to test it on" in card.text
    assert [result.dataset_config for result in card.data.eval_results] == [
        "by hand; models of the folds, fine-tuned"
    ] * 3


def test_where_transformers_loaded_a_model_from_is_left_out(shards, tmp_path):
    run = write_pretraining(tmp_path / "run", [shards])
    path = run / "encoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_name_or_path": f"{tmp_path}/x"}))
    files = release(run, tmp_path / "out")
    assert "_name_or_path" not in json.loads(files["config.json"])


def test_a_folder_without_a_run_is_released_and_that_nothing_is_known_is_said(tmp_path):
    files = release(save_tiny("hubert base", tmp_path / "model"), tmp_path / "out")
    assert b"its training data and procedure are not known" in files["README.md"]
    assert b"license_name: unknown-in-part" in files["README.md"]
    files = release(tmp_path / "model", tmp_path / "out", base_model="facebook/hubert-base-ls960")
    assert b"license: apache-2.0" in files["README.md"]
    assert b"- facebook/hubert-base-ls960" in files["README.md"]


def test_nothing_is_left_of_a_release_that_fails(shards, tmp_path, monkeypatch):
    run = write_pretraining(tmp_path / "run", [shards])

    def fail(*_):
        raise UserError("the disk is full")

    before = release(run, tmp_path / "out")
    monkeypatch.setattr(releases, "write_passport", fail)
    with pytest.raises(UserError, match="the disk is full"):
        release(run, tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"out", "run", "shards"}
    # Nor is anything lost of one that was there.
    with pytest.raises(UserError, match="the disk is full"):
        release(run, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_what_is_found_wrong_afterwards_is_no_release(shards, tmp_path):
    speaker = shards.clips()[0].speaker
    with pytest.raises(UserError, match=f"was not written: name: README.md {speaker}"):
        release(write_pretraining(tmp_path / "run", [shards]), tmp_path / "out", description=f"Thanks to {speaker}!")
    release(tmp_path / "run", tmp_path / "named", description=f"Thanks to {speaker}!", may_name=[str(speaker)])
    with pytest.raises(UserError, match="--may_name nobody: no speaker of the model's corpora has this name"):
        release(tmp_path / "run", tmp_path / "out", may_name=["nobody"])
    with pytest.raises(UserError, match="was not written: token: README.md hf_A"):
        release(tmp_path / "run", tmp_path / "out", description="hf_AbCdEfGhIjKlMnOpQrStUvWx")
    assert not (tmp_path / "out").exists()


def call_speaker(shards, name):
    """Give the first speaker of some shards another name."""
    path = shards.folder / "manifest.jsonl"
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(first) | {"speaker": f"a:{name}"}), *rest, ""]))
    return relisted(shards.folder)


@pytest.mark.parametrize("name", ["one", "Female", "model", "padding", "7", "Al"])
def test_speakers_that_are_called_like_ordinary_words_are_looked_for_with_their_corpus(name, shards, tmp_path):
    run = write_pretraining(tmp_path / "run", [call_speaker(shards, name)])
    release(run, tmp_path / "out", description=f"This is {name}.")
    with pytest.raises(UserError, match=f"name: README.md a:{name.casefold()}, .*; or give --may_name a:"):
        release(run, tmp_path / "other", description=f"This is a:{name}.")


def test_a_speaker_that_is_called_like_a_word_of_the_card_may_be_named(shards, tmp_path):
    run = write_pretraining(tmp_path / "run", [call_speaker(shards, "Alice")])
    with pytest.raises(
        UserError, match="name: README.md alice, .*; or give --may_name alice, if that is an ordinary word"
    ):
        release(run, tmp_path / "out", description="Alice in Wonderland.")
    release(run, tmp_path / "out", description="Alice in Wonderland.", may_name=["alice"])


def test_a_folder_of_something_else_is_not_written_over(shards, tmp_path):
    run = write_pretraining(tmp_path / "run", [shards])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="exists and is not a release; give another folder"):
        release(run, tmp_path / "out")
    with pytest.raises(UserError, match="which contains the model itself"):
        settings(run / "encoder", run)
    for place in (".", "..", "/"):
        with pytest.raises(UserError, match="give the name of a folder"):
            settings(run, Path(place))


def test_the_release_before_stays_where_the_new_one_cannot_take_its_place(shards, tmp_path, monkeypatch):
    run = write_pretraining(tmp_path / "run", [shards])
    before = release(run, tmp_path / "out")
    replace = os.replace

    def killed(source, target):
        if Path(target) == tmp_path / "out":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        release(run, tmp_path / "out", description="Another.")
    monkeypatch.undo()
    kept = {path.name: path.read_bytes() for path in (tmp_path / ".out.old").iterdir()}
    assert kept == before


@pytest.mark.parametrize(
    ("repo", "fits"),
    [("org/name", True), ("a/b.c-d_e", True), ("name", False), ("a/b/c", False), ("a/b--c", False), ("a/-b", False),
     ("a/b.git", False), ("a/b c", False), (f"a/{'b' * 97}", False)],
)  # fmt: skip
def test_names_are_those_that_the_hub_takes(repo, fits):
    if fits:
        assert settings(Path("x"), Path("y"), repo=repo).name == repo.partition("/")[2]
    else:
        with pytest.raises(UserError, match="--repo must be ORG/NAME"):
            settings(Path("x"), Path("y"), repo=repo)


def test_models_that_were_made_to_be_tested_are_not_released(shards, make_shards, tmp_path):
    before = write_pretraining(tmp_path / "before", [shards])
    shards = relabel(shards.folder, label="a")
    run = write_finetuning(tmp_path / "tuned", shards, before)
    fold = run / "seed-0" / "fold-0"
    shutil.copytree(run / "model", fold / "encoder")
    (fold / "fold.json").write_text("{}")
    with pytest.raises(UserError, match="is the model of a fold"):
        release(fold / "encoder", tmp_path / "out")
    shutil.rmtree(run / "model")
    with pytest.raises(UserError, match="run its command again with --final"):
        release(run, tmp_path / "out")
    with pytest.raises(UserError, match="there is no folder"):
        release(tmp_path / "nothing", tmp_path / "out")
    with pytest.raises(UserError, match="no config.json"):
        release(shards.folder, tmp_path / "out")


def test_a_head_that_transformers_has_no_class_for_is_refused(tmp_path):
    model = save_tiny("wav2vec2 base", tmp_path / "model")
    (model / "head.json").write_text("{}")
    with pytest.raises(UserError, match="a head for which transformers has no class"):
        release(model, tmp_path / "out")


def split_in_two(folder):
    """Write the weights of a model as two parts with an index, instead of one file."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    files = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for n, file in enumerate(files):
        save_file({name: tensors[name] for name in names[n::2]}, folder / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: files[n % 2] for n, name in enumerate(names)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return {*files, "model.safetensors.index.json"}


def test_weights_of_an_earlier_time_are_left_where_they_are(shards, tmp_path):
    run = write_pretraining(tmp_path / "run", [shards])
    once = release(run, tmp_path / "out")
    whole = run / "encoder" / "model.safetensors"
    shutil.copyfile(whole, stale := whole.with_name("model-00001-of-00007.safetensors"))
    assert release(run, tmp_path / "beside") == once
    content = whole.read_bytes()
    parts = split_in_two(run / "encoder")
    assert release(run, tmp_path / "parts").keys() == BARE - {"model.safetensors"} | parts
    # Where one file holds all, an index of parts is none of its own.
    whole.write_bytes(content)
    assert release(run, tmp_path / "both") == once
    whole.unlink()
    (run / "encoder" / "model-00002-of-00002.safetensors").unlink()
    assert stale.is_file()
    with pytest.raises(UserError, match="No such file or directory: .*model-00002-of-00002.safetensors"):
        release(run, tmp_path / "none")


def test_code_that_lies_elsewhere_is_refused(shards, tmp_path):
    run = write_pretraining(tmp_path / "run", [shards], "audio_mamba")
    path = run / "encoder" / "config.json"
    (run / "encoder" / "selective_scan.py").unlink()
    with pytest.raises(UserError, match="names the code 'selective_scan', which is not in the folder"):
        release(run, tmp_path / "out")
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"auto_map": {"AutoModel": "somebody/else--model.Model"}}))
    with pytest.raises(UserError):
        release(run, tmp_path / "out")


def test_the_program_prints_licences_before_it_writes(shards, tmp_path, capsys):
    run = write_pretraining(tmp_path / "run", [shards])
    relabel(shards.folder, licence="CC-BY-NC-ND-4.0")
    argv = [str(run), "--repo=org/tiny", f"--out={tmp_path / 'out'}"]
    with pytest.raises(UserError, match="--acknowledge a b"):
        main(argv)
    assert not (tmp_path / "out").exists()
    main([*argv, "--acknowledge", "a", "b"])
    said = capsys.readouterr().out
    assert "licence: cc-by-nc-nd-4.0" in said
    assert "a: changed copies of its audio must not be redistributed. The publisher" in said
    assert load_file(tmp_path / "out" / "model.safetensors")
    assert (
        "nonverbal release run --repo=org/tiny --out=out --acknowledge a b" in (tmp_path / "out/README.md").read_text()
    )
