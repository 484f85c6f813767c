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
