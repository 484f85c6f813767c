"""The list of encoders, and the command that prints it."""

import importlib.util
import re
from pathlib import Path

import pytest
from tiny_encoders import SAVED, save_tiny

from evaluate.encoders import main
from nonverbal.evaluation.encoders import KINDS, ManifestEncoder, learned, load_encoder
from nonverbal.evaluation.encoders.listing import entries, heard_by
from nonverbal.public_checkpoints import CHECKPOINTS

PAGE = (Path(__file__).parents[3] / "docs/encoders.md").read_text(encoding="utf-8")


def test_every_public_checkpoint_is_listed_under_the_kind_that_it_is_of() -> None:
    listed = {entry.name: entry for entry in entries() if entry.checkpoint}
    assert CHECKPOINTS.keys() == listed.keys()
    for name, entry in listed.items():
        assert CHECKPOINTS[name].family == entry.kind.name
        assert entry.kind.learned
        assert learned(name)


def test_what_papers_used_is_there() -> None:
    sizes = {entry.name: entry.size for entry in entries()}
    # RENO's widths, the base models' and the medium Whisper's layers, openSMILE's numbers.
    assert sizes["facebook/mms-1b"].dimensions == 1280
    assert sizes["microsoft/unispeech-sat-base-plus"] == (768, 13)
    assert sizes["openai/whisper-medium"] == (1024, 25)
    assert sizes["compare"] == (6373, 1)
    assert {f"alkiskoudounas/voc2vec{end}" for end in ("", "-as-pt", "-ls-pt", "-hubert-ls-pt")} <= sizes.keys()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("alkiskoudounas/voc2vec-as-pt", "Voc125, audioset"),
        ("facebook/wav2vec2-base-100h", "librispeech; with labels: librispeech"),
        ("MIT/ast-finetuned-audioset-10-10-0.4593", "with labels: audioset"),
        ("emotion2vec/emotion2vec_plus_base", "without labels: not known; with labels: not known"),
        (
            "facebook/mms-1b",
            "mms-lab, voxpopuli, multilingual-librispeech, common-voice, babel, voxlingua107; and others",
        ),
    ],
)
def test_what_a_checkpoint_has_heard_is_told(name: str, said: str) -> None:
    assert heard_by(CHECKPOINTS[name]) == said


@pytest.mark.parametrize("name", SAVED)
def test_what_the_list_says_of_a_kind_is_so(name: str, tmp_path: Path) -> None:
    encoder, kind = load_encoder(str(save_tiny(name, tmp_path))), KINDS[name.split()[0]]
    assert not isinstance(encoder, ManifestEncoder)
    assert (kind.shortest, kind.max_seconds) == (encoder.shortest, encoder.max_seconds)


def test_what_the_list_says_of_what_is_computed_is_so() -> None:
    for kind in KINDS.values():
        if not kind.learned and kind.name != "rate" and (not kind.needs or importlib.util.find_spec(kind.needs)):
            encoder = load_encoder(kind.name)
            assert not isinstance(encoder, ManifestEncoder)
            assert (kind.shortest, kind.max_seconds) == (encoder.shortest, encoder.max_seconds)


def test_all_are_listed_with_licence_and_what_must_be_installed(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    said = capsys.readouterr().out
    assert all(entry.name in said for entry in entries())
    assert re.search(r"compare .* 6373 .* LicenseRef-audEERING.* nothing .* opensmile", said)
    assert re.search(r"facebook/wav2vec2-base .* wav2vec2 .* 768 .* 13 .* Apache-2.0 .* librispeech .* never", said)
    assert re.search(r"openai/whisper-small .* MIT \? ", said)


def test_a_kind_alone_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--kind", "whisper"])
    said = capsys.readouterr().out
    assert "openai/whisper-small.en" in said
    assert "wav2vec2" not in said
    main(["--kind", "whisker"])
    assert "the kinds are logmel, mfcc" in " ".join(capsys.readouterr().out.split())


def test_one_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def shown(name: str) -> str:
        main(["show", name])
        return " ".join(capsys.readouterr().out.split())

    assert "frames 13 layers of 768 values licence MIT ? terms allows commercial use" in shown("openai/whisper-small")
    assert "tried only with random weights, never on released ones" in shown("openai/whisper-small")
    assert "needs pip install 'nonverbal[opensmile]'" in shown("compare")
    assert "checkpoints openai/whisper-small.en, openai/whisper-small" in shown("whisper")
    own = shown(str(save_tiny("wavlm base", tmp_path)))
    assert "kind wavlm frames 3 layers of 16 values key " in own
    assert "shortest clip 400 samples (25 ms) longest input 30 s; longer clips in equal windows" in own
    assert "frames 1 layer of 1 value" in shown("rate")


def test_the_page_names_every_kind() -> None:
    table = PAGE.split("## Kinds")[1].split("\n\n")[1]
    named = {name for row in table.splitlines()[2:] for name in re.findall(r"`([\w-]+)`", row.split("|")[1])}
    assert named == KINDS.keys()
