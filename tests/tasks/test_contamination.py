from collections.abc import Callable

from labelled_tones import tones

from nonverbal.data.index import ShardFolder
from nonverbal.tasks.contamination import by_authors, by_manifests

Make = Callable[..., ShardFolder]


def test_contamination_is_by_samples_and_by_recording(labelled_shards: Make) -> None:
    sounds = tones()
    clips = labelled_shards(sounds[:8], "probed").clips()
    same_samples = labelled_shards([(None, None, "renamed", sounds[0][3])], "copy").folder / "manifest.jsonl"
    same_recording = labelled_shards([(None, None, sounds[0][2], sounds[9][3])], "take").folder / "manifest.jsonl"
    other = labelled_shards(sounds[8:], "other").folder / "manifest.jsonl"
    assert by_manifests(clips, []) == "unknown"
    assert by_manifests(clips, [other]) == "held out"
    assert by_manifests(clips, [other, same_samples]) == "transductive"
    assert by_manifests(clips, [same_recording]) == "transductive"


def test_what_authors_say_is_compared_by_corpus(labelled_shards: Make) -> None:
    in_catalog = labelled_shards(tones()[:2], "catalog", "vivae").clips()
    own = labelled_shards(tones()[:2], "own", "mine").clips()
    heard = frozenset({"librispeech", "audioset"})
    assert by_authors(in_catalog, heard) == "held out (by its authors)"
    assert by_authors(in_catalog, heard | {"vivae"}) == "transductive (by its authors)"
    assert by_authors(own, heard) == "unknown"
    assert by_authors([*own, *in_catalog], heard) == "unknown"
    assert by_authors([*own, *in_catalog], heard | {"vivae"}) == "transductive (by its authors)"


def test_two_corpora_of_one_site_may_share_sounds(labelled_shards: Make) -> None:
    """Clips of Nonspeech7k and of the babies' recordings come from Freesound both."""
    clips = labelled_shards(tones()[:2], "shards", "nonspeech7k").clips()
    assert by_authors(clips, frozenset({"librispeech"})) == "held out (by its authors)"
    assert by_authors(clips, frozenset({"librispeech", "freesound-babies"})) == "unknown"
