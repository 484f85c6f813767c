import pytest

from nonverbal.config import with_first, with_paths


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["runs/a b", "--seed", "1"], ["--source=runs/a b", "--seed", "1"]),
        # What stands behind it is left to the parser, which refuses it.
        (["x=y", "z"], ["--source=x=y", "z"]),
        (["--source", "x"], ["--source", "x"]),
        ([], []),
    ],
)
def test_a_leading_argument_gets_its_name(argv, expected):
    assert with_first(argv, "source") == expected


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["a", "b", "--json", "c"], ["--paths", "a", "b", "--json", "c"]),
        (["--json", "c"], ["--json", "c"]),
        ([], []),
    ],
)
def test_leading_paths_get_their_name(argv, expected):
    assert with_paths(argv) == expected
