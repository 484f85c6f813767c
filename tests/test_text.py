import pytest

from nonverbal.text import duration, size


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0 s"), (89.4, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h"), (360_000, "100 h")],
)
def test_times_are_as_a_person_reads_them(seconds, expected):
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(500, "0.5 kB"), (999.7e6, "1 GB"), (1.52e9, "1.52 GB"), (2e12, "2 TB")]
)
def test_sizes_are_as_a_person_reads_them(count, expected):
    assert size(count) == expected
