"""``nonverbal analyze attention``: two tiny encoders, against plain loops over transformers' attentions."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from finetuned_runs import plant
from labelled_tones import tones
from tiny_encoders import save_random, save_tiny
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

from evaluate import analyze
from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.attention import Attention, AttentionSettings
from nonverbal.evaluation.analyses.base import write_analysis
from nonverbal.evaluation.analyses.kinds import read_analysis
from nonverbal.evaluation.encoders.models import ModelEncoder
from nonverbal.paths import PathOrName
from nonverbal.tasks.task import make_task

Make = Callable[..., ShardFolder]
LENGTHS = (6000, 4000, 1000, 500)


def noise(samples: int, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(samples) * 0.1).astype(np.float32)


@pytest.fixture
def shards(labelled_shards: Make) -> ShardFolder:
    """Clips of 18, 12, 2 and 1 frames; the first in two parts."""
    waves = [noise(samples, seed) for seed, samples in enumerate(LENGTHS)]
    parts = [[waves[0][:2500], waves[0][2500:]], *([wave] for wave in waves[1:])]
    return labelled_shards([("a", f"s{clip}", f"r{clip}", own) for clip, own in enumerate(parts)])


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    """Two encoders of the kind of wav2vec 2.0 base, whose heads prefer some frames; they differ in their queries."""
    model = Wav2Vec2Model.from_pretrained(save_tiny("wav2vec2 base", tmp_path / "drawn"))
    saved: list[str] = []
    for name in ("first", "second"):
        with torch.no_grad():
            for block in model.encoder.layers:
                weight = block.attention.q_proj.weight
                weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(saved)))
        saved.append(str(save(model, tmp_path / name)))
    return saved


def save(model: Wav2Vec2Model, folder: Path) -> Path:
    model.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
    return folder


def made(shards: ShardFolder, encoders: Sequence[str], tmp_path: Path, **options: Any) -> Attention:
    out = tmp_path / "x.attention.json"
    return Attention.make(
        AttentionSettings(data=shards.folder, encoders=list(map(PathOrName, encoders)), out=out, **options)
    )


def attentions(folder: str, wave: np.ndarray) -> list[list[list[list[float]]]]:
    """Layers, heads, rows, columns, by transformers."""
    model = Wav2Vec2Model.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.inference_mode():
        return [layer[0].tolist() for layer in model(torch.from_numpy(wave)[None], output_attentions=True).attentions]


def by_loops(
    shards: ShardFolder, two: Sequence[str], scale: Callable[[int], float], windows: Sequence[int] = (1, 1, 1)
) -> np.ndarray:
    """Return ``(L, H)``: mean over rows, then over clips, of distances divided by ``scale`` of a window's frames."""
    of_clips = []
    for clip, pieces in enumerate(windows):
        parts = shards.parts(np.array([clip]))[0]
        wave = np.concatenate([shards.read(int(row)) for row in parts])
        rows = [_rows(two, window, scale) for window in np.array_split(wave, pieces)]
        of_clips.append(np.concatenate(rows, axis=2).mean(2))
    return np.mean(of_clips, axis=0)


def _rows(two: Sequence[str], wave: np.ndarray, scale: Callable[[int], float]) -> np.ndarray:
    """``(L, H, S)``."""
    one, other = (attentions(folder, wave) for folder in two)
    return np.array(
        [
            [
                [
                    -math.log(sum(math.sqrt(x * y) for x, y in zip(p, q, strict=True))) / scale(len(p))
                    for p, q in zip(*heads, strict=True)
                ]
                for heads in zip(*layers, strict=True)
            ]
            for layers in zip(one, other, strict=True)
        ]
    )


