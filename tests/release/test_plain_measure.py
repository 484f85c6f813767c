"""What runs in a process of its own: what it hears, what it is given, and what it cannot do there."""

import ast
import hashlib
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import transformers
from released import checks, seal
from safetensors.torch import load_file, save_file
from tiny_encoders import save_random, save_tiny
from tiny_shapes import WAVEFORMS
from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor

from nonverbal.errors import UserError
from nonverbal.release import measuring, plain_measure
from nonverbal.release.findings import wrong
from nonverbal.release.passport import write_passport
from nonverbal.release.verify import verify

TOKEN = "hf_" + "AbCdEfGhIjKlMnOpQr"


def test_a_weight_that_is_not_loaded_as_it_stands_is_found_under_either_spelling(tmp_path: Path) -> None:
    folder = save_tiny("wav2vec2 base", tmp_path / "encoder")
    model, _ = plain_measure.Plain(str(folder), False).load("AutoModel")
    path = folder / "model.safetensors"
    right, place = load_file(path), "encoder.pos_conv_embed.conv."
    for prefix in ("", "wav2vec2."):
        for old, new in (("original0", "weight_g"), ("original1", "weight_v"), ("original1", None)):
            state = dict(right)
            name = f"{place}parametrizations.weight.{old}"
            value = state.pop(name)
            spelled = prefix + (name if new is None else place + new)
            for change in (0.0, 1.0):
                save_file(state | {spelled: value + change}, path)
                expected = [spelled] if change else []
                assert plain_measure.unlike(folder, model.state_dict(), "wav2vec2") == expected


@pytest.mark.parametrize("kind", ["ForSequenceClassification", "ForCTC"])
def test_the_head_of_a_model_is_loaded_too(kind: str, tmp_path: Path) -> None:
    config = Wav2Vec2Config(**WAVEFORMS, vocab_size=9, classifier_proj_size=8, num_labels=3)
    model = getattr(transformers, f"Wav2Vec2{kind}")(config)
    save_random(model, tmp_path)
    Wav2Vec2FeatureExtractor().save_pretrained(tmp_path)
    found = measuring.read(tmp_path, plain_measure.attempt(str(tmp_path), False))
    assert not any(found.loading.values())
    figures = found.measured.figures
    assert ("probabilities batch" in figures) == (kind == "ForSequenceClassification")
    if kind == "ForSequenceClassification":
        batch, padded = figures["probabilities batch"], figures["probabilities padded"]
        assert batch is not None
        assert padded is not None
        assert batch < 1e-5 < padded < 1
    state = load_file(tmp_path / "model.safetensors")
    head = next(name for name in state if name.startswith(("classifier", "lm_head")) and name.endswith("weight"))
    save_file({name: value for name, value in state.items() if name != head}, tmp_path / "model.safetensors")
    loading = measuring.read(tmp_path, plain_measure.attempt(str(tmp_path), False)).loading
    assert loading["missing"] == loading["drawn"] == [head]


@pytest.mark.parametrize("kind", ["wavlm base", "wavlm large", "whisper"])
def test_every_kind_loads_whole_and_is_as_by_our_path(kind: str, tmp_path: Path) -> None:
    """The other kinds are tried elsewhere."""
    folder = save_tiny(kind, tmp_path / "encoder")
    found = measuring.read(folder, plain_measure.attempt(str(folder), False))
    assert not any(found.loading.values())
    ours = measuring.with_ours(folder, found.measured).figures
    assert all((ours[name] or 0) < 1e-5 for name in ("batch", "ours alone", "ours batch", "ours padded"))


def test_the_clips_are_the_same_everywhere() -> None:
    found = hashlib.sha256(b"".join(clip.tobytes() for clip in plain_measure.waveforms())).hexdigest()
    assert found == "c07923c93216627a8c31798c870f5d08e18a4f9cd17968770e4d52866a77984e"


