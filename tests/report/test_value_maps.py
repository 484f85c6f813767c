"""Maps of values: shades, numbers, what they mean; attention, learned weights, UAR by layer and CKA drawn."""

from xml.etree import ElementTree

import pytest
from made_analyses import attention, layers
from report_inputs import HOSTILE

from nonverbal.report.analyses import drawings
from nonverbal.report.drawing import SERIES, Box, Dot, Drawing, Line, Words, svg
from nonverbal.report.value_maps import DARKEST, LIGHTEST, Axis, Shades, contrast, value_map

SHADES = Shades("ink", 0.0, 2.0, "metres")


def drawn(values: list[list[float | None]]) -> Drawing:
    columns = [str(place) for place in range(len(values[0]))]
    rows = [f"row {place}" for place in range(len(values))]
    return value_map("x", "title", Axis("of rows", rows), Axis("of columns", columns), values, SHADES)


def cells(drawing: Drawing) -> dict[str, Box]:
    return {mark.title: mark for mark in drawing.marks if isinstance(mark, Box) and mark.title}


def test_shades_rise_with_values() -> None:
    drawing = drawn([[0.0, 1.0, None], [2.0, 3.0, -1.0]])
    found = {title.split(": ")[1]: box.opacity for title, box in cells(drawing).items()}
    middle = pytest.approx((LIGHTEST + DARKEST) / 2)
    assert found == {".000": LIGHTEST, "1.000": middle, "2.000": DARKEST, "3.000": DARKEST, "-1.000": LIGHTEST}
    # What is not known is left empty, and all places have room of their own.
    places = {(box.x, box.y) for box in cells(drawing).values()}
    assert len(places) == 5
    assert "of rows row 0, of columns 1: 1.000" in cells(drawing)
    assert "metres" in drawing.description
    assert "of rows row 1: -1.000 (2) to 3.000 (1)" in drawing.description


def test_numbers_can_be_read_on_their_shades_and_stay_on_the_sheet() -> None:
    for width in (3, 25):
        drawing = drawn([[2 * place / (width - 1) for place in range(width)]])
        numbers = [mark for mark in drawing.marks if isinstance(mark, Words) and mark.title.startswith("of rows")]
        assert len(numbers) == width
        assert [mark.role for mark in numbers] == sorted((mark.role for mark in numbers), key="ink paper".index)
        assert all(0 <= mark.x <= drawing.width and 0 <= mark.y <= drawing.height for mark in numbers)
        assert {mark.role for mark in numbers} == {"ink", "paper"}
        shades = [mark for mark in drawing.marks if isinstance(mark, Box) and mark.title.startswith("of rows")]
        for number, box in zip(numbers, shades, strict=True):
            assert contrast(number.role, box.role, box.opacity) > 3.9


def test_contrast_is_that_of_the_wcag() -> None:
    assert contrast("paper", "paper", 1) == 1
    # #1f2428 has a luminance of .01706, worked out by hand: (1 + .05) / (.01706 + .05).
    assert contrast("ink", "paper", 1) == pytest.approx(15.657, abs=0.005)


def test_equal_bounds_are_one_shade() -> None:
    drawing = value_map("x", "t", Axis("r", ["a"]), Axis("c", ["b"]), [[0.0]], Shades("ink", 0.0, 0.0, "m"))
    assert next(iter(cells(drawing).values())).opacity == LIGHTEST


def test_attention_has_its_last_layer_above() -> None:
    made = attention()
    drawing, other = drawings(made, "attention")
    boxes = cells(drawing)
    assert list(boxes) == [
        f"layer {layer}, head {head}: {value}; rows half a clip apart {away}"
        for layer, head, value, away in [
            (2, 1, ".300", ".700"), (2, 2, ".400", ".800"), (1, 1, ".100", ".500"), (1, 2, ".200", ".600"),
        ]
    ]  # fmt: skip
    heights = [box.y for box in boxes.values()]
    assert heights[0] == heights[1] < heights[2] == heights[3]
    assert "Bhattacharyya distance (1: a row on one frame against a uniform row)" in drawing.description
    assert HOSTILE not in svg(drawing, alone=True)
    ElementTree.fromstring(svg(drawing, alone=True))
    # The darkest of one map is as far as that of another.
    darkest, middle = (max(box.opacity for box in cells(one).values()) for one in (drawing, other))
    assert darkest == DARKEST
    assert middle == pytest.approx((LIGHTEST + DARKEST) / 2)
    said = made.summary()
    assert f"b attends at a mean distance of .250 from {HOSTILE}" in said
    assert "most in layer 2: .350, least in layer 1: .150 [.100, .200]." in said
    assert "75% of the pairs have the same number (50% by chance).\nc attends" in said
    table, _ = made.tables()
    assert table.rows[0] == ["1", ".150", "[.100, .200]", ".100", ".200", ".550", "100%"]
    assert "9 clips with 300 rows per head; 1 of one frame left out; held out" in table.notes


def test_weights_are_a_grey_map_with_a_row_a_model() -> None:
    grey, *_ = drawings(layers(), "layers")
    boxes = cells(grey)
    assert {box.role for box in boxes.values()} == {"ink"}
    by_place = {title.split(":")[0]: box for title, box in boxes.items() if title.startswith("model x")}
    assert list(by_place) == ["model x, layer 1", "model x, layer 2"]
    # Layers stand below each other, whichever the first weight is of.
    other = next(
        box for title, box in boxes.items() if title.endswith("layer 1: .500; ± .000 over 3 folds of 1 corpus")
    )
    assert other.x == by_place["model x, layer 1"].x
    assert HOSTILE not in svg(grey, alone=True)


def test_uar_by_layer_has_a_line_a_model_and_chance() -> None:
    _, first, second, _ = drawings(layers(), "layers")
    # No more lines on a chart than there are colours.
    lines = [[mark for mark in chart.marks if isinstance(mark, Line) and mark.width == 2] for chart in (first, second)]
    assert list(map(len, lines)) == [len(SERIES), 1]
    dots = [mark for mark in first.marks if isinstance(mark, Dot)][:2]
    assert dots[0].radius < dots[1].radius
    assert (dots[1].x, dots[1].y) == lines[0][0].points[1]
    assert dots[1].title == "model 0, logistic, layer 1: .500 ± .100, chosen in 2 of 3 folds"
    assert "chance .250" in first.description
    assert first.name != second.name


def test_cka_has_layer_0_in_the_lower_left_corner() -> None:
    chart = drawings(layers(), "layers")[-1]
    boxes = cells(chart)
    assert list(boxes) == [
        "layer of a 1, layer of b 1: .800", "layer of a 0, layer of b 0: .900", "layer of a 0, layer of b 1: -.100",
    ]  # fmt: skip
    corner = boxes["layer of a 0, layer of b 0: .900"]
    assert corner.x == min(box.x for box in boxes.values())
    assert corner.y == max(box.y for box in boxes.values())
