import json
import zipfile
from pathlib import Path

import pytest
from readings import clips_in, found_in

from nonverbal.data.corpora.base import Found, Skipped
from nonverbal.errors import UserError

COMMENTS = "# Segments csv created\n# num_ytids=3, num_segs=3\n# YTID, start_seconds, end_seconds, positive_labels\n"


def segments(*rows):
    return COMMENTS + "".join(f'{ytid}, 30.000, 40.000, "{labels}"\n' for ytid, labels in rows)


def test_audioset_takes_vocal_sounds_without_speech(tree):
    rows = segments(
        ("--PJHxphWEs", "/m/01j3sz"),
        ("-0abcdefgh_", "/m/01j3sz,/m/07r660_"),
        ("speech_0001", "/m/01j3sz,/m/09x0r"),
        ("engine_0001", "/t/dd00088"),
        ("nofile_0001", "/m/01j3sz"),
    )
    folder = tree(
        "a/--PJHxphWEs.wav",
        "a/-0abcdefgh_.wav",
        "a/speech_0001.wav",
        "a/engine_0001.wav",
        "a/unlisted__1.wav",
        **{"eval_segments.csv": rows},
    )
    reading = found_in(folder, "audioset")
    assert {path: file for path, file in reading.items() if isinstance(file, Found)} == {
        "a/--PJHxphWEs.wav": Found(
            "a/--PJHxphWEs.wav", label="Laughter", recording="audioset:--PJHxphWEs", split="eval"
        ),
        "a/-0abcdefgh_.wav": Found("a/-0abcdefgh_.wav", recording="audioset:-0abcdefgh_", split="eval"),
    }
    assert {Path(path).stem: file.reason for path, file in reading.items() if isinstance(file, Skipped)} == {
        "speech_0001": "labelled as speech, singing or a crowd too",
        "engine_0001": "no vocal sound among its labels",
        "unlisted__1": "not in the segment tables",
        "eval_segments": "not named by an id of YouTube",
    }


@pytest.mark.parametrize(
    "name",
    [
        "--PJHxphWEs.wav",
        "Y--PJHxphWEs.flac",
        "--PJHxphWEs_30.000.m4a",
        "--PJHxphWEs_30000_40000.WAV",
        "Y--PJHxphWEs_30.wav",
    ],
)
def test_audioset_knows_a_video_by_several_names_without_a_table(tree, name):
    assert clips_in(tree(name, "cover.wav"), "audioset") == {name: Found(name, recording="audioset:--PJHxphWEs")}


def test_audioset_ids_that_begin_with_y_lose_nothing(tree):
    clips = clips_in(tree("Yabcdefghi_.wav", "YYabcdefghi_.wav", "Yabcdefghi__3.wav"), "audioset")
    assert {clip.recording for clip in clips.values()} == {"audioset:Yabcdefghi_"}


def test_freesound_keeps_what_a_user_uploaded_together(tree):
    folder = tree("31527__ann_b__baby__cry.aiff", "x/12__ann_b__.MP3", "13__bob__laugh.txt", "baby.wav")
    reading = found_in(folder, "freesound-babies")
    recordings = {file.recording for file in reading.values() if isinstance(file, Found)}
    assert recordings == {"freesound-babies:ann_b"}
    assert isinstance(reading["13__bob__laugh.txt"], Skipped)
    assert isinstance(reading["baby.wav"], Skipped)


@pytest.mark.parametrize("rest", ["_00-13-04.06--00-13-04.3", "SelfTalk-Frustrated", "n01", "-2_00-18-52", "c", " (1)"])
def test_recanvo_knows_a_session_by_date_and_time_whatever_follows(rest, tree):
    names = (f"200306_2047{rest}.wav", "200306_2047_01.wav", "200306_2048_01.wav", "note.wav")
    rows = "".join(f"{name},P01,glee\n" for name in names)
    folder = tree(*names, **{"dataset_file_directory.csv": "Filename,Participant,Label\n" + rows})
    recordings = {path: clip.recording for path, clip in clips_in(folder, "recanvo").items()}
    assert recordings == dict(
        zip(names, ["recanvo:200306_2047", "recanvo:200306_2047", "recanvo:200306_2048", None], strict=True)
    )


