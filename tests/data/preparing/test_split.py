import itertools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonverbal.data.manifest import Clip
from nonverbal.data.preparing.split import choose_validation, excluded, group_numbers


def clip(number, corpus="a", recording="", speaker=None, sha256="", seconds=1.0):
    return Clip(
        id=f"{corpus}/{number}.wav",
        corpus=corpus,
        path=f"{number}.wav",
        start=0.0,
        end=seconds,
        sample_rate=16_000,
        label=None,
        speaker=speaker,
        session=None,
        language=None,
        split=None,
        recording=recording or f"{corpus}/{number}.wav",
        licence="CC0-1.0",
        sha256=sha256 or f"{corpus}{number}",
    )


few = st.sampled_from("xyzuvw")
clip_lists = st.lists(
    st.tuples(st.sampled_from("abc"), few | st.just(""), few | st.none(), few | st.just(""), st.floats(0.1, 30)),
    max_size=30,
).map(lambda rows: [clip(number, *row) for number, row in enumerate(rows)])


def shares(first, second):
    return (
        first.recording == second.recording
        or first.sha256 == second.sha256
        or (first.speaker is not None and first.speaker == second.speaker)
    )


def test_a_long_chain_of_shared_names_is_one_group():
    chain = [clip(n, recording=f"r{n}", sha256=f"h{n // 2}", speaker=f"s{(n + 1) // 2}") for n in range(50_000)]
    assert set(group_numbers(chain)) == {0}


@given(clip_lists)
def test_groups_are_what_shared_names_connect(clips):
    numbers = group_numbers(clips)
    reached = [{i} for i in range(len(clips))]
    for _ in clips:
        for i, j in itertools.product(range(len(clips)), repeat=2):
            if shares(clips[i], clips[j]):
                reached[i] |= reached[j]
    for i, j in itertools.product(range(len(clips)), repeat=2):
        assert (numbers[i] == numbers[j]) == (j in reached[i])
    assert list(dict.fromkeys(numbers)) == list(range(len(set(numbers))))


def test_a_speaker_and_a_recording_of_one_name_are_not_the_same():
    assert group_numbers([clip(0, recording="x"), clip(1, speaker="x"), clip(2, sha256="x")]) == [0, 1, 2]


def test_excluded_by_samples_by_recording_and_by_what_an_excluded_recording_holds():
    clips = [
        clip(0, sha256="shared"),
        clip(1, recording="named"),
        clip(2, recording="r", sha256="shared"),
        clip(3, recording="r", sha256="other"),
        clip(4, sha256="other"),
        clip(5, speaker="s"),
    ]
    evaluation = [clip(0, "test", sha256="shared", speaker="s"), clip(1, "test", recording="named")]
    assert excluded(clips, evaluation) == [
        "its samples are in an excluded manifest",
        "its recording named is in an excluded manifest",
        "its samples are in an excluded manifest",
        "its recording r is in an excluded manifest",
        "its samples are in an excluded recording",
        None,
    ]
    assert excluded(clips, []) == [None] * 6


@given(clip_lists, clip_lists)
def test_nothing_that_stays_shares_samples_or_a_recording_with_what_is_excluded(clips, evaluation):
    reasons = excluded(clips, evaluation)
    kept = [clip for clip, reason in zip(clips, reasons, strict=True) if reason is None]
    out = [*evaluation, *(clip for clip, reason in zip(clips, reasons, strict=True) if "manifest" in (reason or ""))]
    assert not {clip.sha256 for clip in kept} & {clip.sha256 for clip in out}
    assert not {clip.recording for clip in kept} & {clip.recording for clip in out}


@given(clip_lists, st.sampled_from([0.0, 0.05, 0.2, 0.5]), st.integers(0, 5), st.randoms(use_true_random=False))
def test_validation_does_not_depend_on_the_order_of_the_clips(clips, share, seed, random):
    shuffled = random.sample(clips, len(clips))

    def chosen(clips):
        groups = group_numbers(clips)
        validation = choose_validation(clips, groups, share, seed)
        assert validation <= set(groups)
        return {clip.id for clip, group in zip(clips, groups, strict=True) if group in validation}

    assert chosen(clips) == chosen(shuffled)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_each_corpus_gives_about_its_share(share):
    random = np.random.default_rng(0)
    clips = [
        clip(i, corpus, speaker=f"{corpus}:{i % 60}", seconds=float(random.uniform(0.2, 10)))
        for corpus in "abc"
        for i in range(300)
    ]
    groups = group_numbers(clips)
    validation = choose_validation(clips, groups, share, seed=0)
    seconds = defaultdict(float)
    for one, group in zip(clips, groups, strict=True):
        seconds[one.corpus, group in validation] += one.end
    for corpus in "abc":
        part = seconds[corpus, True] / (seconds[corpus, True] + seconds[corpus, False])
        assert part == pytest.approx(share, abs=0.01)


def test_another_seed_chooses_others_and_no_share_none():
    clips = [clip(i) for i in range(100)]
    groups = group_numbers(clips)
    chosen = [frozenset(choose_validation(clips, groups, 0.1, seed)) for seed in range(5)]
    assert [len(groups) for groups in chosen] == [10] * 5
    assert len(set(chosen)) == 5
    assert choose_validation(clips, groups, 0.0, 0) == set()


def test_a_corpus_of_one_group_and_groups_beyond_the_share_stay_in_train():
    alone = [clip(i, "a", speaker="one") for i in range(10)]
    large = [clip(i, "b", seconds=100.0) for i in range(3)]
    assert choose_validation(alone + large, group_numbers(alone + large), 0.1, 0) == set()
    # One clip of 3 s is nearer to the share of 30.3 s than none; one of 100 s would be farther.
    small = [*large, clip(3, "b", seconds=3.0)]
    assert choose_validation(small, group_numbers(small), 0.1, 0) == {3}
