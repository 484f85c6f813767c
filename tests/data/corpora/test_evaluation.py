from pathlib import Path

from readings import clips_in, found_in

from nonverbal.data.corpora.base import Found, Skipped

ASVP = (
    "Audio/actor_12/03-01-06-01-02-12-02-01-01-16.wav",  # speech, with a counter that is the code of another sound
    "Audio/actor_9/03-02-13-01-02-10-02-01.wav",  # eight fields; folder and field disagree
    "Audio/actor_/03-02-04-x-02-07-zz-01-01-14 -03-66.wav",  # odd values, a space, a folder without a number
    "Audio/actor_12/notes.wav",
    "Bonus/actor_150/03-02-17-01-02-150-04-01-04-17.wav",
    "Bonus/actor_50/03-02-04-01-02-12-04-01-04-14-24.wav",
)


def test_asvp_esd_reads_fields_by_position(tree):
    reading = found_in(tree(*ASVP), "asvp-esd")
    assert reading == {
        ASVP[0]: Found(ASVP[0], label="fearful", speaker="asvp-esd:12"),
        ASVP[1]: Found(ASVP[1], label="breath", speaker="asvp-esd:10"),
        ASVP[2]: Found(ASVP[2], label="sad", speaker="asvp-esd:7"),
        **{path: Skipped(path, "not a clip of the folder Audio") for path in ASVP[3:]},
    }


def test_asvp_esd_nonspeech_is_channel_02_of_audio(tree):
    reading = found_in(tree(*ASVP), "asvp-esd-nonspeech")
    assert [path for path, file in reading.items() if isinstance(file, Found)] == [ASVP[2], ASVP[1]]
    assert reading[ASVP[0]] == Skipped(ASVP[0], "speech")


def test_asvp_esd_babies_is_bonus_in_pools(tree):
    assert clips_in(tree(*ASVP), "asvp-esd-babies") == {
        ASVP[4]: Found(ASVP[4], label="unknown", recording="asvp-esd:babies 150"),
        ASVP[5]: Found(ASVP[5], label="sad", recording="asvp-esd:babies 50"),
    }


RAW, CLEANED = "raw/ahem/7/ahem_12_a.wav", "cleaned/ahem/ahem_12_a_1.wav"


def test_cnvve_prefers_cleaned_clips(tree):
    odd = "cleaned/psst/recording.wav"
    assert found_in(tree(RAW, CLEANED, odd, "cleaned/list.csv"), "cnvve") == {
        RAW: Skipped(RAW, "raw; the cleaned clips are read"),
        CLEANED: Found(CLEANED, label="ahem", speaker="cnvve:12"),
        odd: Found(odd, label="psst"),
        "cleaned/list.csv": Skipped("cleaned/list.csv", "not in a class's folder"),
    }


def test_cnvve_raw_clips_alone_are_read(tree):
    unnamed = "ahem/7/ahem_12_b.wav"
    assert clips_in(tree(RAW, unnamed), "cnvve") == {
        RAW: Found(RAW, label="ahem", speaker="cnvve:12"),
        unnamed: Found(unnamed, label="ahem", speaker="cnvve:12"),
    }


def test_cnvve_raw_and_cleaned_are_told_apart_at_the_top_too(tree):
    reading = found_in(tree("hush/1/hush_1_a.wav", "hush/hush_1_a.wav"), "cnvve")
    assert [path for path, file in reading.items() if isinstance(file, Found)] == ["hush/hush_1_a.wav"]


def test_cnvve_knows_a_speaker_whether_or_not_more_follows(tree):
    clips = clips_in(tree("ahem/ahem_12.wav", "ahem/ahem_12_a.wav", "Psst/psst_3_b.WAV"), "cnvve")
    assert [(clip.label, clip.speaker) for clip in clips.values()] == [
        ("psst", "cnvve:3"),
        ("ahem", "cnvve:12"),
        ("ahem", "cnvve:12"),
    ]


def test_nonverbal_vocalization_labels_by_code(tree):
    names = ("2AV8_4_1_0_44_0_0_0.wav", "2AV8_15_1_1_44_1_1_1.wav", "2AV8_16_1_1_44_1_1_1.wav", "2AV8_4_1.wav")
    clips = clips_in(tree(*(f"NonverbalVocalization/odd folder/{name}" for name in names)), "nonverbal-vocalization")
    assert {Path(path).name: clip.label for path, clip in clips.items()} == {
        names[0]: "coughing",
        names[1]: "screaming",
        names[2]: None,
    }
    assert {clip.speaker for clip in clips.values()} == {"nonverbal-vocalization:2AV8"}


def test_jnv_accepts_adjectives_and_nouns_and_not_jvnv(tree):
    folder = tree(
        "jnv_corpus_ver2/JNV/F1/F1_happy_01_F.wav",
        "jnv_corpus_ver2/JNV/F1/F1_happiness_02_R.wav",
        "jnv_corpus_ver2/JNV/M2/M2_angry_01_R.wav",
        "jnv_corpus_ver2/JNV/M2/M2_bored_01_R.wav",
        "jvnv_v1/F1/anger/F1_anger_regular_01.wav",
    )
    clips = clips_in(folder, "jnv")
    assert {Path(path).stem: (clip.label, clip.speaker) for path, clip in clips.items()} == {
        "F1_happy_01_F": ("happy", "jnv:F1"),
        "F1_happiness_02_R": ("happy", "jnv:F1"),
        "M2_angry_01_R": ("anger", "jnv:M2"),
        "M2_bored_01_R": (None, "jnv:M2"),
    }