def test_distances_are_those_of_transformers_maps_in_plain_loops(
    shards: ShardFolder, two: list[str], tmp_path: Path
) -> None:
    found = made(shards, two, tmp_path)
    by_length = by_loops(shards, two, lambda frames: 0.5 * math.log(frames))
    np.testing.assert_allclose([layer.distances for layer in found.others[0].layers], by_length, rtol=1e-4)
    assert found.others[0].layers[1].mean.value == pytest.approx(by_length[1].mean(), rel=1e-4)
    # A clip of one frame has a row of one value.
    assert (found.clips, found.short, found.rows, found.units, found.unit) == (3, 1, 18 + 12 + 2, 3, "speakers")
    mean = found.others[0].layers[0].mean
    assert mean.low is not None
    assert 0 < mean.low < mean.value
    nats = made(shards, two, tmp_path, normalise="none")
    plain = by_loops(shards, two, lambda _: 1.0)
    np.testing.assert_allclose([layer.distances for layer in nats.others[0].layers], plain, rtol=1e-4)
    share = made(shards, two, tmp_path, normalise="largest")
    np.testing.assert_allclose([layer.distances for layer in share.others[0].layers], plain / plain.max(), rtol=1e-4)


def test_several_are_compared_with_the_first(shards: ShardFolder, two: list[str], tmp_path: Path) -> None:
    drawn = f"initialised:{two[0]}"
    both = made(shards, [*two, drawn], tmp_path, normalise="none")
    alone = [made(shards, [two[0], name], tmp_path, normalise="none").others[0] for name in (two[1], drawn)]
    assert both.others == alone
    share = made(shards, [*two, drawn], tmp_path, normalise="largest")
    largest = [max(max(layer.distances) for layer in one.layers) for one in share.others]
    assert sorted(largest)[0] < sorted(largest)[1] == 1
    assert [table.title for table in both.tables()] == [f"{two[0]} and {two[1]}", f"{two[0]} and {drawn}"]


def test_an_encoder_attends_as_it_does_itself(shards: ShardFolder, two: list[str], tmp_path: Path) -> None:
    found = made(shards, [two[0], two[0]], tmp_path)
    assert max(max(layer.distances) for layer in found.others[0].layers) < 1e-5
    assert [layer.paired for layer in found.others[0].layers] == [1, 1]
    assert min(min(layer.elsewhere) for layer in found.others[0].layers) > 0.01


def test_heads_that_changed_places_are_found(shards: ShardFolder, two: list[str], tmp_path: Path) -> None:
    model = Wav2Vec2Model.from_pretrained(two[1])
    with torch.no_grad():
        attention = model.encoder.layers[0].attention
        for linear in (attention.q_proj, attention.k_proj):
            linear.weight.copy_(linear.weight.roll(8, 0).clone())
            linear.bias.copy_(linear.bias.roll(8, 0).clone())
    found = made(shards, [two[1], str(save(model, tmp_path / "turned"))], tmp_path)
    assert found.others[0].layers[0].paired == 0
    alone = replace(found.others[0], layers=found.others[0].layers[:1])
    assert "0% of the pairs have the same number (50% by chance), so heads" in replace(found, others=[alone]).summary()


def test_clips_beyond_what_is_read_at_once_are_cut(
    shards: ShardFolder, two: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ModelEncoder, "max_seconds", 1500 / 16_000)
    found = made(shards, two, tmp_path)
    # 6000 samples are four windows of 4 frames each, 4000 three of 3; rows of a clip count alike.
    assert found.rows == 16 + 9 + 2
    expected = by_loops(shards, two, lambda frames: 0.5 * math.log(frames), windows=(4, 3, 1))
    np.testing.assert_allclose([layer.distances for layer in found.others[0].layers], expected, rtol=1e-4)


