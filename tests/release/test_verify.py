"""What ``verify`` finds of a released folder: nothing of a whole one, and each fault that is put into it."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from released import checks, in_this_process, seal
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_encoders import save_tiny

from nonverbal.errors import UserError
from nonverbal.release import measuring
from nonverbal.release.findings import wrong
from nonverbal.release.passport import PASSPORT, read_passport, write_passport
from nonverbal.release.text_checks import names_in
from nonverbal.release.verify import LOADING, MOST, verify

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
TOKEN = "hf_" + "AbCdEfGhIjKlMnOpQr"
NORM = "encoder.pos_conv_embed.conv.parametrizations.weight.original0"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny wav2vec 2.0 with its passport."""
    folder = save_tiny("wav2vec2 base", tmp_path_factory.mktemp("whole") / "release")
    (folder / CARD).write_text("---\nlicense: cc0-1.0\n---\nIt heard https://example.org/home/sounds/1, 12 clips.\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "run_plain", in_this_process)
        write_passport(folder, "ab" * 32, [measuring.measure(folder)])
    return folder


@pytest.fixture
def release(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(measuring, "run_plain", in_this_process)
    return Path(shutil.copytree(whole, tmp_path / "release"))


def test_nothing_is_found_of_a_whole_release(release: Path) -> None:
    findings = verify(release, names=["corpus:Anna", "corpus:12"])
    assert wrong(findings) == []
    assert {"changed bit" in f.check for f in findings} == {True, False}
    by_name = {finding.check: finding for finding in findings}
    assert {"passport", "loads", "missing key", "embeddings", "batch", "padded", "bf16"} <= by_name.keys()
    assert {"ours alone", "ours batch", "ours padded"} <= by_name.keys()
    figures = read_passport(release).figures
    assert float(by_name["embeddings"].value) == 0
    assert figures["ours padded"] is not None
    assert figures["padded"] is not None
    # Group norm takes in the padding, in transformers' batches and not in ours.
    assert figures["ours padded"] < 1e-5 < 1e-2 < figures["padded"]


def bit(name: str, place: int) -> Callable[[Path], None]:
    def flip(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[place] ^= 1
        (folder / name).write_bytes(data)

    return flip


def config(**more: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        content = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(content | more))
        seal(folder)

    return write


def card(text: str, name: str = CARD) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        with open(folder / name, "a") as file:
            file.write(text)
        seal(folder)

    return write


def weights(change: Callable[[dict[str, torch.Tensor]], Any], **metadata: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        state = load_file(folder / WEIGHTS)
        change(state)
        save_file(state, folder / WEIGHTS, {"format": "pt", **metadata})
        seal(folder)

    return write


def written(name: str, data: bytes, sealed: bool = False) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        if sealed:
            seal(folder)

    return write


def in_passport(**more: Any) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        content = json.loads((folder / PASSPORT).read_text())
        (folder / PASSPORT).write_text(json.dumps(content | more))

    return write


def also_named(name: str) -> Callable[[Path], None]:
    return lambda folder: in_passport(files=read_passport(folder).files | {name: "00"})(folder)


def linked(folder: Path) -> None:
    shutil.move(folder / WEIGHTS, folder.parent / "elsewhere")
    (folder / WEIGHTS).symlink_to(folder.parent / "elsewhere")


def respelled(state: dict[str, torch.Tensor]) -> None:
    for old, new in (("original0", "weight_g"), ("original1", "weight_v")):
        name = f"encoder.pos_conv_embed.conv.parametrizations.weight.{old}"
        state[f"encoder.pos_conv_embed.conv.{new}"] = state.pop(name)


def halved(state: dict[str, torch.Tensor]) -> None:
    state["encoder.layers.1.feed_forward.output_dense.weight"] *= 0.5


def not_a_number(state: dict[str, torch.Tensor]) -> None:
    state["encoder.layers.1.final_layer_norm.bias"][3] = torch.nan


def index(target: str) -> bytes:
    return json.dumps({"metadata": {}, "weight_map": {NORM: target}}).encode()


BLOCK = "encoder.layers.0.attention.k_proj.weight"
FAULTS: list[tuple[str, Callable[[Path], Any], set[str], str]] = [
    ("a changed bit of weights", bit(WEIGHTS, -1), {"changed bit"}, WEIGHTS),
    ("a changed bit of the card", bit(CARD, -2), {"changed bit"}, CARD),
    ("a file gone", lambda f: (f / CARD).unlink(), {"missing file"}, CARD),
    ("a file too many", written("notes.txt", b"x"), {"file too many"}, "notes.txt"),
    ("a file too many, in a folder", written("a/b/notes.txt", b"x"), {"file too many"}, "a/b/notes.txt"),
    ("a pickle by its name", written("pytorch_model.bin", b"x", True), {"pickle"}, "pytorch_model.bin"),
    ("a pickle by its content", written("vocab.json", pickle.dumps([1]), True), {"pickle"}, "vocab.json"),
    (
        "a large file",
        lambda f: [written("x.txt", b"", True)(f), os.truncate(f / "x.txt", 10**8), seal(f)],
        {"too large"},
        "x.txt",
    ),
    ("a zip of PyTorch", written("extra.txt", b"PK\x03\x04..", True), {"pickle"}, "extra.txt"),
    ("a link", linked, {"link", "weights", "loads"}, WEIGHTS),
    ("a link to a folder", lambda f: (f / "x").symlink_to("/"), {"link", "loads"}, "x"),
    ("a pipe", lambda f: os.mkfifo(f / "x"), {"link", "loads"}, "x"),
    ("a path out of the folder", also_named("../other"), {"path outside", "local path", "loads"}, PASSPORT),
    ("an absolute path", also_named("/etc/passwd"), {"path outside", "local path", "loads"}, PASSPORT),
    (
        "weights out of the folder",
        written("model.safetensors.index.json", index("../m.safetensors"), True),
        {"path outside", "local path", "loads"},
        "model.safetensors.index.json",
    ),
    ("a missing part", written("model.safetensors.index.json", index("m2.safetensors"), True), {"weights"}, ""),
    ("weights cut short", lambda f: (f / WEIGHTS).write_bytes(b"1234"), {"weights", "changed bit"}, WEIGHTS),
    ("a path in config", config(_name_or_path="/gpfs7/bo/run"), {"local path"}, CONFIG),
    ("a path beside a run", config(_name_or_path="../runs/first"), {"local path"}, CONFIG),
    ("a path in the card", card("made in `/home/bo/runs/1`"), {"local path"}, CARD),
    ("a path of Windows", card(r"made in C:\Users\bo\runs"), {"local path"}, CARD),
    ("an address of a file", card("see file:///mnt/x.wav"), {"local path"}, CARD),
    ("a path beside weights", weights(lambda s: None, source="/scratch/bo/run"), {"local path"}, WEIGHTS),
    ("a token in the card", card(f"token={TOKEN}"), {"token"}, CARD),
    ("a token in escapes", written("vocab.json", rb'{"a": "hf\u005fAbCdEfGhIjKlMnOpQr"}', True), {"token"}, ""),
    ("a password in an address", card("git clone https://bo:pass@example.org/x"), {"token"}, CARD),
    ("a private key", card("-----BEGIN OPENSSH PRIVATE KEY-----"), {"token"}, CARD),
    ("a speaker's name", card("thanks to ANNA."), {"name"}, CARD),
    ("a speaker's name with its corpus", card("clips of corpus:12"), {"name"}, CARD),
    ("weights of another file", config(transformers_weights="x"), {"code", "loads"}, CONFIG),
    ("code of another repository", config(auto_map={"AutoModel": "x/y--z.A"}), {"code", "loads"}, CONFIG),
    ("code that nothing needs", written("modeling.py", b"", True), {"code", "loads"}, "modeling.py"),
    ("no passport", lambda f: (f / PASSPORT).unlink(), {"passport"}, PASSPORT),
    (
        "a pipe for a passport",
        lambda f: (f / PASSPORT).unlink() or os.mkfifo(f / PASSPORT),
        {"passport", "link", "loads"},
        PASSPORT,
    ),
    ("no passport of ours", lambda f: (f / PASSPORT).write_text("[" * 10**5), {"passport"}, PASSPORT),
    ("a passport of another version", in_passport(version=9), {"passport"}, PASSPORT),
    (
        "a passport with texts for numbers",
        in_passport(measured=[{"stack": {}, "figures": {"batch": "x"}}]),
        {"passport"},
        "",
    ),
    ("a passport that is a list", lambda f: (f / PASSPORT).write_text("[]"), {"passport"}, PASSPORT),
    ("a passport of nothing", in_passport(measured=[]), {"passport"}, PASSPORT),
]
"""Of files and texts: name, what puts it in, what is found, and of which file."""

OF_WEIGHTS: list[tuple[str, Callable[[Path], Any], set[str], str]] = [
    ("a missing key, drawn at random", weights(lambda s: s.pop(BLOCK)), {"missing key", "key drawn at random"}, ""),
    ("a missing key of a norm", weights(lambda s: s.pop("encoder.layer_norm.weight")), {"missing key"}, WEIGHTS),
    ("a key too many", weights(lambda s: s.update(x=torch.ones(2))), {"unknown key"}, WEIGHTS),
    ("a NaN", weights(not_a_number), {"NaN or infinite"}, WEIGHTS),
    ("another shape", weights(lambda s: s.update({BLOCK: torch.ones(2, 2)})), {"loads"}, ""),
    ("other weights", weights(halved), {"embeddings"}, PASSPORT),
    ("another configuration", config(hidden_act="relu"), {"embeddings"}, PASSPORT),
]
"""Found where the model is loaded."""


@pytest.mark.parametrize(("inject", "expected", "file"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_fault_is_found(
    release: Path, monkeypatch: pytest.MonkeyPatch, inject: Callable[[Path], Any], expected: set[str], file: str
) -> None:
    # What these do to a model, if anything, is not looked at here.
    as_before = measuring.Loaded(read_passport(release).measured[0], {key: [] for key in LOADING})
    monkeypatch.setattr(measuring, "run_plain", lambda *_: as_before)
    monkeypatch.setattr(measuring, "with_ours", lambda folder, measured: measured)
    inject(release)
    found = wrong(verify(release, names=["corpus:Anna", "corpus:12"]))
    assert {finding.check for finding in found} == expected
    assert not file or file in {finding.file for finding in found}
    assert all(finding.value and finding.expected and finding.remedy for finding in found)
    assert TOKEN not in str(found)


@pytest.mark.parametrize(("inject", "expected", "file"), [f[1:] for f in OF_WEIGHTS], ids=[f[0] for f in OF_WEIGHTS])
def test_a_fault_of_weights_is_found(
    release: Path, inject: Callable[[Path], Any], expected: set[str], file: str
) -> None:
    inject(release)
    found = wrong(verify(release))
    assert checks(found) >= expected
    # Where a model gives other values, its figures may change with them.
    assert checks(found) - expected <= (MOST.keys() if "embeddings" in expected else set())
    assert not file or file in {finding.file for finding in found}
    assert all(finding.value and finding.expected and finding.remedy for finding in found)


def test_weights_load_under_either_spelling_of_weight_norm(release: Path) -> None:
    weights(respelled)(release)
    with safe_open(release / WEIGHTS, framework="numpy") as file:
        assert any(name.endswith("weight_g") for name in file.keys())  # noqa: SIM118
    assert wrong(verify(release)) == []


def test_what_the_hub_puts_beside_a_release_is_not_too_much(release: Path) -> None:
    (release / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    (release / "LICENSE").write_text("As the Hub's page makes it.\n")
    (release / ".cache/huggingface/download").mkdir(parents=True)
    (release / ".cache/huggingface/download/config.json.metadata").write_text("a\n")
    assert wrong(verify(release)) == []
    (release / ".gitattributes.py").write_text("")
    assert checks(verify(release)) == {"file too many", "code", "loads"}


def test_a_figure_that_grew_is_found(release: Path) -> None:
    passport = read_passport(release)
    small = replace(passport.measured[0], figures=passport.figures | {"padded": 1e-6})
    write_passport(release, None, [small])
    assert checks(verify(release)) == {"padded"}


def test_a_figure_that_is_not_finite_is_not_written(release: Path) -> None:
    measured = read_passport(release).measured[0]
    with pytest.raises(UserError, match="batch is not finite"):
        write_passport(release, None, [replace(measured, figures={"batch": float("inf")})])


def test_names_are_read_from_manifests_and_lists(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("Anna\n\nBo Li\nAnna\n")
    assert names_in(tmp_path / "names.txt") == ["Anna", "Bo Li"]
    with pytest.raises(UserError, match="the names in .* cannot be read"):
        names_in(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("sketch", "well"), [([[[1.0]], [[1.0, 2.0]]], False), ([[[1.0]], [[1.0], [2.0]]], False), ([], True)]
)
def test_a_sketch_that_is_no_array_is_no_passport(release: Path, sketch: list[Any], well: bool) -> None:
    content = json.loads((release / PASSPORT).read_text())
    content["measured"][0]["sketch"] = sketch
    (release / PASSPORT).write_text(json.dumps(content))
    assert checks(verify(release)) == ({"embeddings"} if well else {"passport"})


def test_what_lies_deep_is_found_too(release: Path) -> None:
    content = json.loads((release / CONFIG).read_text())
    # As deep as the reader of JSON goes, which is deeper than calls of Python may.
    deep = "[" * 900 + json.dumps(["x/y--z.A", "/home/bo/run"]) + "]" * 900
    (release / CONFIG).write_text(json.dumps(content | {"auto_map": "X"}).replace('"X"', deep))
    seal(release)
    assert {"code", "local path", "loads"} <= checks(verify(release))


def test_an_adapter_is_not_followed_to_another_model(release: Path, tmp_path: Path) -> None:
    (release / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "other")}))
    seal(release)
    assert {"code", "loads"} <= checks(verify(release))
