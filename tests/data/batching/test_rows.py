"""What rows are made of: pieces of joined, cropped and repeated clips, and their samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nonverbal.batch import Piece
from nonverbal.data.batching.epochs import ClipTable, clip_table
from nonverbal.data.batching.micro_batches import MicroBatch
from nonverbal.data.batching.rows import row_samples, rows_of


def table_of(folders, parts, samples):
    columns = [np.array(column) for column in (folders, parts, [0] * len(parts), samples, [0] * len(parts))]
    return ClipTable(*columns, corpora=["a"])


THREE = table_of([0, 1, 0], [7, 8, 9], [100, 50, 30])
"""Clips 0, 1 and 2: parts 7 and 9 of the first folder, 8 of the second."""


@pytest.mark.parametrize(
    ("clips", "length", "crop", "expected"),
    [
        # Whole; and cropped to 60 of its 100 samples, from one of 41 places.
        ([0], 100, 0.5, [(0, 7, 0, 100)]),
        ([0], 60, 0.0, [(0, 7, 0, 60)]),
        ([0], 60, 0.5, [(0, 7, 20, 80)]),
        ([0], 60, 0.999, [(0, 7, 40, 100)]),
        # 180 samples joined, whole; and cropped to 120 from one of 61 places: the 31st and the last.
        ([0, 1, 2], 180, 0.5, [(0, 7, 0, 100), (1, 8, 0, 50), (0, 9, 0, 30)]),
        ([0, 1, 2], 120, 0.5, [(0, 7, 30, 100), (1, 8, 0, 50), (0, 9, 0, 0)]),
        ([2, 1, 0], 120, 0.999, [(0, 9, 30, 30), (1, 8, 30, 50), (0, 7, 0, 100)]),
        # Too short together: whole, to be repeated.
        ([1, 2], 200, 0.9, [(1, 8, 0, 50), (0, 9, 0, 30)]),
    ],
)
def test_pieces_by_hand(clips, length, crop, expected):
    rows = rows_of(MicroBatch([np.array(clips)], np.array([length])), THREE, np.array([crop]))
    assert rows.lengths.dtype == np.int64
    assert rows.lengths.tolist() == [length]
    assert rows.pieces == [[Piece(*piece) for piece in expected]]


@pytest.fixture(scope="module")
def shards(module_shards):
    return module_shards([("a", seconds, "train") for seconds in (0.31, 0.2, 0.077, 0.5)])


@given(data=st.data())
def test_pieces_joined_and_repeated_are_the_row(shards, data):
    """Against the whole clips, joined, repeated and cut out in one go."""
    table = clip_table([shards], "train")
    clips = np.array(data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4)))
    length = data.draw(st.integers(1, 20_000))
    crop = data.draw(st.floats(0, 1, exclude_max=True))
    rows = rows_of(MicroBatch([clips], np.array([length])), table, np.array([crop]))
    (pieces,) = rows.pieces
    whole = np.concatenate([shards.read(int(table.row[clip]), dtype="int16") for clip in clips])
    first = int(crop * (max(len(whole) - length, 0) + 1))
    expected = np.tile(whole, length // len(whole) + 2)[first : first + length]
    held = np.concatenate([shards.read(p.part, p.start, p.stop, "int16") for p in pieces if p.start < p.stop])
    assert len(held) == min(length, len(whole))
    assert np.array_equal(np.resize(held, length), expected)
    assert [piece.part for piece in pieces] == table.row[clips].tolist()
    start = data.draw(st.integers(0, length))
    part = slice(start, data.draw(st.integers(start, length)))
    assert np.array_equal(row_samples([shards], pieces, length, part), expected[part])


def test_pieces_that_a_part_of_a_row_does_not_reach_are_not_read(shards, monkeypatch):
    read = []
    monkeypatch.setattr(type(shards), "read", lambda self, *piece: read.append(piece) or np.zeros(piece[2] - piece[1]))
    pieces = [Piece(0, 0, 100, 200), Piece(0, 1, 50, 50), Piece(0, 2, 0, 300)]
    row_samples([shards], pieces, 400, slice(0, 100))
    row_samples([shards], pieces, 400, slice(90, 110))
    assert read == [(0, 100, 200, "int16"), (0, 190, 200, "int16"), (2, 0, 10, "int16")]
