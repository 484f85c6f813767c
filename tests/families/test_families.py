"""Which settings of a pretraining run go together."""

import pytest

from nonverbal import config
from nonverbal.errors import UserError
from nonverbal.stages.pretraining import PretrainConfig


def load(*argv):
    return config.load(PretrainConfig, [*argv, "--data=shards", "--out=run"], "nonverbal pretrain", "")


@pytest.mark.parametrize(
    ("family", "other"),
    [("ssam", "wav2vec2.init=x"), ("wav2vec2", "ssam.init=x"), ("ssam", "hubert.architecture.layers=3")],
)
def test_settings_of_another_family_are_refused(family, other):
    key, group = other.split("=")[0], other.split(".")[0]
    with pytest.raises(UserError, match=f"the family is {family}, so {key} would not count; .* --family {group}"):
        load(f"--family={family}", f"--{other}")


def test_settings_of_the_family_and_defaults_of_others_are_taken():
    settings = load("--family=ssam", "--ssam.init=x", "--wav2vec2.dropouts.layer=0.05")
    assert settings.ssam.init == "x"
