import unicodedata
import zipfile

import pytest
from readings import clips_in, found_in

from nonverbal.data.corpora import CATALOG
from nonverbal.data.corpora.base import Found, Skipped
from nonverbal.data.corpora.listing import HIDDEN
from nonverbal.errors import UserError

TURNS = "Session1/sentences/wav/Ses01F_impro04"
EVALUATION = "Session1/dialog/EmoEvaluation"
IEMOCAP = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes01F_impro04_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
A-E3:\tval 3; act 2; dom  2;\t()

[10.0100 - 11.3925]\tSes01F_impro04_M000\texc\t[2.5000, 2.5000, 2.5000]
[14.8872 - 18.0175]\tSes01F_impro04_M001\txxx\t[2.5000, 2.5000, 2.5000]
[19.2900 - 20.7875]\tSes01F_impro04_M002\thap\t[4.5000, 2.5000, 2.5000]
"""
MSP = """UTD-IMPROV-S01A-F02-R-FF01.avi; H; A:2.8; V:1.4; D:2.6 ; N:4.2;
 WORKER00000017; Angry; A:5.000; V:1.000; D:5.000 ; N:4.000;
 WORKER00000017; Angry; A:5.000; V:1.000; D:5.000 ; N:4.000;
UTD-IMPROV-S01A-M02-S-FM02.avi; X; A:2.8; V:NaN; D:2.6 ; N:NaN;
UTD-IMPROV-S20N-F06-P-MF11.avi;  O ;A:2.8; V:1.4; D:2.6; N:4.2;
"""


def labels(folder, name):
    return {path: clip.label for path, clip in clips_in(folder, name).items()}


def speakers(folder, name):
    return {clip.speaker for clip in clips_in(folder, name).values()}


def test_iemocap_takes_the_speaker_from_the_last_field_and_the_label_from_the_agreement(tree):
    folder = tree(
        *(f"{TURNS}/Ses01F_impro04_{turn}.wav" for turn in ("F000", "M000", "M001", "M002", "M003")),
        f"{TURNS}/._Ses01F_impro04_F000.wav",
        "Session1/dialog/wav/Ses01F_impro04.wav",
        "Session1/dialog/transcriptions/Ses01F_impro04.txt",
        **{
            f"{EVALUATION}/Ses01F_impro04.txt": IEMOCAP,
            f"{EVALUATION}/._Ses01F_impro04.txt": IEMOCAP.replace("F000", "F009"),
            f"{EVALUATION}/Categorical/Ses01F_impro04.txt": IEMOCAP.replace("neu", "sad"),
        },
    )
    same = {"session": "iemocap:01", "recording": "iemocap:Ses01F_impro04", "language": "en"}
    reading = found_in(folder, "iemocap")
    assert [file for file in reading.values() if isinstance(file, Found)] == [
        Found(f"{TURNS}/Ses01F_impro04_F000.wav", "neutral", speaker="iemocap:01F", **same),
        Found(f"{TURNS}/Ses01F_impro04_M000.wav", "excitement", speaker="iemocap:01M", **same),
        Found(f"{TURNS}/Ses01F_impro04_M001.wav", None, speaker="iemocap:01M", **same),
        Found(f"{TURNS}/Ses01F_impro04_M002.wav", "happiness", speaker="iemocap:01M", **same),
    ]
    assert len(reading) == 11
    assert {file.reason for file in reading.values() if isinstance(file, Skipped)} == {"not a labelled turn", HIDDEN}


def test_iemocap_says_which_labelled_turns_are_missing(tree):
    folder = tree(f"{TURNS}/Ses01F_impro04_F000.wav", **{f"{EVALUATION}/Ses01F_impro04.txt": IEMOCAP})
    assert [path for path in clips_in(folder, "iemocap") if not (folder / path).exists()] == [
        f"Ses01F_impro04_M00{number}.wav" for number in range(3)
    ]


@pytest.mark.parametrize("table", ["Evaluation.txt", "Evalution.txt"])
def test_msp_improv_takes_the_label_from_the_table_and_the_session_from_the_speaker(tree, table):
    folder = tree(
        "Audio/session2/S01A/R/MSP-IMPROV-S01A-F02-R-FF01.wav",
        "Audio/session2/S01A/S/MSP-IMPROV-S01A-M02-S-FM02.wav",
        "Audio/session6/S20N/P/MSP-IMPROV-S20N-F06-P-MF11.wav",
        "Audio/session6/S20N/P/MSP-IMPROV-S20N-F06-P-MF12.wav",
        **{table: MSP},
    )
    reading = found_in(folder, "msp-improv")
    clips = [file for file in reading.values() if isinstance(file, Found)]
    assert [clip.label for clip in clips] == ["happiness", None, "other"]
    assert [clip.speaker for clip in clips] == ["msp-improv:F02", "msp-improv:M02", "msp-improv:F06"]
    assert [clip.session for clip in clips] == ["msp-improv:2", "msp-improv:2", "msp-improv:6"]
    assert all(clip.recording == clip.session for clip in clips)
    assert {path for path, file in reading.items() if isinstance(file, Skipped)} == {
        "Audio/session6/S20N/P/MSP-IMPROV-S20N-F06-P-MF12.wav",
        table,
    }


def test_aesdd_reads_speakers_as_numbers_and_skips_the_broken_file(tree):
    folder = tree(
        "anger/a03 (3).wav", "fear/f10 (01).wav", "sadness/s01 (5)a.wav", "sadness/s05 (3).wav", "sadness/s05 (4).wav"
    )
    clips = clips_in(folder, "aesdd")
    assert {path: (clip.label, clip.speaker) for path, clip in clips.items()} == {
        "anger/a03 (3).wav": ("anger", "aesdd:3"),
        "fear/f10 (01).wav": ("fear", "aesdd:1"),
        "sadness/s01 (5)a.wav": ("sadness", "aesdd:5"),
        "sadness/s05 (4).wav": ("sadness", "aesdd:4"),
    }
    assert found_in(folder, "aesdd")["sadness/s05 (3).wav"].reason == "without samples as distributed"


def test_cafe_reads_names_whatever_became_of_the_folders(tree):
    folder = tree("D‚go–t/Fort/12-D-2-5.wav", "Colère/Faible/01-C-1-6.wav", "Neutre/03-N-1-2.wav", "Neutre/03-N-3.wav")
    assert sorted(labels(folder, "cafe").values()) == ["anger", "disgust", "neutral", "neutral"]
    assert speakers(folder, "cafe") == {"cafe:01", "cafe:03", "cafe:12"}


def test_cafe_is_read_from_an_archive_of_the_old_code_page(tree):
    folder = tree("readme.txt")
    with zipfile.ZipFile(folder / "CaFE_48k.zip", "w") as archive:
        archive.writestr("D@go@t/Fort/12-D-2-5.wav", "")
    packed = (folder / "CaFE_48k.zip").read_bytes()
    (folder / "CaFE_48k.zip").write_bytes(packed.replace(b"D@go@t", b"D\x82go\x96t"))
    (path,) = clips_in(folder, "cafe")
    assert path.encode() == "CaFE_48k.zip/Dégoût/Fort/12-D-2-5.wav".encode()


def test_cafe_reads_one_of_two_rates(tree):
    folder = tree("192k/Joie/Fort/12-J-2-5.aiff")
    assert labels(folder, "cafe") == {"192k/Joie/Fort/12-J-2-5.aiff": "happiness"}
    folder = tree("48k/Joie/Fort/12-J-2-5.wav", "readme.txt")
    assert labels(folder, "cafe") == {"48k/Joie/Fort/12-J-2-5.wav": "happiness"}
    reading = found_in(folder, "cafe")
    assert reading["192k/Joie/Fort/12-J-2-5.aiff"].reason == "in the 48 kHz release too"
    assert reading["readme.txt"].reason == "not a clip"


def test_demos_is_read_from_the_right(tree):
    folder = tree("DEMOS/PR_m_23_tri00a.wav", "DEMOS/NP_f_61_gio02c.wav", "NEU/m_68_neu05b.wav", "DEMOS/m_1_neu.wav")
    assert {path: (clip.label, clip.speaker) for path, clip in clips_in(folder, "demos").items()} == {
        "DEMOS/PR_m_23_tri00a.wav": ("sadness", "demos:m_23"),
        "DEMOS/NP_f_61_gio02c.wav": ("happiness", "demos:f_61"),
        "NEU/m_68_neu05b.wav": ("neutral", "demos:m_68"),
    }


def test_emodb_has_german_letters(tree):
    folder = tree(*(f"wav/03a01{letter}a.wav" for letter in "WLEAFTN"), "silb/03a01Wa.silb", "wav/._03a01Wa.wav")
    assert list(labels(folder, "emodb").values()) == [
        "fear", "disgust", "happiness", "boredom", "neutral", "sadness", "anger"
    ]  # fmt: skip
    assert speakers(folder, "emodb") == {"emodb:03"}


def test_emodb_2_has_tables(tree):
    folder = tree(
        "wav/03a01Wa.wav",
        "wav/new.wav",
        "wav/16b10Tb.wav",
        "wav/more.wav",
        "db.yaml",
        **{
            "db.emotion.csv": "file,emotion\nwav/03a01Wa.wav,anger\nwav/new.wav,joy\nwav/16b10Tb.wav,sadness\n",
            "db.files.csv": "file,speaker,duration\nwav/03a01Wa.wav,3,0 days\nwav/new.wav,21,0 days\n",
            "db.emotion.categories.train.gold_standard.csv": "file,emotion\nwav/03a01Wa.wav,anger\n",
            "db.emotion.categories.test.gold_standard.csv": "file,emotion\nwav/new.wav,joy\n",
        },
    )
    reading = found_in(folder, "emodb")
    assert [file for file in reading.values() if isinstance(file, Found)] == [
        Found("wav/03a01Wa.wav", "anger", speaker="emodb:03", language="de", split="train"),
        Found("wav/16b10Tb.wav", "sadness", speaker="emodb:16", language="de"),
        Found("wav/new.wav", "joy", speaker="emodb:21", language="de", split="test"),
    ]
    assert reading["wav/more.wav"] == Skipped("wav/more.wav", "not in db.emotion.csv")


def test_emomatch_has_the_elicited_emotion_and_emospanish_none(tree):
    folder = tree("03_Alegria_02.WAV", "any/50_Ira_12.wav", "any/50_Otra_12.wav", "notes.txt")
    assert labels(folder, "emomatch") == {
        "03_Alegria_02.WAV": "joy",
        "any/50_Ira_12.wav": "anger",
        "any/50_Otra_12.wav": None,
    }
    assert set(labels(folder, "emospanish").values()) == {None}
    assert speakers(folder, "emomatch") == speakers(folder, "emospanish") == {"emomatch:03", "emomatch:50"}


def test_emovo(tree):
    folder = tree("EMOVO/f2/gio-f2-b2.wav", "EMOVO/m1/neu-m1-n5.wav", "EMOVO/m1/notes.wav")
    assert list(clips_in(folder, "emovo").values()) == [
        Found("EMOVO/f2/gio-f2-b2.wav", "joy", speaker="emovo:f2", language="it"),
        Found("EMOVO/m1/neu-m1-n5.wav", "neutral", speaker="emovo:m1", language="it"),
    ]


def test_eyase_takes_the_label_from_the_first_word(tree):
    folder = tree(
        "Female01/ep_1_ang (3).wav", "x/Male03/a_sad (1) b_hap.wav", "Male03/a_?? (1).wav", "Male03/._a_sad.wav"
    )
    assert labels(folder, "eyase") == {
        "Female01/ep_1_ang (3).wav": "anger",
        "x/Male03/a_sad (1) b_hap.wav": "sadness",
        "Male03/a_?? (1).wav": None,
    }
    assert speakers(folder, "eyase") == {"eyase:Female01", "eyase:Male03"}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_oreau_reads_the_validated_subset_where_it_is_there(tree, form):
    first, second = (unicodedata.normalize(form, f"OréauFR_0{number}") for number in (1, 2))
    folder = tree(f"{first}/f/sessj/10a02Ja.wav", f"{first}/m/sessc/42z01Cb.wav", f"{first}/m/sessc/Doc.txt")
    assert sorted(labels(folder, "oreau").values()) == ["anger", "happiness"]
    folder = tree(f"{second}/f/sessj/10a02Ja.wav")
    assert list(clips_in(folder, "oreau").values()) == [
        Found(f"{second}/f/sessj/10a02Ja.wav", "happiness", speaker="oreau:10", language="fr")
    ]
    reasons = [file.reason for file in found_in(folder, "oreau").values() if isinstance(file, Skipped)]
    assert reasons == ["02, which listeners validated, is there too"] * 2 + ["not a clip"]


def test_shemo_has_an_f_for_female_and_one_for_fear(tree):
    folder = tree("female/F03S02.wav", "female/F03F01.wav", "male/M41F12.wav", "transcript/final text/F03S02.ort")
    assert {path: (clip.label, clip.speaker) for path, clip in clips_in(folder, "shemo").items()} == {
        "female/F03S02.wav": ("sadness", "shemo:F03"),
        "female/F03F01.wav": ("fear", "shemo:F03"),
        "male/M41F12.wav": ("fear", "shemo:M41"),
    }


def test_shemo_is_read_from_its_archives_and_pointers_to_them_are_named(tree):
    folder = tree("README.md")
    with zipfile.ZipFile(folder / "female.zip", "w") as archive:
        archive.writestr("female/F03S02.wav", "")
    assert labels(folder, "shemo") == {"female.zip/female/F03S02.wav": "sadness"}
    (folder / "male.zip").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(UserError, match=r"male.zip is a Git LFS pointer"):
        found_in(folder, "shemo")


@pytest.mark.parametrize("name", [name for name, corpus in CATALOG.items() if "emotion" in corpus.purposes])
def test_classes_add_up_to_the_clips(name):
    expected = {"iemocap": 5531, "msp-improv": 7798}.get(name, CATALOG[name].clips)
    assert not CATALOG[name].classes or sum(CATALOG[name].classes.values()) == expected
