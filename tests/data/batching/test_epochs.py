import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonverbal.data.batching import epochs as plan_module
from nonverbal.data.batching.epochs import (
    BatchSettings,
    ClipTable,
    corpus_weights,
    share,
    training_epoch,
    validation_epoch,
)
from nonverbal.data.batching.micro_batches import Epoch, MicroBatch
from nonverbal.data.batching.requests import TrainingRequests, stream
from nonverbal.errors import UserError
from nonverbal.seeding import Stream, generator

RATE = 16_000


def table_of(seconds: list[float], corpora: list[int] | None = None, per_shard: int = 8) -> ClipTable:
    count = len(seconds)
    return ClipTable(
        folder=np.zeros(count, dtype=np.int32),
        row=np.arange(count),
        shard=np.arange(count) // per_shard,
        samples=np.array([round(s * RATE) for s in seconds], dtype=np.int64),
        corpus=np.array(corpora or [0] * count),
        corpora=["a", "b", "c"],
    )


tables = st.lists(st.tuples(st.floats(0.07, 10.0), st.integers(0, 2)), min_size=1, max_size=60).map(
    lambda clips: table_of([s for s, _ in clips], [c for _, c in clips])
)
batch_settings = st.builds(
    BatchSettings,
    batch_seconds=st.floats(10.0, 60.0),
    max_seconds=st.floats(2.0, 10.0),
    min_seconds=st.floats(0.2, 2.0),
    short=st.sampled_from(["join", "tile"]),
    fit=st.sampled_from(["crop", "pad"]),
    max_ratio=st.floats(1.0, 2.0),
)


def planned(table: ClipTable, settings: BatchSettings, seed: int = 0) -> Callable[[int], Epoch]:
    return lambda epoch: training_epoch(table, settings, seed, epoch)


def flat(batches: list[MicroBatch]) -> list[int]:
    return [int(clip) for batch in batches for row in batch.clips for clip in row]


@given(tables, batch_settings, st.integers(0, 2**31), st.integers(0, 5))
def test_every_clip_is_drawn_once_an_epoch(table, settings, seed, epoch):
    assert sorted(flat(training_epoch(table, settings, seed, epoch))) == list(range(len(table.samples)))


