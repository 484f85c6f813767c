from hypothesis import given
from hypothesis import strategies as st

from nonverbal.tasks.groups import connected, units

NAMES = st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=8, max_size=8)


def test_what_shares_a_name_is_together() -> None:
    speakers = ["s", "t", "s", None, None, "u"]
    recordings = ["1", "2", "3", "2", None, "4"]
    assert connected(speakers).tolist() == [0, 1, 0, 2, 3, 4]
    assert connected(speakers, recordings).tolist() == [0, 1, 0, 1, 2, 3]
    # The same text is another name in another column.
    assert connected(["1", "2"], ["2", "3"]).tolist() == [0, 1]


@given(NAMES, NAMES)
def test_nothing_else_is_together(one: list[str | None], other: list[str | None]) -> None:
    """Against the transitive closure, pair by pair."""
    together = [
        [i == j or any(c[i] is not None and c[i] == c[j] for c in (one, other)) for j in range(8)] for i in range(8)
    ]
    for k in range(8):
        together = [[together[i][j] or (together[i][k] and together[k][j]) for j in range(8)] for i in range(8)]
    numbers = connected(one, other).tolist()
    assert [[a == b for b in numbers] for a in numbers] == together


def test_units_are_speakers_where_they_are_known() -> None:
    numbers, name = units(list("abcd"), list("sstt"), list("1234"))
    assert (numbers.tolist(), name) == ([0, 0, 1, 1], "speakers")
    numbers, name = units(list("abcd"), [None] * 4, list("1123"))
    assert (numbers.tolist(), name) == ([0, 0, 1, 2], "recordings")