def test_nnime_speakers_are_partners_in_a_session_and_scenes_are_no_labels(tree):
    folder = tree("angry_01_A_002.wav", "x/sad_01_B_034.wav", "fear_01_A_001.wav")
    assert clips_in(folder, "nnime") == {
        "angry_01_A_002.wav": Found(
            "angry_01_A_002.wav",
            speaker="nnime:01A",
            session="nnime:01",
            recording="nnime:angry_01",
            language="zh",
        ),
        "x/sad_01_B_034.wav": Found(
            "x/sad_01_B_034.wav", speaker="nnime:01B", session="nnime:01", recording="nnime:sad_01", language="zh"
        ),
    }


TRAIN = (
    "\ufeffFilename,File ID,Duration in ms,Class ID,Classname,augmentation  id,Augmentation  type,source\n"
    "1.wav,7,500,6,yawm,0,Orignal,Freesound\n2.wav,7,500,3,laugh,0,Orignal,YouTube\n"
)
TEST = (
    "Filename,File_ID,Durationin ms,Class_id,Classname,Augment Id,Augmentation type,source\n"
    "3.wav,7,500,6,yawn,0,Original,Freesound\n4.wav,8,500,1,cough,0,Original,Freesound\n"
)


def test_nonspeech7k_reads_both_spellings_and_keeps_the_leak_in_one_recording(tree):
    folder = tree(
        "train/train/1.wav",
        "train/train/2.wav",
        "train/train/9.wav",
        "test/3.wav",
        **{"metadata of train set .csv": TRAIN, "metadata of test set.csv": TEST},
    )
    clips = clips_in(folder, "nonspeech7k")
    assert {path: (clip.label, clip.recording, clip.split) for path, clip in clips.items()} == {
        "train/train/1.wav": ("yawn", "nonspeech7k:freesound 7", "train"),
        "train/train/2.wav": ("laugh", "nonspeech7k:youtube 7", "train"),
        "test/3.wav": ("yawn", "nonspeech7k:freesound 7", "test"),
        "4.wav": ("cough", "nonspeech7k:freesound 8", "test"),
    }


def test_nonspeech7k_in_its_archives(tree):
    folder = tree(**{"metadata of train set .csv": TRAIN})
    with zipfile.ZipFile(folder / "train.zip", "w") as archive:
        archive.writestr("train/1.wav", "")
        archive.writestr("train/2.wav", "")
    assert sorted(clips_in(folder, "nonspeech7k")) == ["train.zip/train/1.wav", "train.zip/train/2.wav"]


def test_singing_database_reads_monophonic_takes_of_both_parts(tree):
    chinese, western = "monophonic/chinese/fem_01/neg_1.wav", "monophonic/western/male_12/pos_3.wav"
    odd, polyphonic = "monophonic/western/male_12/warm up.wav", "polyphonic/chinese/fem_01/neg_1.wav"
    reading = found_in(tree(chinese, western, odd, polyphonic), "singing-database")
    assert reading == {
        chinese: Found(chinese, label="neg", speaker="singing-database:fem_01", language="zh"),
        western: Found(western, label="pos", speaker="singing-database:male_12"),
        odd: Found(odd, speaker="singing-database:male_12"),
        polyphonic: Skipped(polyphonic, "not a monophonic take"),
    }


def test_tut_labels_mixtures_by_the_event_list_and_reads_source_cries(tree):
    def mixture(number, subset="devtrain", sound="babycry"):
        return f"mixture_{subset}_{sound}_{number:03}_{'0a' * 16}.wav"

    root = "data/mixture_data/devtrain/20b255387a2d0cddc0a3dff5014875e7"
    folder = tree(
        f"{root}/audio/{mixture(0)}",
        f"{root}/audio/{mixture(1)}",
        f"{root}/audio/{mixture(2)}",
        f"{root}/audio/{mixture(0, sound='gunshot')}",
        f"x/{mixture(3, 'evaltest')}",
        "data/source_data/bgs/audio/b001.wav",
        "data/source_data/events/babycry/31527.wav",
        "data/source_data/events/babycry/31527.yaml",
        "data/source_data/events/gunshot/1.wav",
        **{f"{root}/meta/event_list_devtrain_babycry.csv": f"{mixture(0)}\t3.1\t4.5\tbabycry\n{mixture(1)}\n"},
        **{f"{root}/meta/event_list_devtrain_gunshot.csv": f"{mixture(2)}\t3.1\t4.5\tgunshot\n"},
    )
    clips = clips_in(folder, "tut-babies")
    assert {Path(path).name: (clip.label, clip.split) for path, clip in clips.items()} == {
        mixture(0): ("babycry", "devtrain"),
        mixture(1): ("background", "devtrain"),
        mixture(2): (None, "devtrain"),
        mixture(3, "evaltest"): (None, "evaltest"),
        "31527.wav": ("babycry", None),
    }
    assert {clip.recording for clip in clips.values()} == {"tut-babies:babycry"}


