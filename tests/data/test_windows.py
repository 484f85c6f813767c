"""Equal windows of long clips."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nonverbal.data.windows import equal_windows


@given(st.integers(0, 5000), st.integers(1, 600))
def test_windows_are_the_fewest_equal_ones(samples, longest):
    found = equal_windows(samples, longest)
    count = max(-(-samples // longest), 1)
    expected = np.array_split(np.arange(samples), count)
    assert [list(range(samples))[window] for window in found] == [own.tolist() for own in expected]
    assert all(window.stop - window.start <= longest for window in found)


def test_without_a_limit_a_clip_is_one_window():
    assert equal_windows(7, None) == [slice(0, 7)]
