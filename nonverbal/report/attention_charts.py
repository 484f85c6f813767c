"""Drawings of distances between the attention of encoders: for each encoder a map of layers by heads."""

from nonverbal.evaluation.analyses.attention import UNITS, Attended, Attention
from nonverbal.evaluation.tables import short
from nonverbal.report.drawing import Drawing, shortened
from nonverbal.report.value_maps import Axis, Shades, value_map


def attention_drawings(made: Attention, anchor: str) -> list[Drawing]:
    """Draw distances by layer and head, with the last layer at the top; all maps have the same shades."""
    high = max(value for one in made.others for layer in one.layers for value in layer.distances)
    shades = Shades("accent", 0.0, high, f"Bhattacharyya distance ({UNITS[made.normalise]})")
    return [_map(f"{anchor}-heads-{number}", made.first, one, shades) for number, one in enumerate(made.others)]


def _map(name: str, first: str, one: Attended, shades: Shades) -> Drawing:
    layers = list(reversed(list(enumerate(one.layers, 1))))
    return value_map(
        name,
        f"{shortened(first, 26)} and {shortened(one.encoder, 26)}",
        Axis("layer", [str(number) for number, _ in layers]),
        Axis("head", [str(head + 1) for head in range(len(one.layers[0].distances))]),
        [layer.distances for _, layer in layers],
        shades,
        [[f"rows half a clip apart {short(value)}" for value in layer.elsewhere] for _, layer in layers],
    )
