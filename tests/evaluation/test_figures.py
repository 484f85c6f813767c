import dataclasses
from pathlib import Path

import numpy as np
import pytest

from nonverbal.evaluation.figures import plot_layers, plot_probes
from nonverbal.tasks.scores import Score


def _pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    pixels: np.ndarray = imread(path)[..., :3]
    return pixels


def _contains(path: Path, colour: tuple[int, int, int]) -> bool:
    return bool((np.abs(_pixels(path) * 255 - colour).max(-1) < 3).sum() > 30)


def _score(model: str, fold: int, uar: float, protocol: str = "speaker-disjoint 5-fold, stratified") -> Score:
    metrics = {"uar": uar, "accuracy": uar, "f1": uar}
    chosen: dict[str, float | str] = {"layer": 1, "C": 0.1}
    return Score(
        model,
        "key",
        "corpus",
        "sha",
        list("abcdef"),
        protocol,
        "linear",
        0,
        str(fold),
        metrics,
        chosen,
        8,
        2,
        6,
        "held out",
        "f",
    )


def test_names_may_hold_what_matplotlib_takes_for_mathematics(tmp_path: Path) -> None:
    plot_probes([_score("a$x_{$ b\u2028c", 0, 0.5)], tmp_path / "probes.png")
    assert _contains(tmp_path / "probes.png", (0, 0, 0))


def test_probe_results_are_drawn_with_spread_and_chance(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    means = {"logmel": 0.7, "initialised": 0.5, "runs/first/encoder": 0.8}
    scores = [_score(model, i, mean + random.normal() / 30) for model, mean in means.items() for i in range(5)]
    plot_probes(scores, tmp_path / "probes.png")
    assert _contains(tmp_path / "probes.png", (0x77, 0x77, 0x77))
    assert _contains(tmp_path / "probes.png", (0, 0, 0))


def test_two_protocols_are_not_drawn_together(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="of one protocol"):
        plot_probes([_score("a", 0, 0.5), _score("a", 0, 0.5, "leave one speaker out")], tmp_path / "probes.png")


def _curves(**curves: list[list[float]]) -> list[Score]:
    """One score a fold of each model, with its inner UAR by layer."""
    return [
        dataclasses.replace(_score(model, fold, 0.5), inner_uar=curve)
        for model, folds in curves.items()
        for fold, curve in enumerate(folds)
    ]


def test_layer_curves_are_means_over_folds_with_marks_where_a_layer_was_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr("nonverbal.evaluation.figures.save", lambda canvas, _: drawn.append(canvas.axes[0]))
    scores = _curves(first=[[0.2, 0.6, 0.5], [0.4, 0.5, 0.7], [0.3, 0.7, 0.6]], logmel=[[0.5]] * 3)
    assert plot_layers(scores, tmp_path / "layers.png")
    curve, chance = drawn[0].get_lines()
    np.testing.assert_allclose(curve.get_ydata(), [0.3, 0.6, 0.6])
    assert curve.get_label() == "first (mean ± population std over 3 folds)"
    assert chance.get_ydata()[0] == 1 / 6
    band, marks = drawn[0].collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(0.3 - np.std([0.2, 0.4, 0.3]))
    np.testing.assert_allclose(marks.get_offsets(), [(1, 0.6), (2, 0.6)])
    assert marks.get_sizes()[0] == 2 * marks.get_sizes()[1]


def test_layer_curves_are_drawn_to_a_file_where_there_are_some(tmp_path: Path) -> None:
    assert plot_layers(_curves(x=[[0.2, 0.6], [0.1, 0.5]]), tmp_path / "layers.png")
    assert _contains(tmp_path / "layers.png", (0x1F, 0x77, 0xB4))
    # Log-mel bands have one layer, and old rows no curve.
    assert not plot_layers([*_curves(logmel=[[0.5]]), _score("old", 0, 0.5)], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_layers_of_two_protocols_are_not_drawn_together(tmp_path: Path) -> None:
    two = [*_curves(a=[[0.2, 0.6]]), dataclasses.replace(_curves(b=[[0.2, 0.6]])[0], protocol="leave one speaker out")]
    with pytest.raises(ValueError, match="of one protocol"):
        plot_layers(two, tmp_path / "layers.png")
