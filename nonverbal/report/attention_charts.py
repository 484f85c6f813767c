"""The drawing of how far apart two encoders attend: layers by heads."""

from nonverbal.evaluation.analyses.attention import UNITS, Attention
from nonverbal.evaluation.tables import short
from nonverbal.report.drawing import Drawing
from nonverbal.report.value_maps import Axis, Shades, value_map


def attention_drawings(made: Attention, anchor: str) -> list[Drawing]:
    """Draw distances by layer and head, the last layer above, as the recovery paper does."""
    layers = list(reversed(list(enumerate(made.layers, 1))))
    heads = [str(head + 1) for head in range(len(made.layers[0].distances))]
    values = [layer.distances for _, layer in layers]
    notes = [[f"rows half a clip apart {short(value)}" for value in layer.elsewhere] for _, layer in layers]
    high = max(max(row) for row in values)
    first, second = made.encoders
    return [
        value_map(
            f"{anchor}-heads",
            f"{first} and {second}",
            Axis("layer", [str(number) for number, _ in layers]),
            Axis("head", heads),
            values,
            Shades("accent", 0.0, high, f"Bhattacharyya distance ({UNITS[made.normalise]})"),
            notes,
        )
    ]
