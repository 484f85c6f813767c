"""emotion2vec: FunASR's class, fed by readers of ours; never tried on released weights."""

import copy
import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import check_encoder, learned, load_encoder, load_frame_encoder
from nonverbal.evaluation.encoders.emotion2vec import Emotion2vecEncoder
from nonverbal.evaluation.exactness import EXACT, check_exactness
from nonverbal.models.checkpoints.emotion2vec import FIRST, read_settings

with_funasr = pytest.mark.skipif(importlib.util.find_spec("funasr") is None, reason="FunASR is not installed")

CONF: dict[str, Any] = {
    "depth": 2, "embed_dim": 16, "num_heads": 2, "norm_eps": "1e-05", "norm_affine": True, "mlp_ratio": 2.0,
    "layer_norm_first": False, "end_of_block_targets": True, "normalize": True, "dropout_input": 0.0,
    "encoder_dropout": 0.1, "attention_dropout": 0.1, "activation_dropout": 0.1, "post_mlp_drop": 0.1,
    "layerdrop": 0.05, "start_drop_path_rate": 0.0, "end_drop_path_rate": 0.0, "clone_batch": 8,
    "modalities": {"audio": {
        "prenet_depth": 1, "num_extra_tokens": 3, "num_alibi_heads": 2, "model_depth": 2, "conv_pos_width": 9,
        "conv_pos_groups": 4, "conv_pos_depth": 3, "conv_pos_pre_ln": False, "extractor_mode": "layer_norm",
        "feature_encoder_spec": "[(8, 10, 5)] + [(8, 3, 2)] * 4 + [(8,2,2)] + [(8,2,2)]", "alibi_scale": 1.0,
        "use_alibi_encoder": True, "learned_alibi": False, "learned_alibi_scale": True,
        "learned_alibi_scale_per_head": True, "learned_alibi_scale_per_layer": False, "local_grad_mult": 1.0,
        "prenet_layerdrop": 0.05, "prenet_dropout": 0.1, "start_drop_path_rate": 0.0, "end_drop_path_rate": 0.0,
        "init_extra_token_zero": False, "mask_noise_std": 0.01,
        "decoder": {
            "decoder_dim": 8, "decoder_groups": 2, "decoder_kernel": 3, "decoder_layers": 1, "input_dropout": 0.1,
            "decoder_residual": True, "projection_layers": 1, "projection_ratio": 2.0,
        },
    }},
}  # fmt: skip


def changed(group: str, **values: Any) -> dict[str, Any]:
    conf = copy.deepcopy(CONF)
    (conf if group == "model" else conf["modalities"]["audio"]).update(values)
    return conf


def write(folder: Path, conf: Any = CONF, model: str = "Emotion2vec") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": model, "model_conf": conf}))
    return folder


def theirs(conf: dict[str, Any]) -> Any:
    """FunASR's model with weights of which none is as it begins."""
    from funasr.models.emotion2vec.model import Emotion2vec

    torch.manual_seed(0)
    numbers = conf | {"norm_eps": float(conf["norm_eps"])}
    model = Emotion2vec(model_conf=copy.deepcopy(numbers), vocab_size=9).eval()
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return model


def save(model: Any, folder: Path, prefix: str = "d2v_model.", file: str = "model.pt") -> None:
    """As FunASR's checkpoints are: pretraining's and the classifier's weights too, under the names of fairseq."""
    torch.save({"model": {f"{prefix}{name}": value for name, value in model.state_dict().items()}}, folder / file)


def sound(samples: int = 9000) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(samples) + 0.02).astype(np.float32)


@with_funasr
@pytest.mark.parametrize(
    "conf",
    [
        CONF,
        changed("model", normalize=False, layer_norm_first=True),
        changed("audio", extractor_mode="default", learned_alibi_scale_per_layer=True, model_depth=2, prenet_depth=2)
        | {"depth": 2},
        changed("audio", use_alibi_encoder=False, num_extra_tokens=0, conv_pos_pre_ln=True),
    ],
    ids=["base", "norm first", "group norm", "without alibi"],
)
def test_frames_are_funasrs(conf: dict[str, Any], tmp_path: Path) -> None:
    model = theirs(conf)
    save(model, write(tmp_path, conf))
    encoder = load_frame_encoder(str(tmp_path))
    frames = encoder.frames(sound())
    with torch.no_grad():
        ((found,), _) = model.inference([sound()], key=["a"], device="cpu", granularity="frame")
        read = torch.from_numpy(sound())
        read = torch.nn.functional.layer_norm(read, read.shape) if conf["normalize"] else read
        blocks = model.extract_features(read[None], remove_extra_tokens=False)["layer_results"]
    assert frames.shape == (encoder.layers, 27, 16)
    assert encoder.layers == conf["modalities"]["audio"]["prenet_depth"] + 2 + 1
    scale = np.sqrt(np.square(found["feats"]).mean())
    np.testing.assert_allclose(frames[-1], found["feats"], atol=1e-5 * scale)
    # With end_of_block_targets, what FunASR keeps of a block is what leaves it.
    extra = conf["modalities"]["audio"]["num_extra_tokens"]
    np.testing.assert_allclose(frames[-2], blocks[-2][0, extra:].numpy(), atol=1e-5 * blocks[-2].abs().max().item())
    assert (np.diff(frames, axis=0) != 0).any(axis=(1, 2)).all()


