"""Drawings of layers: learned weights as a grey map, UAR by layer as lines, CKA of two encoders as a map."""

from collections.abc import Sequence

from nonverbal.evaluation.analyses.layer_parts import Curve, Likeness, Weights, by_task
from nonverbal.evaluation.analyses.layers import Layers
from nonverbal.evaluation.tables import short
from nonverbal.report.axes import Scale, around, axis_names, frame, ticks
from nonverbal.report.drawing import SERIES, Dot, Drawing, Line, Mark, Words, shortened
from nonverbal.report.value_maps import Axis, Shades, value_map


def layers_drawings(made: Layers, anchor: str) -> list[Drawing]:
    """Draw weights, UAR by layer, and CKA, as far as there are any."""
    drawn = [weights_map(f"{anchor}-weights", made.weights)] if made.weights else []
    number = 0
    for task in by_task(made.curves):
        for start in range(0, len(task), len(SERIES)):
            drawn.append(curves_chart(f"{anchor}-uar-{number}", task[start : start + len(SERIES)]))
            number += 1
    return [*drawn, cka_chart(f"{anchor}-cka", made.likeness)] if made.likeness is not None else drawn


def weights_map(name: str, rows: Sequence[Weights]) -> Drawing:
    """Draw learned weights as a grey map with one row per model, as means over corpora."""
    layers = range(min(row.first_layer for row in rows), max(row.last_layer for row in rows) + 1)
    values = [[row.of(layer) for layer in layers] for row in rows]
    high = max(max(row.mean) for row in rows)
    notes = [[_note(row, layer) for layer in layers] for row in rows]
    heads = len({row.head for row in rows}) > 1
    return value_map(
        name,
        "Learned weights of layers",
        Axis("model", [row.name if heads else row.model for row in rows]),
        Axis("layer", [str(layer) for layer in layers]),
        values,
        Shades("ink", 0.0, high, "weight, mean over corpora; a row sums to 1"),
        notes,
    )


def _note(row: Weights, layer: int) -> str:
    if row.of(layer) is None:
        return ""
    corpora = len(row.corpora)
    spread = short(row.std[layer - row.first_layer])
    return f"± {spread} over {row.folds} folds of {corpora} {'corpus' if corpora == 1 else 'corpora'}"


def curves_chart(name: str, curves: Sequence[Curve]) -> Drawing:
    """Draw UAR by layer for models of one task; dots mark chosen layers, and are larger for more folds."""
    first = curves[0]
    chance = 1 / first.classes
    width, height, left = 440.0, 280.0, 58.0
    every = [value for curve in curves for value in curve.mean]
    low, high = around([chance, *every])
    x = Scale(0, max(len(curve.mean) for curve in curves) - 1, left, width - 16)
    y = Scale(max(low, 0.0), min(high, 1.0), height - 46, 44)
    whole = [value for value in ticks(0, x.high, 6) if value == int(value)]
    marks: list[Mark] = frame(x, y, whole, ticks(y.low, y.high, 5))
    title = f"UAR by layer: {first.corpus}"
    marks.append(Words(8, 12, shortened(title, 60), "ink", 12.5, bold=True, title=title))
    marks.append(Words(8, 29, shortened(first.protocol, 70), "muted", 10.5, title=first.protocol))
    marks.append(Line([(x.start, y(chance)), (x.end, y(chance))], "muted", 1.2, "4 3"))
    for number, curve in enumerate(curves):
        marks += _curve(curve, f"series{number}", x, y)
        top = height + 8 + 18 * number
        marks.append(Line([(left, top), (left + 18, top)], f"series{number}", 2.2))
        marks.append(Words(left + 26, top, shortened(curve.name, 56), "ink", 11, title=curve.name))
    said = "layer (dots: chosen by folds; dashed: chance)"
    marks += axis_names(x, y, said, "UAR, inner folds")
    told = "; ".join(f"{curve.name}: {', '.join(map(short, curve.mean))}" for curve in curves)
    described = f"{title}, {first.protocol}, in the inner folds; chance {short(chance)}. {told}."
    return Drawing(name, title, described, width, height + 8 + 18 * len(curves), marks)


def _curve(curve: Curve, role: str, x: Scale, y: Scale) -> list[Mark]:
    marks: list[Mark] = [Line([(x(layer), y(value)) for layer, value in enumerate(curve.mean)], role, 2)]
    folds = sum(curve.chosen)
    for layer, count in enumerate(curve.chosen):
        if count:
            value, spread = curve.mean[layer], curve.std[layer]
            said = f"{curve.name}, layer {layer}: {short(value)} ± {short(spread)}, chosen in {count} of {folds} folds"
            marks.append(Dot(x(layer), y(value), 2.5 + 5 * (count / folds) ** 0.5, role, 0.9, said))
    return marks


def cka_chart(name: str, likeness: Likeness) -> Drawing:
    """Draw the CKA of each layer of one encoder with each layer of another; layer 0 of both is at the lower left."""
    first, second = likeness.encoders
    rows = list(reversed(list(enumerate(likeness.cka))))
    return value_map(
        name,
        f"CKA: {shortened(first, 26)} and {shortened(second, 26)}",
        Axis(f"layer of {shortened(first, 30)}", [str(layer) for layer, _ in rows]),
        Axis(f"layer of {shortened(second, 30)}", [str(layer) for layer in range(len(likeness.cka[0]))]),
        [row for _, row in rows],
        Shades("accent", 0.0, 1.0, "debiased linear CKA; 0: unrelated, 1: equivalent"),
    )
