"""The table of families: which settings go together, and of which kind a checkpoint is."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from sources import save_fairseq, save_transformers
from transformers import BertConfig, BertModel, HubertConfig, HubertModel

from nonverbal import config
from nonverbal.errors import UserError
from nonverbal.families import FAMILIES, hubert, kind_of, kinds, read_any, recognised, ssam, wav2vec2
from nonverbal.stages.pretraining import PretrainConfig, free_settings
from nonverbal.training.run_folder import RunFolder


def load(*argv):
    return config.load(PretrainConfig, [*argv, "--data=shards", "--out=run"], "nonverbal pretrain", "")


@pytest.mark.parametrize(
    ("family", "other"),
    [("ssam", "wav2vec2.init=x"), ("wav2vec2", "ssam.init=x"), ("ssam", "hubert.architecture.layers=3")],
)
def test_settings_of_another_family_are_refused(family, other):
    key, group = other.split("=")[0], other.split(".")[0]
    with pytest.raises(UserError, match=f"{key} is set, but .* because the family is {family}; .* --family {group}"):
        load(f"--family={family}", f"--{other}")


def test_settings_of_the_family_and_defaults_of_others_are_taken():
    settings = load("--family=ssam", "--ssam.init=x", "--wav2vec2.dropouts.layer=0.05")
    assert settings.ssam.init == "x"


def test_each_family_has_a_name_of_its_own_and_settings_with_defaults():
    assert list(FAMILIES) == ["wav2vec2", "hubert", "ssam"]
    assert all(family.name == name and family.settings() for name, family in FAMILIES.items())
    # The two compute the same, so that checkpoints of one begin the other.
    assert kinds() == [wav2vec2.ENCODERS, ssam.ENCODERS]
    types = [model_type for kind in kinds() for model_type in kind.model_types]
    assert len(set(types)) == len(types)


def test_the_kind_of_a_checkpoint_is_told_by_configuration_and_by_names_of_weights(tmp_path):
    save_transformers(tmp_path / "folder")
    save_fairseq(tmp_path / "file.pt")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    HubertModel(HubertConfig(**sizes)).save_pretrained(tmp_path / "hubert")
    torch.save({"module.blocks.0.mixer.A_log": torch.zeros(2, 2)}, tmp_path / "mamba.pth")
    for name, kind in (("folder", wav2vec2), ("file.pt", wav2vec2), ("hubert", hubert.wav2vec2), ("mamba.pth", ssam)):
        assert recognised(str(tmp_path / name)) is kind.ENCODERS
    assert kind_of(read_any(str(tmp_path / "hubert"))) is FAMILIES["hubert"].encoders
    # What nobody knows is refused with what it is, and with what is read.
    BertModel(BertConfig(**sizes)).save_pretrained(tmp_path / "bert")
    with pytest.raises(UserError, match="found a 'bert' model; expected an encoder of wav2vec 2.0 or HuBERT"):
        read_any(str(tmp_path / "bert"))


def run_of_before(folder, **changed):
    """A run whose recipe says of HuBERT what it has no place for."""
    given = ("--family=hubert", "--data=shards", f"--out={folder}")
    settings = config.load(PretrainConfig, [*given], "nonverbal pretrain", "")
    before = config.to_dict(settings)
    before["hubert"]["architecture"] |= {"codebooks": 2, "codes": 320, "code_size": 256}
    before["hubert"]["dropouts"] |= {"quantiser": 0.1, **changed}
    folder.mkdir()
    (folder / "recipe.yaml").write_text(yaml.safe_dump(before))
    return RunFolder(folder), settings


def test_a_run_goes_on_whose_recipe_says_of_hubert_what_never_counted(tmp_path):
    run, settings = run_of_before(tmp_path / "run")
    run.check_recipe(settings, free_settings("hubert"))
    assert "codebooks" not in yaml.safe_load((tmp_path / "run/recipe.yaml").read_text())["hubert"]["architecture"]
    run, settings = run_of_before(tmp_path / "other", depth=3)
    with pytest.raises(UserError, match=r"another recipe \(hubert.dropouts.depth: 3 then, None now\)"):
        run.check_recipe(settings, free_settings("hubert"))


def test_a_run_goes_on_when_the_table_has_a_family_that_its_recipe_does_not_know(tmp_path):
    run, settings = run_of_before(tmp_path / "run")
    before = yaml.safe_load((run.folder / "recipe.yaml").read_text())
    del before["ssam"]
    (run.folder / "recipe.yaml").write_text(yaml.safe_dump(before))
    run.check_recipe(settings, free_settings("hubert"))
    with pytest.raises(UserError, match=r"another recipe \(.*family: 'hubert' then, 'wav2vec2' now"):
        run.check_recipe(replace(settings, family="wav2vec2"), free_settings("wav2vec2"))


def test_the_recipe_of_such_a_run_begins_another(tmp_path):
    run, settings = run_of_before(tmp_path / "run")
    recipe = str(run.folder / "recipe.yaml")
    assert load(recipe) == replace(settings, out=Path("run"))
    run_of_before(tmp_path / "other", quantiser=0.2)
    with pytest.raises(UserError, match=r"unknown key 'hubert.dropouts.quantiser' in the recipe .*'wav2vec2.dropouts"):
        load(str(tmp_path / "other/recipe.yaml"))


@pytest.mark.parametrize("key", ["architecture.codebooks", "architecture.codes", "dropouts.quantiser"])
def test_hubert_has_no_codebooks(key):
    with pytest.raises(UserError, match=f"unknown key 'hubert.{key}' .* did you mean 'wav2vec2.{key}'"):
        load("--family=hubert", f"--hubert.{key}=2")


def test_the_scan_may_be_another_when_a_run_is_continued():
    assert "ssam.scan" in free_settings("ssam")
    assert FAMILIES["wav2vec2"].use_scan(None, None, torch.device("cpu")) is None
