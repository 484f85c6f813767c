"""Bags of audio words: against a plain loop, and deaf to the test side."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from labelled_tones import tones

from evaluate.embed import main as embed_main
from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.evaluation.audio_words import WORDS, Bags
from nonverbal.evaluation.cross_validation import cross_validate
from nonverbal.evaluation.encoders import load_frame_encoder
from nonverbal.evaluation.frame_rows import FrameRows
from nonverbal.evaluation.heads import HEADS
from nonverbal.evaluation.probing import compare
from nonverbal.tasks.folds import Fold, group_folds
from nonverbal.tasks.protocols import Protocol, Select
from nonverbal.tasks.task import make_task, task_of

Make = Callable[..., ShardFolder]
FOLD = Fold("0", np.arange(0, 8), np.arange(8, 12))
HAS_OPENSMILE = importlib.util.find_spec("opensmile") is not None
with_opensmile = pytest.mark.skipif(not HAS_OPENSMILE, reason="openSMILE is not installed")


def clips(count: int = 12, frames: int = 120, values: int = 6) -> dict[int, np.ndarray]:
    """Frames of clips whose values have different sizes, the last of each half constant."""
    random = np.random.default_rng(0)
    made = {}
    for clip in range(count):
        own = random.standard_normal((1, frames + clip, values)) * np.exp(np.arange(values)) + 2
        own[..., [values // 2 - 1, values - 1]] = 5
        made[clip] = own.astype(np.float16)
    return made


def bags(made: dict[int, np.ndarray], as_frames: bool = False) -> Bags:
    return Bags(FrameRows(made, np.arange(len(made))), as_frames)


def test_counts_are_those_of_a_plain_loop() -> None:
    made = clips()
    words = bags(made).codebooks(FOLD.train, seed=3)
    found = bags(made).of(FOLD, FOLD.train, seed=3)
    assert found.shape == (12, 1, 2 * WORDS)
    training = np.concatenate([made[row][0] for row in FOLD.train]).astype(np.float64)
    for half, book in enumerate(words):
        own = slice(3 * half, 3 * half + 3)
        mean, std = training[:, own].mean(axis=0), training[:, own].std(axis=0)
        std[2] = 1  # of what is constant
        standard = {tuple(row) for row in ((training[:, own] - mean) / std).round(3)}
        # Words are frames of the training side, each drawn once.
        assert {tuple(row) for row in book.words.astype(np.float64).round(3)} <= standard
        assert len(book.words) == WORDS
        for row in (0, 11):
            counts = np.zeros(WORDS)
            for frame in (made[row][0][:, own].astype(np.float64) - mean) / std:
                counts[np.square(book.words.astype(np.float64) - frame).sum(axis=1).argmin()] += 1
            np.testing.assert_allclose(found[row, 0, WORDS * half : WORDS * (half + 1)], np.log(1 + counts), rtol=1e-6)
            assert counts.sum() == 120 + row


def test_test_clips_change_neither_the_codebooks_nor_the_bags_of_others() -> None:
    made = clips()
    changed = made | {int(row): np.full((1, 9, 6), 1000, np.float16) for row in FOLD.test}
    for before, after in zip(*(bags(own).codebooks(FOLD.train, 0) for own in (made, changed)), strict=True):
        np.testing.assert_array_equal(before.words, after.words)
    before, after = (bags(own).of(FOLD, FOLD.train, 0) for own in (made, changed))
    np.testing.assert_array_equal(before[FOLD.train], after[FOLD.train])
    assert (before[FOLD.test] != after[FOLD.test]).any()


def test_training_clips_seed_and_half_draw_the_words() -> None:
    first = bags(clips()).codebooks(FOLD.train, 0)
    again = bags(clips()).codebooks(FOLD.train, 0)
    other = bags(clips()).codebooks(FOLD.train, 1)
    fewer = bags(clips()).codebooks(FOLD.train[1:], 0)
    np.testing.assert_array_equal(first[0].words, again[0].words)
    assert (first[0].words != other[0].words).any()
    assert (first[0].words != fewer[0].words).any()
    same = {name: np.concatenate([own[..., :3], own[..., :3]], axis=2) for name, own in clips().items()}
    halves = bags(same).codebooks(FOLD.train, 0)
    assert (halves[0].words != halves[1].words).any()


def test_fewer_frames_than_words_leave_the_last_counts_empty() -> None:
    few = clips(frames=5)
    found = bags(few).of(FOLD, FOLD.train[:2], 0)  # 5 + 6 frames
    assert found.shape == (12, 1, 2 * WORDS)
    assert found[:, 0, 11:WORDS].max() == 0
    # Each is the nearest to itself.
    np.testing.assert_allclose(found[:2, 0, :11].sum(axis=0), np.log(2), rtol=1e-6)


LABELS, GROUPS = [f"{clip % 2}" for clip in range(36)], [f"s{clip // 4}" for clip in range(36)]


@pytest.mark.parametrize("select", ["inner", "test"])
def test_each_fold_has_features_of_its_own_training_side(select: Select, monkeypatch: pytest.MonkeyPatch) -> None:
    made = clips(36)
    for clip, own in made.items():
        own[0, :, 1] += np.float16(6 * (clip % 2))
    asked: list[np.ndarray] = []
    of = Bags.of

    def spy(self: Bags, fold: Fold, training: np.ndarray, seed: int) -> np.ndarray:
        asked.append(training)
        return of(self, fold, training, seed)

    monkeypatch.setattr(Bags, "of", spy)
    folds = group_folds(LABELS, GROUPS, 3, 0)
    protocol = Protocol(select=select)
    results = list(cross_validate(HEADS["logistic"], bags(made), LABELS, GROUPS, folds, 0, protocol, True))
    for fold, training in zip(folds, asked, strict=True):
        np.testing.assert_array_equal(training, fold.train)
    assert np.mean([result.metrics["uar"] for result in results]) > 0.9


def test_a_head_on_frames_reads_a_bag_as_one_frame() -> None:
    assert bags(clips(), True).of(FOLD, FOLD.train, 0).shape == (12, 1, 1, 2 * WORDS)


@with_opensmile
class TestOpensmile:
    """The frames, and the encoder by name."""

    def test_frames_are_opensmiles_descriptors_and_their_regressions(self) -> None:
        import opensmile

        waveform = (0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32)
        smile = opensmile.Smile(opensmile.FeatureSet.ComParE_2016, opensmile.FeatureLevel.LowLevelDescriptors)
        theirs = smile.process_signal(waveform, 16_000)
        (frames,) = load_frame_encoder("boaw").frames(waveform)
        variance = theirs.columns.get_loc("pcm_fftMag_spectralVariance_sma")
        expected = theirs.to_numpy().copy()
        expected[:, variance] /= 1e6
        np.testing.assert_allclose(frames[:, :65], expected, rtol=1e-6)
        inner = slice(4, -4)
        for value in (variance, theirs.columns.get_loc("mfcc_sma[1]"), theirs.columns.get_loc("pcm_RMSenergy_sma")):
            own = frames[:, value].astype(np.float64)
            slopes = sum(k * (np.roll(own, -k) - np.roll(own, k)) for k in (1, 2)) / 10
            np.testing.assert_allclose(frames[inner, 65 + value], slopes[inner], atol=1e-5 * np.abs(own).max())

    def test_a_probe_with_its_null_under_fewer_clips_and_chosen_on_the_test_side(
        self, labelled_shards: Make, tmp_path: Path
    ) -> None:
        shards = labelled_shards(tones())
        places = [], tmp_path / "cache", tmp_path / "out"
        scores = compare(make_task(shards, [], "speaker", 3, [0]), ["boaw"], *places, null=2)
        assert all(score.null["draws"] == 2 for score in scores)
        assert np.mean([score.metrics["uar"] for score in scores]) > 0.9
        own = Protocol(folds=3, per_class=2)
        few = compare(task_of(shards, [], own), ["boaw"], *places)
        assert {score.train_clips for score in few} == {4}
        (mlp, *_) = compare(task_of(shards, [], own), ["boaw"], *places, head="nonlinear:epochs=1,width=8")
        assert mlp.details["parameters"] == 2 * WORDS * 8 + 8 + 3 * 72 + 8 * 2 + 2

    def test_there_is_nothing_to_embed(self, labelled_shards: Make, tmp_path: Path) -> None:
        shards = labelled_shards(tones())
        argv = ["--data", str(shards.folder), "--encoders", "boaw", "--out", str(tmp_path / "kept")]
        with pytest.raises(UserError, match="nonverbal probe computes boaw in each fold"):
            embed_main(argv)