def test_a_sketch_shows_any_value_that_changes() -> None:
    one = np.random.default_rng(0).standard_normal((2, 3, 40))
    other = one.copy()
    other[1, 2, 7] += 1.0
    apart = np.abs(plain_measure.sketch(other) - plain_measure.sketch(one))
    np.testing.assert_allclose(apart[1, 2], 1 / np.sqrt(40))
    assert apart[0].max() == apart[1, :2].max() == 0


@pytest.fixture(scope="module")
def audio_mamba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Audio Mamba, which travels with its code, measured in a process of its own."""
    folder = save_tiny("audio_mamba", tmp_path_factory.mktemp("mamba") / "release")
    write_passport(folder, None, [measuring.measure(folder, trust=True, python=Path(sys.executable))])
    return folder


@pytest.mark.processes
def test_code_is_run_by_consent_alone(audio_mamba: Path) -> None:
    findings = verify(audio_mamba)
    assert checks(findings) == {"code", "loads"}
    (asked,) = [finding for finding in wrong(findings) if finding.check == "code"]
    assert "audio_mamba.py (as in this toolkit)" in asked.value
    assert "--trust-code" in asked.remedy
    assert wrong(verify(audio_mamba, trust=True)) == []


@pytest.mark.processes
def test_changed_code_is_not_run(audio_mamba: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(audio_mamba, tmp_path / "release"))
    mark = tmp_path / "was-run"
    with open(folder / "audio_mamba.py", "a") as file:
        file.write(f"\nopen({str(mark)!r}, 'w')\n")
    assert checks(verify(folder, trust=True)) >= {"changed bit", "loads"}
    assert not mark.exists()


@pytest.mark.processes
def test_what_is_loaded_cannot_lean_on_this_toolkit(audio_mamba: Path, tmp_path: Path) -> None:
    """Where the interpreter has it installed, too."""
    folder = Path(shutil.copytree(audio_mamba, tmp_path / "release"))
    with open(folder / "selective_scan.py", "a") as file:
        file.write("\nimport nonverbal.errors\n")
    seal(folder)
    findings = verify(folder, trust=True)
    assert checks(findings) == {"loads"}
    (failed,) = wrong(findings)
    assert "nonverbal" in failed.value
    assert "ModuleNotFoundError" in failed.value or "ImportError" in failed.value


def test_what_another_interpreter_says_need_not_be_utf_8(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nprintf 'no \\377 here' >&2\nexit 3\n")
    python.chmod(0o755)
    with pytest.raises(UserError, match="could not measure .* \\(exit code 3: no \ufffd here\\)"):
        measuring.run_plain(tmp_path, python=python)


def test_the_process_has_neither_token_nor_python_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = tmp_path / "python"
    seen.write_text(f'#!/bin/sh\nenv > {tmp_path}/env\necho "$@" > {tmp_path}/given\npwd > {tmp_path}/at\nexit 3\n')
    seen.chmod(0o755)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(UserError, match="could not measure .*exit code 3"):
        measuring.run_plain(tmp_path, python=seen)
    variables = (tmp_path / "env").read_text()
    assert TOKEN not in variables
    assert "PYTHONPATH" not in variables
    assert "HF_HUB_OFFLINE=1" in variables
    assert (tmp_path / "given").read_text().startswith("-I ")
    assert (tmp_path / "at").read_text().strip().endswith("/empty")
    with pytest.raises(UserError, match="--python: .* cannot be run"):
        measuring.run_plain(tmp_path, python=tmp_path / "none")


def test_an_interpreter_that_cannot_measure_is_no_fault_of_the_folder(tmp_path: Path) -> None:
    folder = save_tiny("hubert base", tmp_path / "release")
    with pytest.raises(UserError, match="--python: .* cannot be run"):
        verify(folder, python=tmp_path / "none")


def test_it_needs_torch_and_transformers_alone() -> None:
    tree = ast.parse(Path(plain_measure.__file__).read_text(encoding="utf-8"))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    named = {alias.name if isinstance(node, ast.Import) else node.module for node in nodes for alias in node.names}
    others = {str(name).split(".")[0] for name in named} - sys.stdlib_module_names
    # What transformers itself needs.
    assert others == {"torch", "numpy", "safetensors"}