def test_vocalsketch_does_not_take_rounded_ids_for_participants(tree):
    root = "interactiveaudiolab-VocalSketchDataSet-1a2b"
    header = "id,filename,included,participant_id,sound_label\n"
    dash, drum = "saw - up (fast), 2 - 5721941054849024.wav", "drum - 5683045831016448.wav"
    second = "vocal_imitations_set2/included/drum - 5540000000000001.wav"
    folder = tree(
        f"{root}/vocal_imitations/included/{dash}",
        f"{root}/vocal_imitations/excluded/{drum}",
        f"{root}/excluded_vocal_imitations/{drum}",
        f"{root}/vocal_imitations/included/._{drum}",
        f"{root}/{second}",
        f"{root}/sound_recordings/drum - 1.wav",
        **{f"{root}/vocal_imitations.csv": f'{header}1,"{dash}",True,77,saw\n2,{drum},False,78,drum\n'},
        **{f"{root}/vocal_imitaitons_set2.csv": f"{header}5.54E+15,{Path(second).name},TRUE,5.55E+15,drum\n"},
    )
    clips = clips_in(folder, "vocalsketch")
    label_and_groups = {
        path.removeprefix(f"{root}/"): (clip.label, clip.speaker, clip.recording) for path, clip in clips.items()
    }
    assert label_and_groups == {
        f"vocal_imitations/included/{dash}": ("saw - up (fast), 2", "vocalsketch:77", None),
        f"vocal_imitations/excluded/{drum}": ("drum", "vocalsketch:78", None),
        f"excluded_vocal_imitations/{drum}": ("drum", "vocalsketch:78", None),
        second: ("drum", None, "vocalsketch:5.55E+15"),
    }


def vocalsound(rate, *names):
    return [f"{rate}/audio_{rate}/{name}.wav" for name in names]


def test_vocalsound_takes_its_split_by_name_and_one_of_its_rates(tree):
    names = ("f0003_0_throatclearing", "f0003_1_sigh", "m0004_0_laughter")
    data = {"data": [{"wav": "/authors/disk/f0003_0_throatclearing.wav", "labels": "/m/0dl9sf8"}]}
    val = {"data": [{"wav": "/authors/disk/m0004_0_laughter.wav", "labels": "/m/01j3sz"}]}
    folder = tree(
        *vocalsound("16k", *names, "unknown"),
        *vocalsound("44k", *names),
        **{"16k/datafiles/te.json": json.dumps(data), "16k/datafiles/val.json": json.dumps(val)},
        **{"16k/datafiles/all.json": "no split", "16k/datafiles/subtest/te_age1.json": "nor this"},
    )
    reading = found_in(folder, "vocalsound")
    first, second, third = vocalsound("16k", *names)
    assert {path: file for path, file in reading.items() if isinstance(file, Found)} == {
        first: Found(first, "throatclearing", "vocalsound:f0003", "vocalsound:f0003_0", split="test"),
        second: Found(second, "sigh", "vocalsound:f0003", "vocalsound:f0003_1"),
        third: Found(third, "laughter", "vocalsound:m0004", "vocalsound:m0004_0", split="validation"),
    }
    for path in vocalsound("44k", *names):
        assert reading[path] == Skipped(path, "the same clips are in audio_16k")


def test_vocalsound_at_44k_alone_is_read(tree):
    folder = tree(*vocalsound("44k", "f0003_0_cough"))
    assert list(clips_in(folder, "vocalsound")) == vocalsound("44k", "f0003_0_cough")


def test_vocalsound_lists_of_another_form_are_refused(tree):
    folder = tree("audio_16k/f0001_0_sigh.wav", **{"datafiles/tr.json": '{"clips": []}'})
    with pytest.raises(UserError, match=r'tr.json is not of the form {"data": \[{"wav": PATH}\]}; download it again'):
        clips_in(folder, "vocalsound")


def test_tables_that_contradict_each_other_are_refused(tree):
    line = "Filename,File ID,Classname,source\na.wav,1,{},freesound\n"
    tables = {
        f"metadata of {side} set.csv": line.format(label) for side, label in (("train", "yawn"), ("test", "cough"))
    }
    with pytest.raises(UserError, match="metadata of t.* set.csv and metadata of t.* say different things about a.wav"):
        clips_in(tree("a.wav", **tables), "nonspeech7k")
