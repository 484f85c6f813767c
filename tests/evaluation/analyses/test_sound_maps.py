"""Maps of sounds, against what can be counted by hand and against noise."""

import json
from pathlib import Path

import numpy as np
import pytest

from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.base import read_as, write_analysis
from nonverbal.evaluation.analyses.maps import NEIGHBOURS, SoundMap, kept_share, places_of, same_share


def made(**changes: object) -> SoundMap:
    columns = {"clips": ["a", "b"], "labels": ["x", None], "speakers": [None, None], "x": [0.0, 1.0], "y": [2.0, 3.0]}
    facts = {"model": "m", "model_key": "k", "layer": 1, "held_out": "h", "data_sha256": "d", "neighbours": 10}
    return SoundMap(**facts, kept=0.5, kept_by_chance=0.1, same_class=None, **(columns | changes))  # type: ignore[arg-type]


def test_two_clouds_come_apart_and_neighbours_are_kept() -> None:
    random = np.random.default_rng(0)
    cloud = random.normal(size=(40, 8)) + 20 * (np.arange(40) % 2)[:, None]
    places, original = places_of(cloud, 0)
    assert places.shape == (40, 2)
    centres = [places[first::2].mean(0) for first in (0, 1)]
    spread = max(places[first::2].std() for first in (0, 1))
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * spread
    assert same_share(original, ["a", "b"] * 20) == 1
    assert kept_share(original, places) > 2 * NEIGHBOURS / 39
    np.testing.assert_array_equal(places_of(cloud, 0)[0], places)


def test_neighbours_are_counted() -> None:
    line = np.arange(2000.0)[:, None]
    assert kept_share(line, -3 * line) == 1
    shuffled = np.random.default_rng(0).permutation(2000)[:, None].astype(float)
    assert kept_share(line, shuffled) == pytest.approx(NEIGHBOURS / 1999, abs=0.003)
    # Points far apart in groups of 11: each has the 10 others of its own. Half of the elevens are torn apart.
    elevens = np.repeat(np.arange(4) * 1000.0, 11)[:, None] + np.tile(np.arange(11.0), 4)[:, None]
    torn = elevens.copy()
    torn[:22] = np.arange(22)[:, None] * 1e6
    assert kept_share(elevens, elevens) == 1
    assert 0.5 < kept_share(elevens, torn) < 0.9


def test_labels_of_neighbours_are_counted() -> None:
    # Two elevens: in the first all others have a clip's label, in the second 5 of 10 or, of the other label, 4 of 10.
    elevens = np.repeat([0.0, 1000.0], 11)[:, None] + np.tile(np.arange(11.0), 2)[:, None]
    labels = ["a"] * 11 + ["a", "b"] * 5 + ["a"]
    assert same_share(elevens, labels) == pytest.approx((11 * 1 + 6 * 0.5 + 5 * 0.4) / 22)
    # Who has no label is asked nothing, and has nobody's.
    assert same_share(elevens, ["a"] * 10 + [None] * 12) == pytest.approx(0.9)
    assert same_share(elevens, [None] * 22) is None


def test_few_clips_are_refused() -> None:
    with pytest.raises(UserError, match="at least 12 clips, but here are 11"):
        places_of(np.zeros((11, 3)), 0)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_analysis(tmp_path / "m.map.json", made())
    assert read_as(SoundMap, tmp_path / "m.map.json") == made()


@pytest.mark.parametrize(
    "changes",
    [{"x": [0.0]}, {"x": [0.0, float("nan")]}, {"clips": [1, 2]}, {"labels": [3, None]}, {"layer": "1"}, {"more": 1}],
)
def test_other_files_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    write_analysis(tmp_path / "m.map.json", made())
    content = json.loads((tmp_path / "m.map.json").read_text())
    (tmp_path / "m.map.json").write_text(json.dumps(content | changes))
    with pytest.raises(UserError, match="m.map.json does not contain what its name says .*analyze map"):
        read_as(SoundMap, tmp_path / "m.map.json")
