"""Drawings as SVG and PNG, and the axes they have."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from nonverbal.report.axes import Scale, around, label, ticks
from nonverbal.report.drawing import LIGHT, Area, Box, Dot, Drawing, Line, Words, png, shortened, svg

HOSTILE = '<script>alert("x")</script>&\x00\x1b'


def everything(text: str) -> Drawing:
    marks = [
        Line([(0, 0), (10, 5)], "grid", dashes="4 3"),
        Area([(0, 0), (10, 0), (5, 9)]),
        Dot(5, 5, 3, title=text),
        Box(20, 20, 60, 40, title=text),
        Words(8, 8, text, title=f"{text}!"),
        Words(8, 8, text, turned=True, anchor="end", bold=True),
    ]
    return Drawing("name", text, text, 100, 80, marks)


@pytest.mark.parametrize("alone", [False, True])
def test_texts_stay_texts(alone: bool) -> None:
    root = ElementTree.fromstring(svg(everything(HOSTILE), alone))
    names = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert "script" not in names
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert texts[-1] == '<script>alert("x")</script>&\\x00\\x1b'
    assert root.get("aria-label") == texts[-1]


def test_a_file_has_its_colours_and_a_part_of_a_page_has_none() -> None:
    assert all(colour in svg(everything("x"), alone=True) for colour in LIGHT.values())
    assert not any(colour in svg(everything("x")) for colour in LIGHT.values())


def test_png_is_what_svg_says(tmp_path: Path) -> None:
    from matplotlib.image import imread

    png(everything("a$b$"), tmp_path / "x.png", scale=2)
    image = imread(tmp_path / "x.png")
    assert image.shape[:2] == (160, 200)
    rgb = [int(LIGHT["accent"][place : place + 2], 16) / 255 for place in (1, 3, 5)]
    # The middle of the box, and a corner where nothing is.
    np.testing.assert_allclose(image[2 * 40, 2 * 50, :3], rgb, atol=0.01)
    np.testing.assert_allclose(image[-1, -1, :3], 1)
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_long_names_still_tell_models_apart() -> None:
    assert shortened("short") == "short"
    assert len(shortened("x" * 100, 34)) == 34
    assert shortened("/data/studies/small/pretrain/encoder, logistic") == "…/pretrain/encoder, logistic"
    assert shortened("initialised:/data/studies/small/pretrain/encoder", 34) == "initialised:…/pretrain/encoder"
    alike = "/data/studies/small/pretrain/encoder, concat:epochs=10"
    names = {shortened(f"{first}{alike}") for first in ("", "initialised:", "logmel + ", "logmel + initialised:")}
    assert len(names) == 4


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0.47, 0.83, [0.5, 0.6, 0.7, 0.8]),
        (-30, 4000, [0, 1000, 2000, 3000, 4000]),
        (0, 3e-5, [0, 1e-5, 2e-5, 3e-5]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    np.testing.assert_allclose(ticks(low, high), expected, atol=1e-12)


def test_bounds_lie_around_values() -> None:
    assert around([0, 10], from_zero=True) == (0, 10.5)
    assert around([-1, 1], from_zero=True) == pytest.approx((-1.1, 1.1))
    assert around([5, 5]) == pytest.approx((4.75, 5.25))
    assert around([0, 0]) == (-0.5, 0.5)
    assert Scale(0, 2, 100, 0)(0.5) == 75


def test_labels_are_short() -> None:
    assert [label(value) for value in (0, 0.2, 1000, 5e-4, 2e6, 0.1 + 0.2)] == [
        "0",
        "0.2",
        "1000",
        "5e-4",
        "2e6",
        "0.3",
    ]
