import json
from pathlib import Path

import numpy as np
import pytest

from nonverbal.curves import Panel, write_panels
from nonverbal.errors import UserError
from nonverbal.evaluation.plots import plot_training, read_metrics


def _rows() -> list[dict[str, object]]:
    steps = range(10, 2000, 10)
    train = [
        {
            "kind": "train",
            "step": s,
            "loss": 4.6 - s / 1000,
            "accuracy": 0.02 + s / 2e4,
            "chance": 0.02,
            "lr": 1e-3,
            "perplexity": s / 20,
        }
        for s in steps
    ]
    validation = [
        {"kind": "validation", "step": s, "loss": 4.7 - s / 1000, "accuracy": s / 2e4} for s in steps if s % 200 == 0
    ]
    return [*train, *validation]


def _write(path: Path, rows: list[dict[str, object]], tail: str = "") -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    return path


def _pixels(path: Path) -> np.ndarray:
    from matplotlib.image import imread

    pixels: np.ndarray = imread(path)[..., :3]
    return pixels


def _count(path: Path, colour: tuple[int, int, int]) -> int:
    return int((np.abs(_pixels(path) * 255 - colour).max(-1) < 3).sum())


def _contains(path: Path, colour: tuple[int, int, int]) -> bool:
    return _count(path, colour) > 30


def test_training_curves_show_train_and_validation(tmp_path: Path) -> None:
    rows = _rows()
    metrics = _write(tmp_path / "metrics.jsonl", rows, tail='{"kind": "train", "st')
    assert len(read_metrics(metrics)) == len(rows)
    plot_training(metrics, tmp_path / "both.png")
    plot_training(_write(tmp_path / "train.jsonl", [r for r in rows if r["kind"] == "train"]), tmp_path / "train.png")
    train, validation = (0x1F, 0x77, 0xB4), (0xD9, 0x5F, 0x02)
    assert _contains(tmp_path / "both.png", train)
    assert _contains(tmp_path / "both.png", validation)
    assert not _contains(tmp_path / "train.png", validation)


def test_a_metric_that_was_not_measured_has_no_panel(tmp_path: Path) -> None:
    rows = [{"kind": "train", "step": s, "loss": float(s)} for s in range(20)]
    plot_training(_write(tmp_path / "m.jsonl", rows), tmp_path / "one.png")
    plot_training(_write(tmp_path / "m.jsonl", _rows()), tmp_path / "four.png")
    assert _pixels(tmp_path / "four.png").shape[0] > 1.8 * _pixels(tmp_path / "one.png").shape[0]


def test_the_panels_are_those_that_the_run_names(tmp_path: Path) -> None:
    metrics = _write(tmp_path / "metrics.jsonl", _rows())
    plot_training(metrics, tmp_path / "all.png")
    for name, baseline in (("with", "chance"), ("without", None)):
        write_panels(tmp_path, [Panel("accuracy", "accuracy", baseline, "chance"), Panel("not measured", "nothing")])
        plot_training(metrics, tmp_path / f"{name}.png")
    assert (
        _count(tmp_path / "with.png", (0x77, 0x77, 0x77)) > _count(tmp_path / "without.png", (0x77, 0x77, 0x77)) + 100
    )
    assert _pixels(tmp_path / "with.png").shape[0] < 0.5 * _pixels(tmp_path / "all.png").shape[0]


def test_metrics_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the metrics .*No such file"):
        read_metrics(tmp_path / "metrics.jsonl")
    with pytest.raises(UserError, match=r"metrics.jsonl, line 1: not a JSON object"):
        read_metrics(_write(tmp_path / "metrics.jsonl", [], tail="{\n"))
    with pytest.raises(UserError, match="holds no row of training yet"):
        read_metrics(_write(tmp_path / "metrics.jsonl", [{"kind": "validation", "step": 1}]))


def test_rows_that_are_none_are_named(tmp_path: Path) -> None:
    for tail in ("[]\n", "{}\n", '{"kind": "train", "step": "1"}\n', f'{{"kind": "train", "step": 1{"0" * 400}}}\n'):
        with pytest.raises(UserError, match=r"metrics.jsonl, line 2: not a row of metrics: expected .* with a step"):
            read_metrics(_write(tmp_path / "metrics.jsonl", _rows()[:1], tail))


def test_where_nothing_was_measured_nothing_is_drawn(tmp_path: Path) -> None:
    """As where all steps before the first row of training were skipped."""
    metrics = _write(tmp_path / "metrics.jsonl", [{"kind": "train", "step": 10}])
    for _ in range(2):
        with pytest.raises(UserError, match=r"metrics.jsonl has nothing to plot"):
            plot_training(metrics, tmp_path / "none.png")
        write_panels(tmp_path, [Panel("loss", "loss")])
    for panels in ([], [Panel("kind", "kind")], [Panel("not measured", "nothing")]):
        write_panels(tmp_path, panels)
        with pytest.raises(UserError, match=r"has nothing to plot: .* of what .*curves.json names"):
            plot_training(_write(metrics, _rows()), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"metric": ["loss"], "label": "l"}]', "metric is list"),
        ('[{"metric": "loss", "label": "l", "baseline": ["lr"]}]', "baseline is list"),
        ('[{"metric": "loss", "label": null}]', "label is NoneType"),
        ('[{"metric": "loss", "label": "l", "from_zero": "no"}]', "from_zero is str"),
        ('[{"metric": "loss"}]', "missing 1 required positional argument"),
        ("{}", "it is not a list of objects"),
        ('["loss"]', "it is not a list of objects"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_panels_of_another_kind_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "curves.json").write_text(text)
    with pytest.raises(UserError, match=f"curves.json cannot be read .*{message}"):
        plot_training(_write(tmp_path / "metrics.jsonl", _rows()), tmp_path / "none.png")


def test_what_stands_in_a_label_is_drawn_as_it_is(tmp_path: Path) -> None:
    metrics = _write(tmp_path / "metrics.jsonl", _rows())
    write_panels(tmp_path, [Panel("accuracy", r"$\frac{$ \ud800", "chance", r"$\nothing$")])
    plot_training(metrics, tmp_path / "dollars.png")
    write_panels(tmp_path, [Panel("accuracy", "", "chance", "")])
    plot_training(metrics, tmp_path / "empty.png")
    assert (_pixels(tmp_path / "dollars.png") < 0.5).sum() > (_pixels(tmp_path / "empty.png") < 0.5).sum()


def test_without_panels_only_numbers_are_drawn(tmp_path: Path) -> None:
    rows = [{"kind": "train", "step": s, "loss": float(s)} for s in range(20)]
    plot_training(_write(tmp_path / "m.jsonl", rows), tmp_path / "loss.png")
    rows = [{**row, "note": "text", "list": [1], "large": 10**400, "switch": True} for row in rows]
    plot_training(_write(tmp_path / "m.jsonl", rows), tmp_path / "more.png")
    np.testing.assert_array_equal(_pixels(tmp_path / "more.png"), _pixels(tmp_path / "loss.png"))
