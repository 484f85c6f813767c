"""A few files of every corpus of the catalog, as it is distributed: path to text, or None for a sound."""

UUID = "0D1AD73E-4C5E-45F3-85C4-9A3CB71E8856"
MIXTURE = f"mixture_devtrain_babycry_000_{'0a' * 16}.wav"
ASVP = ("Audio/actor_12/03-01-06-01-02-12-02-01-01-16.wav", "Audio/actor_9/03-02-13-01-02-10-02-01.wav")
TURNS = "[6.2901 - 8.2357]\tSes01F_impro04_F000\tneu\t[2, 2, 2]\n[10.0 - 11.3]\tSes01F_impro04_M000\texc\t[2, 2, 2]\n"
MSP = "UTD-IMPROV-S01A-F02-R-FF01.avi; H; A:2.8; V:1.4; D:2.6 ; N:4.2;\n"
EMODB2 = {
    "emodb_2.0/wav/03a01Wa.wav": None,
    "emodb_2.0/db.emotion.csv": "file,emotion\nwav/03a01Wa.wav,anger\n",
    "emodb_2.0/db.emotion.categories.test.gold_standard.csv": "file,emotion\nwav/03a01Wa.wav,anger\n",
}


def sounds(*paths):
    return dict.fromkeys(paths)


DONATEACRY = sounds(
    f"donateacry_corpus_cleaned_and_updated_data/discomfort/{UUID}-1430742197-1.0-m-04-ch.wav",
    f"donateacry_corpus_cleaned_and_updated_data/hungry/{UUID}-1430742198-1.0-m-04-hu.wav",
)
EMOMATCH = sounds("clips/03_Alegria_02.wav", "clips/50_Ira_12.wav")

MINIATURES = {
    "audioset": {
        "clips/--PJHxphWEs.wav": None,
        "clips/--PJHxphWEt_30.flac": None,
        "eval_segments.csv": '# 1\n--PJHxphWEs, 30.000, 40.000, "/m/01j3sz"\n--PJHxphWEt, 1.0, 2.0, "/m/07plz5l"\n',
    },
    "freesound-babies": sounds("x/31527__ann_b__baby__cry.aiff", "x/12__bob__.mp3"),
    "human-voice": sounds(
        "data/voices/martin/notes/exports/mono/A#3-2.wav", "data/voices/martin/voyels/exports/mono/_-ou-c3-4.wav"
    ),
    "nnime": sounds("clips/angry_01_A_002.wav", "clips/sad_01_B_034.wav"),
    "nonspeech7k": {
        "train/train/1.wav": None,
        "test/3.wav": None,
        "metadata of train set .csv": "Filename,File ID,Classname,source\n1.wav,7,yawm,Freesound\n",
        "metadata of test set.csv": "Filename,File_ID,Classname,source\n3.wav,8,laugh,YouTube\n",
    },
    "recanvo": {
        "clips/200126_2142_00-13-04.06--00-13-04.324.wav": None,
        "clips/200306_2047SelfTalk-Frustrated_00-01.wav": None,
        "dataset_file_directory.csv": "Filename,Participant,Label\n"
        "200126_2142_00-13-04.06--00-13-04.324.wav,P01,social\n200306_2047SelfTalk-Frustrated_00-01.wav,P02,glee\n",
    },
    "singing-database": sounds("monophonic/chinese/fem_01/neg_1.wav", "monophonic/western/male_12/pos_3.wav"),
    "tut-babies": {
        f"mixture_data/devtrain/0a/audio/{MIXTURE}": None,
        "source_data/events/babycry/31527.wav": None,
        "mixture_data/devtrain/0a/meta/event_list_devtrain_babycry.csv": f"{MIXTURE}\n",
    },
    "vocalsketch": {
        "vocal_imitations/included/saw (fast), 2 - 5721941054849024.wav": None,
        "vocal_imitations_set2/included/drum - 5540000000000001.wav": None,
        "vocal_imitations.csv": 'filename,participant_id\n"saw (fast), 2 - 5721941054849024.wav",77\n',
        "vocal_imitaitons_set2.csv": "filename,participant_id\ndrum - 5540000000000001.wav,5.55E+15\n",
    },
    "vocalsound": {
        "audio_16k/f0003_0_throatclearing.wav": None,
        "audio_44k/f0003_0_throatclearing.wav": None,
        "datafiles/te.json": '{"data": [{"wav": "/authors/f0003_0_throatclearing.wav"}]}',
    },
    "asvp-esd": sounds(*ASVP),
    "asvp-esd-babies": sounds("Bonus/actor_150/03-02-17-01-02-150-04-01-04-17.wav"),
    "asvp-esd-nonspeech": sounds(*ASVP),
    "cnvve": sounds("raw/ahem/7/ahem_12_a.wav", "cleaned/ahem/ahem_12_a_1.wav", "cleaned/psst/psst_3_b.wav"),
    "donateacry": DONATEACRY,
    "donateacry-uploads": sounds(
        f"donateacry-android-upload-bucket/{UUID.lower()}-1437123865948-1.7-f-26-dk.3gp",
        f"donateacry-ios-upload-bucket/{UUID}-1430742197.25-1.0-m-04-ch.caf",
    ),
    "nonverbal-vocalization": sounds("NonverbalVocalization/coughing/2AV8_4_1_0_44_0_0_0.wav"),
    "vivae": sounds(
        "VIVAE/full_set/S04_surprise_peak_10.wav",
        "VIVAE/core_set/S04_surprise_peak_10.wav",
        "VIVAE/core_set/S04_fear_low_02.wav",
    ),
    "jnv": sounds("jnv_corpus_ver2/JNV/F1/F1_happy_01_F.wav"),
    "iemocap": {
        "Session1/sentences/wav/Ses01F_impro04/Ses01F_impro04_F000.wav": None,
        "Session1/sentences/wav/Ses01F_impro04/Ses01F_impro04_M000.wav": None,
        "Session1/dialog/EmoEvaluation/Ses01F_impro04.txt": TURNS,
    },
    "msp-improv": {"session2/S01A/R/MSP-IMPROV-S01A-F02-R-FF01.wav": None, "Evaluation.txt": MSP},
    "aesdd": sounds("AESDD/anger/a03 (3).wav", "AESDD/sadness/s05 (3).wav"),
    "cafe": sounds("48k/Joie/Fort/12-J-2-5.wav", "192k/Joie/Fort/12-J-2-5.aiff", "192k/Neutre/03-N-1-2.aiff"),
    "demos": sounds("DEMOS/PR_m_23_tri00a.wav", "NEU/m_68_neu05b.wav"),
    "emodb": EMODB2,
    "emomatch": EMOMATCH,
    "emospanish": EMOMATCH,
    "emovo": sounds("EMOVO/f2/gio-f2-b2.wav"),
    "eyase": sounds("Female01/ep_1_ang (3).wav"),
    "oreau": sounds("OréauFR_02/f/sessj/10a02Ja.wav", "OréauFR_01/f/sessj/10a02Ja.wav"),
    "shemo": sounds("female/F03S02.wav", "male/M41F12.wav"),
    "librispeech": sounds("LibriSpeech/dev-other/84/121123/84-121123-0001.flac"),
    "librilight-limited": sounds("librispeech_finetuning/1h/5/other/84/121123/84-121123-0001.flac"),
}