@given(tables, batch_settings, st.integers(0, 2**31))
def test_batches_keep_to_their_limits(table, settings, seed):
    for batch in training_epoch(table, settings, seed, 0):
        longest, shortest = int(batch.lengths.max()), int(batch.lengths.min())
        assert len(batch.clips) * longest <= settings.batch_seconds * RATE
        assert longest <= settings.max_ratio * shortest
        assert longest <= round(settings.max_seconds * 10) * RATE // 10
        assert shortest >= round(settings.min_seconds * 10) * RATE // 10
        assert not np.any(batch.lengths % (RATE // 10))
        if settings.fit == "crop":
            assert longest == shortest
        for row in batch.clips:
            assert len(set(table.corpus[row])) == 1


def plain_rows(drawn, table, settings, shortest, longest):
    """Return (clips, length) of each row that clips make, one clip after the other."""
    alone = [[clip] for clip in drawn if settings.short == "tile" or table.samples[clip] >= shortest]
    joined = []
    for corpus in range(3) if settings.short == "join" else ():
        row = []
        for clip in drawn:
            if table.corpus[clip] == corpus and table.samples[clip] < shortest:
                row.append(clip)
                if sum(table.samples[row]) >= shortest:
                    joined.append(row)
                    row = []
        joined += [row] if row else []
    return [(row, min(max(sum(table.samples[row]) // 1600 * 1600, shortest), longest)) for row in alone + joined]


def plain_batches(rows, settings):
    """Return lists of rows that go together, taking row after row as long as the limits allow."""
    batches = []
    for clips, length in sorted(rows, key=lambda row: row[1]):
        rows_then = len(batches[-1]) + 1 if batches else 0
        first = batches[-1][0][1] if batches else 0
        held = rows_then * (first if settings.fit == "crop" else length)
        limit = settings.batch_rows or 10**9
        if (
            not batches
            or length > settings.max_ratio * first
            or rows_then > limit
            or held > settings.batch_seconds * RATE
        ):
            batches.append([])
        batches[-1].append((clips, length))
    return batches


@given(tables, batch_settings, st.integers(0, 2**31), st.sampled_from([None, 1, 3]))
def test_a_plan_is_what_taking_clip_after_clip_gives(table, settings, seed, rows):
    settings = replace(settings, batch_rows=rows, weights={"a": 1.5})
    random = generator(seed, Stream.PLAN, 2)
    copies = np.floor(np.where(table.corpus == 0, 1.5, 1.0) + random.random(len(table.samples))).astype(int)
    drawn = random.permutation(np.repeat(np.arange(len(table.samples)), copies)).tolist()
    shortest, longest = (round(s * 10) * RATE // 10 for s in (settings.min_seconds, settings.max_seconds))
    batches = plain_batches(plain_rows(drawn, table, settings, shortest, longest), settings)
    expected = [batches[i] for i in random.permutation(len(batches))]
    found = training_epoch(table, settings, seed, 2)
    assert [[row.tolist() for row in batch.clips] for batch in found] == [[row for row, _ in b] for b in expected]
    for batch, rows in zip(found, expected, strict=True):
        lengths = [length for _, length in rows]
        assert batch.lengths.tolist() == ([lengths[0]] * len(rows) if settings.fit == "crop" else lengths)


@given(tables, batch_settings, st.integers(1, 6))
def test_no_batch_has_more_than_its_rows_and_none_is_cut_short_by_them(table, settings, rows):
    limited = replace(settings, batch_rows=rows)
    batches, free = training_epoch(table, limited, 0, 0), training_epoch(table, settings, 0, 0)
    assert sorted(flat(batches)) == sorted(flat(free))
    assert max(len(batch.clips) for batch in batches) <= rows
    if max(len(batch.clips) for batch in free) <= rows:
        assert flat(batches) == flat(free)


def test_a_step_holds_a_number_of_clips_where_their_lengths_allow_it():
    settings = BatchSettings(batch_seconds=100, batch_rows=4, fit="pad")
    assert [len(batch.clips) for batch in training_epoch(table_of([3.0] * 12), settings, 0, 0)] == [4, 4, 4]
    # The audio counts too: 9 s hold three of 3 s.
    short = replace(settings, batch_seconds=10)
    assert [len(batch.clips) for batch in training_epoch(table_of([3.0] * 12), short, 0, 0)] == [3, 3, 3, 3]


@given(tables, batch_settings, st.integers(0, 2**31))
def test_same_arguments_same_plan_and_another_epoch_another_order(table, settings, seed):
    first, again = training_epoch(table, settings, seed, 3), training_epoch(table, settings, seed, 3)
    assert flat(first) == flat(again)
    if len(table.samples) > 20:
        assert flat(first) != flat(training_epoch(table, settings, seed, 4))


@given(tables, batch_settings, st.integers(1, 7), st.integers(1, 4))
def test_processes_share_out_the_same_steps(table, settings, per_step, world):
    def requests(rank, world):
        return TrainingRequests(planned(table, settings, 7), per_step, range(5), 0, 0, rank, world)

    alone = {(r.step, r.position): flat([r.micro_batch]) for r in requests(0, 1)}
    shared = {(r.step, r.position): flat([r.micro_batch]) for rank in range(world) for r in requests(rank, world)}
    assert alone == shared
    assert len(alone) == 5 * per_step == sum(len(requests(rank, world)) for rank in range(world))


@given(tables, batch_settings, st.integers(1, 7), st.integers(0, 4))
def test_the_stream_goes_on_where_a_step_left_it(table, settings, per_step, stop):
    whole = TrainingRequests(planned(table, settings, 7), per_step, range(6), 0, 0)
    all_batches = [flat([r.micro_batch]) for r in whole]
    ((epoch, batch),) = {r.after for r in whole if r.step == stop}
    rest = TrainingRequests(planned(table, settings, 7), per_step, range(stop + 1, 6), epoch, batch)
    assert [flat([r.micro_batch]) for r in rest] == all_batches[(stop + 1) * per_step :]


def test_what_an_epoch_leaves_over_begins_the_next():
    table = table_of([3.0] * 7)
    settings = BatchSettings(batch_seconds=10, max_seconds=3, batches_per_step=2)
    positions = [(epoch, number) for epoch, number, _ in itertools.islice(stream(planned(table, settings), 0, 0), 6)]
    # 7 clips of 3 s in batches of at most 10 s: 3 batches an epoch, so the second step spans two epochs.
    assert positions == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    requests = TrainingRequests(planned(table, settings), 2, range(3), 0, 0)
    assert [request.after for request in requests] == [(0, 2), (0, 2), (1, 1), (1, 1), (1, 3), (1, 3)]


def test_weights_draw_clips_more_and_less_often():
    table = table_of([3.0] * 200, [0] * 100 + [1] * 50 + [2] * 50)
    settings = BatchSettings(weights={"a": 0.25, "b": 2.5, "c": 0})
    counts = np.mean(
        [np.bincount(flat(training_epoch(table, settings, 0, epoch)), minlength=200) for epoch in range(200)], axis=0
    )
    assert np.mean(counts[:100]) == pytest.approx(0.25, abs=0.02)
    assert np.mean(counts[100:150]) == pytest.approx(2.5, abs=0.03)
    assert not counts[150:].any()


def test_a_share_is_the_share_of_all_audio():
    """60 s of a, 90 s of b, and 3000 s of c, of whose 30 s clips 10 s count."""
    table = table_of([3.0] * 20 + [9.0] * 10 + [30.0] * 100, [0] * 20 + [1] * 10 + [2] * 100)
    settings = BatchSettings(shares={"c": 0.2, "b": 0.5}, weights={"a": 2.0})
    # a: 60 s twice are the other 30% of 400 s, of which b makes 200 and c 80.
    assert corpus_weights(table, settings).tolist() == pytest.approx([2, 200 / 90, 80 / 1000])
    seconds = np.zeros(3)
    for epoch in range(200):
        clips = np.array(flat(training_epoch(table, settings, 0, epoch)))
        seconds += np.bincount(table.corpus[clips], np.minimum(table.samples[clips], 10 * RATE), minlength=3)
    assert seconds / seconds.sum() == pytest.approx([0.3, 0.5, 0.2], abs=0.01)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shares": {"a": 1.0}}, "shares.a must be above 0 and below 1, but is 1.0"),
        ({"shares": {"a": 0.5, "b": 0.5}}, "shares must leave something to the other corpora, but add up to 1"),
        ({"shares": {"a": 0.5}, "weights": {"a": 2.0}}, "a has a weight and a share; give one of the two"),
        ({"shares": {"d": 0.5}}, "shares names the corpus 'd', but the shards hold a, b, c"),
        ({"shares": {"a": 0.5}}, "the other corpora hold none"),
        ({"shares": {"b": 0.5}}, "a corpus with a share has no clips to train on"),
    ],
)
def test_shares_that_no_plan_can_keep_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        training_epoch(table_of([3.0]), BatchSettings(**settings), 0, 0)


def test_large_sets_are_shuffled_in_windows_of_whole_shards(monkeypatch):
    monkeypatch.setattr(plan_module, "WINDOW", 50)
    table = table_of([3.0] * 400, per_shard=10)
    batches = training_epoch(table, BatchSettings(batch_seconds=15, max_seconds=3), 0, 0)
    order = flat(batches)
    assert sorted(order) == list(range(400))
    windows = [set(table.shard[order[start : start + 50]]) for start in range(0, 400, 50)]
    assert all(len(window) == 5 for window in windows)
    assert order[:50] != sorted(order[:50])


def test_hand_computed_joining_tiling_and_shares():
    table = table_of([1.5, 1.5, 4.05])
    joined = training_epoch(table, BatchSettings(batch_seconds=10, max_ratio=2), 0, 0)
    # 1.5 + 1.5 = 3.0 s and 4.05 -> 4.0 s: within ratio 2, so both are cropped to 3.0 s: 7.05 s drawn, 6 s kept.
    assert [batch.lengths.tolist() for batch in joined] == [[48_000, 48_000]]
    assert share(joined, table).cropped == pytest.approx(1.05 / 7.05)
    tiled = training_epoch(table, BatchSettings(batch_seconds=10, max_ratio=1, short="tile"), 0, 0)
    assert sorted(batch.lengths.tolist() for batch in tiled) == [[32_000, 32_000], [64_000]]
    assert share(tiled, table).repeated == pytest.approx(1.0 / 7.05)
    padded = training_epoch(table, BatchSettings(batch_seconds=10, max_ratio=2, fit="pad"), 0, 0)
    assert share(padded, table).padded == pytest.approx(1 / 8)


@given(tables, batch_settings)
def test_validation_is_every_clip_once_in_batches_of_one_corpus(table, settings):
    batches = validation_epoch(table, settings, 0)
    assert sorted(flat([batch for _, batch in batches])) == list(range(len(table.samples)))
    for corpus, batch in batches:
        assert {table.corpora[table.corpus[clip]] for clip in flat([batch])} == {corpus}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_seconds": 0.1}, "min_seconds must be at least 0.2, but is 0.1"),
        ({"max_seconds": 1.0}, r"max_seconds must be at least min_seconds \(2.0\), but is 1.0"),
        ({"batch_seconds": 5.0}, r"batch_seconds must hold one row of max_seconds \(10.0\), but is 5.0"),
        # Rows have whole tenths of a second: 9.97 s are 10.
        (
            {"batch_seconds": 9.97, "max_seconds": 9.97},
            r"batch_seconds must hold one row of max_seconds \(9.97\), but is 9.97",
        ),
        ({"batches_per_step": 0}, "batches_per_step must be at least 1"),
        ({"batch_rows": 0}, "batch_rows must be at least 1, but is 0"),
        ({"max_ratio": 0.5}, "max_ratio must be at least 1"),
        ({"weights": {"a": -1.0}}, "weights.a must be at least 0"),
    ],
)
def test_settings_without_a_plan_are_refused(values, message):
    with pytest.raises(UserError, match=message):
        BatchSettings(**values)


def test_weights_of_unknown_corpora_and_empty_draws_are_refused():
    with pytest.raises(UserError, match="weights names the corpus 'd', but the shards hold a, b, c"):
        training_epoch(table_of([3.0]), BatchSettings(weights={"d": 1.0}), 0, 0)
    with pytest.raises(UserError, match="epoch 0 drew no clips"):
        training_epoch(table_of([3.0]), BatchSettings(weights={"a": 0.0}), 0, 0)
