import json
from collections.abc import Callable
from pathlib import Path

import pytest
from labelled_tones import tones

from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.tasks.labels_seen import carry, labels_seen_by, write_labels_seen

Make = Callable[..., ShardFolder]


def test_labels_are_seen_by_samples_and_by_recording(labelled_shards: Make, tmp_path: Path) -> None:
    sounds = tones()
    fitted, others = labelled_shards(sounds[:3], "fitted").clips(), labelled_shards(sounds[3:6], "others").clips()
    copies = [(None, None, "renamed", sounds[0][3]), (None, None, sounds[1][2], sounds[9][3])]
    write_labels_seen(tmp_path, fitted, "facebook/wav2vec2-base")
    seen = labels_seen_by(tmp_path)
    assert seen is not None
    assert seen.init == "facebook/wav2vec2-base"
    assert all(map(seen.holds, fitted))
    assert not any(map(seen.holds, others))
    assert all(map(seen.holds, labelled_shards(copies, "copies").clips()))
    assert sounds[0][2] not in (tmp_path / "heard.json").read_text()


def test_what_the_first_model_has_seen_the_second_has_seen_too(labelled_shards: Make, tmp_path: Path) -> None:
    first, second = labelled_shards(tones()[:3], "first").clips(), labelled_shards(tones()[3:6], "second").clips()
    write_labels_seen(tmp_path, first, "initialised:x")
    write_labels_seen(tmp_path, second, str(tmp_path), labels_seen_by(tmp_path))
    seen = labels_seen_by(tmp_path)
    assert seen is not None
    assert all(map(seen.holds, [*first, *second]))


@pytest.mark.parametrize("content", ["{", "[]", '{"labels_seen": []}', '{"labels_seen": "abc", "recordings": []}'])
def test_a_damaged_file_is_not_taken_for_none(content: str, tmp_path: Path) -> None:
    assert labels_seen_by(tmp_path) is None
    (tmp_path / "heard.json").write_text(content)
    with pytest.raises(UserError, match=r"heard\.json cannot be read .* it is not known which labels"):
        labels_seen_by(tmp_path)


def test_the_file_holds_what_others_write(labelled_shards: Make, tmp_path: Path) -> None:
    (clip, *_) = labelled_shards(tones()[:1]).clips()
    (tmp_path / "heard.json").write_text(json.dumps({"labels_seen": [clip.sha256], "recordings": []}))
    seen = labels_seen_by(tmp_path)
    assert seen is not None
    assert seen.holds(clip)
    assert seen.init is None


def test_what_was_seen_goes_along_with_weights(labelled_shards: Make, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    for folder in (source / "encoder", out):
        folder.mkdir(parents=True)
    assert carry(source, out) is None
    assert labels_seen_by(out) is None
    write_labels_seen(source / "encoder", labelled_shards(tones()[:2]).clips(), "x")
    assert f"the weights have seen labels that {tmp_path / 'out.pt'} cannot record" in str(
        carry(source, tmp_path / "out.pt")
    )
    assert carry(source, out) is None
    assert labels_seen_by(out) == labels_seen_by(source / "encoder")