@with_funasr
def test_it_is_exact_and_its_random_twin_is_another_for_each_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nonverbal.evaluation import exactness

    monkeypatch.setattr(exactness, "_in_another_process", exactness._embedded_anew)
    save(theirs(CONF), write(tmp_path), file="emotion2vec_base.pt")
    found = check_exactness(str(tmp_path))
    assert (found.faults, found.padding, found.shortest) == ([], None, 400)
    assert found.neighbours is not None
    assert found.neighbours <= EXACT
    keys = [
        load_encoder(name, seed).key
        for name, seed in [(str(tmp_path), 0), (f"initialised:{tmp_path}", 0), (f"initialised:{tmp_path}", 1)]
    ]
    assert len(set(keys)) == 3
    assert load_encoder(f"initialised:{tmp_path}", 1).key == keys[2]
    assert learned(str(tmp_path))


@with_funasr
def test_what_is_no_whole_model_is_refused(tmp_path: Path) -> None:
    model = theirs(CONF)
    with pytest.raises(UserError, match=r"holds 0 files of weights"):
        load_encoder(str(write(tmp_path)))
    state = model.state_dict()
    for name, value, told in (
        ("blocks.0.mlp.fc1.bias", None, "missing weights: 1"),
        ("blocks.9.mlp.fc1.bias", torch.zeros(1), "unknown weights: 1"),
        ("blocks.0.mlp.fc1.bias", torch.zeros(3), "another shape"),
        ("blocks.0.mlp.fc1.bias", torch.full_like(state["blocks.0.mlp.fc1.bias"], torch.nan), "finite"),
    ):
        other = {key: held for key, held in state.items() if key != name} | ({} if value is None else {name: value})
        torch.save(other, tmp_path / "model.pt")
        with pytest.raises(UserError, match=told):
            load_encoder(str(tmp_path))
    torch.save({"elsewhere": torch.zeros(1)}, tmp_path / "model.pt")
    with pytest.raises(UserError, match=f"expected weights named {FIRST}"):
        load_encoder(str(tmp_path))


class _Runs:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@with_funasr
def test_nothing_in_its_pickle_is_run(tmp_path: Path) -> None:
    torch.save({"model": {FIRST: torch.zeros(1)}, "more": _Runs(tmp_path / "ran")}, write(tmp_path) / "model.pt")
    with pytest.raises(UserError, match=r"refused: it imports \w+\.mkdir"):
        load_encoder(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_no_text_of_its_configuration_is_evaluated(tmp_path: Path) -> None:
    evil = f"[(8, 10, 5)] if __import__('os').mkdir('{tmp_path}/ran') else [(8, 10, 5)]"
    with pytest.raises(UserError, match="expected .*channels, kernel, stride"):
        read_settings(write(tmp_path, changed("audio", feature_encoder_spec=evil)))
    (tmp_path / "config.yaml").write_text(f"model: !!python/object/apply:os.mkdir ['{tmp_path}/ran']")
    with pytest.raises(UserError, match="cannot be read"):
        read_settings(tmp_path)
    assert not (tmp_path / "ran").exists()
    spec = read_settings(write(tmp_path)).model_conf["modalities"]["audio"]["feature_encoder_spec"]
    assert spec == "[(8, 10, 5), (8, 3, 2), (8, 3, 2), (8, 3, 2), (8, 3, 2), (8, 2, 2), (8, 2, 2)]"


@pytest.mark.parametrize(
    ("conf", "told"),
    [
        (changed("model", depth=-1), "model_conf.depth is '-1'; expected int"),
        (changed("model", embed_dim=10**9), "model_conf.embed_dim"),
        (changed("model", norm_eps="${oc.env:HOME}"), "model_conf.norm_eps"),
        (changed("audio", extractor_mode="${oc.env:HOME}"), "extractor_mode is .* expected default or layer_norm"),
        (changed("audio", conv_pos_pre_ln=None), "audio.conv_pos_pre_ln"),
        (changed("audio", learned_alibi=True), "learned_alibi is true"),
        ({"depth": 2}, "has no group audio|model_conf.embed_dim"),
        ([], "has no group model_conf"),
    ],
)
def test_what_its_configuration_must_say(conf: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told):
        read_settings(write(tmp_path, conf))


def test_another_model_of_funasr_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected model: Emotion2vec"):
        read_settings(write(tmp_path, model="Paraformer"))


def test_what_must_be_installed_and_downloaded_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "funasr" else find_spec(name))
    for ask in (check_encoder, load_encoder):
        with pytest.raises(UserError, match=r"not installed: pip install 'nonverbal\[emotion2vec\]'"):
            ask(str(write(tmp_path)))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    with pytest.raises(UserError, match="hf download emotion2vec/emotion2vec_plus_base --local-dir FOLDER"):
        check_encoder("emotion2vec/emotion2vec_plus_base")
    assert Emotion2vecEncoder.batching == "equal"