def test_a_fold_of_a_run_is_compared_on_the_clips_that_it_tests(labelled_shards: Make, tmp_path: Path) -> None:
    task = make_task(labelled_shards(tones(speakers=4, takes=1)), [], "speaker", 2, [0])
    runs = [f"finetuned:{plant(tmp_path / name, task, same=name == 'same')}" for name in ("each", "same")]
    found = made(task.shards, runs, tmp_path)
    assert (found.clips, [len(keys) for keys in found.keys]) == (8, [2, 2])
    assert found.held_out == "each clip by the weights of the fold that tests it"
    alone = [made(task.shards, runs, tmp_path, fold=fold) for fold in ("0", "1")]
    # Fold 0 of both runs has the same weights.
    assert max(max(layer.distances) for layer in alone[0].others[0].layers) < 1e-5
    for place, layer in enumerate(found.others[0].layers):
        halves = np.mean([one.others[0].layers[place].distances for one in alone], axis=0)
        np.testing.assert_allclose(layer.distances, halves, rtol=1e-6)


def test_so_many_clips_are_drawn(shards: ShardFolder, two: list[str], tmp_path: Path) -> None:
    drawn = [made(shards, two, tmp_path, clips=2, seed=seed) for seed in (0, 0, 1, 2, 3)]
    assert {one.clips + one.short for one in drawn} == {2}
    assert drawn[0] == drawn[1]
    assert len({one.rows for one in drawn}) > 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("logmel", {}, "the encoder logmel has no self-attention"),
        ("wavlm large", {"clips": 0}, "--clips must be at least 1, but is 0"),
        ("whisper", {}, "encoders must make the same frames, but from 6000 samples they make 18 and 19"),
        (
            "heads",
            {},
            "the same layers and heads, but .*first has 2 layers of 2 heads; .*other has 2 layers of 4",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(
    shards: ShardFolder, two: list[str], tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    other = tmp_path / "other"
    if name == "heads":
        config = Wav2Vec2Config.from_pretrained(two[0])
        config.num_attention_heads = 4
        save_random(Wav2Vec2Model(config), other)
        Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(other)
    elif name != "logmel":
        save_tiny(name, other)
    with pytest.raises(UserError, match=message):
        made(shards, [two[0], name if name == "logmel" else str(other)], tmp_path, **options)


def test_two_encoders_are_named(shards: ShardFolder, two: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--encoders must name two or more, but names .*first"):
        made(shards, two[:1], tmp_path)


def test_the_program_keeps_and_draws_it(
    shards: ShardFolder, two: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, figure = tmp_path / "x.attention.json", tmp_path / "x.svg"
    asked = [f"--data={shards.folder}", f"--encoders={','.join(two)}", f"--out={out}", f"--figure={figure}"]
    analyze.main(["attention", *asked])
    found = read_analysis(out)
    assert isinstance(found, Attention)
    assert found == made(shards, two, tmp_path)
    said = capsys.readouterr().out
    assert found.summary() in said
    assert "(50% by chance)" in said
    assert (
        f"rows half a clip apart {found.others[0].layers[0].elsewhere[0]:.3f}".replace("0.", ".") in figure.read_text()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalise": "x"}, "normalise is 'x'"),
        ({"others": []}, "do not have the same layers and heads"),
        ({"clips": "3"}, "clips must be a whole number, but is '3'"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "x.attention.json"
    mean = {"value": 0.1, "low": None, "high": None, "clips": 1}
    layer = {"distances": [0.1], "elsewhere": [0.2], "mean": mean, "paired": 1}
    said: dict[str, Any] = {
        "first": "a",
        "others": [{"encoder": "b", "layers": [layer]}],
        "keys": [[], []],
        "corpus": "",
    }
    said |= {
        "keys": [[], []],
        "corpus": "",
        "held_out": "",
        "data_sha256": "",
        "clips": 1,
        "short": 0,
        "rows": 2,
        "units": 1,
    }
    said |= {"unit": "clips", "normalise": "none"}
    path.write_text(json.dumps(said))
    kept = read_analysis(path)
    write_analysis(path, kept)
    assert read_analysis(path) == kept
    path.write_text(json.dumps(said | change))
    with pytest.raises(UserError, match=message):
        read_analysis(path)
    path.write_text(json.dumps(said | {"others": [{"encoder": "b", "layers": [layer | {"distances": [-1]}]}]}))
    with pytest.raises(UserError, match="a distance is negative"):
        read_analysis(path)
