"""Rows of whole clips: which samples each holds, worked out by hand."""

import numpy as np
import pytest

from nonverbal.batch import Piece
from nonverbal.data.batching.clip_rows import ClipRow, RowLimits

CLIP = [Piece(0, 7, 0, 100), Piece(0, 3, 0, 50), Piece(0, 4, 0, 30)]
"""180 samples in three parts."""


@pytest.mark.parametrize(
    ("longest", "speed", "crop", "expected"),
    [
        # Whole, at any speed: 180 / 1.5 and 180 / 0.75 samples.
        (180, 1.0, 0.9, ClipRow(CLIP, 180, 180)),
        (180, 1.5, 0.9, ClipRow(CLIP, 120, 120)),
        (240, 0.75, 0.9, ClipRow(CLIP, 240, 240)),
        # 60 from one of 121 places: the first, the 61st and the last.
        (60, 1.0, 0.0, ClipRow([Piece(0, 7, 0, 60)], 60, 60)),
        (60, 1.0, 0.5, ClipRow([Piece(0, 7, 60, 100), Piece(0, 3, 0, 20)], 60, 60)),
        (60, 1.0, 0.999, ClipRow([Piece(0, 3, 20, 50), Piece(0, 4, 0, 30)], 60, 60)),
        # Twice as fast, 60 are 120 of the clip, from one of 61 places: the 31st.
        (60, 2.0, 0.5, ClipRow([Piece(0, 7, 30, 100), Piece(0, 3, 0, 50)], 60, 60)),
        # Half as fast, 60 are 30 of the clip, from one of 151 places: the last.
        (60, 0.5, 0.999, ClipRow([Piece(0, 4, 0, 30)], 60, 60)),
        # Three times as fast, it is no longer too long.
        (60, 3.0, 0.5, ClipRow(CLIP, 60, 60)),
        # Nine times as fast, it is shorter than the shortest row.
        (60, 9.0, 0.5, ClipRow(CLIP, 20, 40)),
    ],
)
def test_a_row_of_training_by_hand(longest, speed, crop, expected):
    assert RowLimits(40, longest).row(CLIP, speed, crop) == expected


@pytest.mark.parametrize("crop", [0.0, 0.999])
def test_rows_of_one_length_hold_the_beginning(crop):
    limits = RowLimits(120, 120, first=True)
    beginning = [Piece(0, 7, 0, 100), Piece(0, 3, 0, 20)]
    assert limits.row(CLIP, 1.0, crop) == ClipRow(beginning, 120, 120)
    assert limits.windows(CLIP) == [ClipRow(beginning, 120, 120)]
    assert limits.row(CLIP[1:], 1.0, crop) == ClipRow(CLIP[1:], 80, 120)
    assert limits.windows(CLIP[1:]) == [ClipRow(CLIP[1:], 80, 120)]
    # Twice as fast, all of it is heard.
    assert limits.row(CLIP, 2.0, crop) == ClipRow(CLIP, 90, 120)


def test_windows_by_hand():
    assert RowLimits(10, 70).windows(CLIP) == [
        ClipRow([Piece(0, 7, 0, 60)], 60, 60),
        ClipRow([Piece(0, 7, 60, 100), Piece(0, 3, 0, 20)], 60, 60),
        ClipRow([Piece(0, 3, 20, 50), Piece(0, 4, 0, 30)], 60, 60),
    ]
    assert RowLimits(200, 300).windows(CLIP) == [ClipRow(CLIP, 180, 200)]


def test_lengths_of_rows_are_known_of_all_clips_at_once():
    limits, samples = RowLimits(40, 60), np.array([1, 39, 40, 50, 60, 61, 900])
    rows = [limits.row([Piece(0, 0, 0, own)], 1.0, 0.5).length for own in samples.tolist()]
    assert limits.lengths(samples).tolist() == rows == [40, 40, 40, 50, 60, 60, 60]
