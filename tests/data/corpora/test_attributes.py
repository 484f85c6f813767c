"""What else corpora say of clips, and which columns, keys and groups of one's own say it."""

import json
import math

import pytest
from miniatures import MINIATURES, UUID
from readings import attributes_in

from nonverbal.data.corpora import CATALOG
from nonverbal.data.corpora.attributes import MOST, attribute_name, attributes_among, attributes_of, summary
from nonverbal.errors import UserError

ONE_EACH = {
    "human-voice": {"sex": "male", "age": 34, "pitch": "A#3", "take": "2"},
    "nnime": {"elicited": "angry"},
    "nonspeech7k": {"source": "youtube"},
    "singing-database": {"sex": "female", "style": "chinese"},
    "vocalsound": {"sex": "female"},
    "asvp-esd": {"sex": "male", "intensity": "normal", "age": "20 to 64", "source": "web"},
    "asvp-esd-nonspeech": {"sex": "male", "intensity": "normal", "age": "20 to 64", "source": "web"},
    "asvp-esd-babies": {"intensity": "normal", "age": "baby", "source": "web"},
    "donateacry": {"sex": "male", "age": "0 to 4 weeks"},
    "donateacry-uploads": {"sex": "female", "age": "2 to 6 months"},
    "nonverbal-vocalization": {
        "take": "1", "sex": "female", "age": 44, "location": "indoor", "quality": "high", "noise": "clean",
    },
    "vivae": {"sex": "female", "intensity": "peak"},
    "jnv": {"sex": "female"},
    "iemocap": {"sex": "female", "style": "improvised", "valence": 2, "arousal": 2, "dominance": 2},
    "msp-improv": {
        "sex": "female", "elicited": "anger", "style": "target read", "sentence": "S01", "arousal": 2.8, "valence": 1.4,
        "dominance": 2.6, "naturalness": 4.2,
    },
    "aesdd": {"sex": "male", "sentence": "03"},
    "cafe": {"sex": "female", "intensity": "strong", "sentence": "5"},
    "demos": {"style": "prototypical", "sex": "male"},
    "emodb": {"sex": "male", "sentence": "a01", "take": "a"},
    "emomatch": {"sentence": "02"},
    "emospanish": {"elicited": "joy", "sentence": "02"},
    "emovo": {"sex": "female", "sentence": "b2"},
    "eyase": {"sex": "female"},
    "oreau": {"sex": "female", "sentence": "a02", "take": "a"},
    "shemo": {"sex": "female"},
}  # fmt: skip
"""What a clip of each corpus's miniature says; of a corpus that is not here, none says anything."""


@pytest.mark.parametrize("name", MINIATURES)
def test_every_corpus_says_what_its_names_and_tables_say(tree, name):
    folder = tree(**{path: text or "" for path, text in MINIATURES[name].items()})
    found = list(attributes_in(folder, name).values())
    if name in ONE_EACH:
        assert ONE_EACH[name] in found
    else:
        assert found.count({}) == len(found)


def test_every_corpus_is_tried():
    assert ONE_EACH.keys() < MINIATURES.keys() == CATALOG.keys()


@pytest.mark.parametrize(
    ("name", "path", "expected"),
    [
        # Codes that nobody documents are left out.
        ("asvp-esd", "Audio/actor_9/03-02-13-07-02-09-09-88-01-77.wav", {"sex": "female", "noise": "noisy"}),
        ("cafe", "03-N-1-2.wav", {"sex": "male", "sentence": "2"}),
        ("donateacry-uploads", f"{UUID}-1430742197-1.0-m-99-ch.caf", {"sex": "male"}),
        ("nonverbal-vocalization", "2AV8_4_1_7_x_0_1_1.wav",
         {"take": "1", "age": "x", "location": "indoor", "quality": "low", "noise": "noisy"}),
        ("emodb", "17a01Wa.wav", {"sentence": "a01", "take": "a"}),
        ("aesdd", "a06 (5)b.wav", {"sex": "male", "sentence": "06", "take": "b"}),
        ("demos", "m_68_neu05b.wav", {"sex": "male"}),
        ("oreau", "10a02Ja.wav", {"sentence": "a02", "take": "a"}),
        ("human-voice", "data/voices/martin/notes/exports/mono/bended.wav", {"sex": "male", "age": 34}),
        ("human-voice", "data/voices/martin/voyels/exports/mono/_-ou-c3-4.wav",
         {"sex": "male", "age": 34, "pitch": "c3", "take": "4"}),
    ],
)  # fmt: skip
def test_what_a_name_says(tree, name, path, expected):
    assert attributes_in(tree(path), name) == {path: expected}


def test_audioset_names_all_sounds_of_a_clip_that_has_several(tree):
    table = '# 1\n--PJHxphWEs, 30.0, 40.0, "/m/01j3sz,/m/07plz5l"\n'
    folder = tree("--PJHxphWEs.wav", **{"eval_segments.csv": table})
    assert attributes_in(folder, "audioset") == {"--PJHxphWEs.wav": {"sounds": "Laughter; Sigh"}}


def test_vocalsketch_tells_drafts_apart(tree):
    table = "filename,participant_id,included,draft,satisfaction\na - 1.wav,7,True,FALSE,4.5\n"
    folder = tree("vocal_imitations/a - 1.wav", **{"vocal_imitations.csv": table})
    expected = {"included": "true", "draft": "false", "satisfaction": 4.5}
    assert attributes_in(folder, "vocalsketch") == {"vocal_imitations/a - 1.wav": expected}


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("sex", "sex"), ("Sex", "sex"), ("GENDER", "sex"), ("activation", "arousal"), ("attribute_room", "room"),
        ("Attribute_Room size", "Room size"), ("attribute_age", "age"), ("room", None), ("email", None),
        ("label", None),
        ("attribute_label", None), ("attribute_", None), ("attribute_1", None), ("attribute_" + "x" * 65, None),
        ("", None),
    ],
)  # fmt: skip
def test_which_columns_are_attributes(column, name):
    assert attribute_name(column) == name


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("sex", "F", "female"), ("sex", " Male ", "male"), ("sex", "other", "other"), ("sex", "?", None),
        ("sex", 1, None), ("age", "44", 44), ("age", "20 to 64", "20 to 64"), ("age", 3.5, 3.5),
        ("valence", "2.5", 2.5),
        ("valence", "high", None), ("valence", "nan", None), ("intensity", "04", "04"), ("room", True, "true"),
        ("room", 2, 2), ("room", math.nan, None), ("room", math.inf, None), ("room", [1], None),
        ("room", {"a": 1}, None),
        ("room", None, None), ("room", "  ", None), ("room", "x" * 200, "x" * 200), ("room", "x" * 201, None),
        ("room", 10**400, None), ("room", "\ud800", None), ("text", "said", None), ("a\nb", "x", None),
    ],
)  # fmt: skip
def test_values_are_texts_and_finite_numbers(name, value, read):
    assert attributes_of({name: value}) == ({} if read is None else {name: read})


def test_a_clip_has_so_many_attributes_and_no_more():
    assert len(attributes_of({f"x{i}": i for i in range(100)})) == MOST
    assert len(attributes_among({f"attribute_x{i}": i for i in range(100)})) == MOST


def test_of_two_columns_the_first_that_can_be_read_counts():
    assert attributes_among({"sex": "?", "gender": "f"}) == {"sex": "female"}
    assert attributes_among({"gender": "m", "sex": "f"}) == {"sex": "male"}


def test_a_pattern_names_attributes(tree):
    folder = tree("laugh/ann_f_3_kitchen.wav")
    pattern = r"(?P<speaker>\w+?)_(?P<sex>[fm])_(?P<age>\d+)_(?P<attribute_room>\w+)\.wav"
    expected = {"sex": "female", "age": 3, "room": "kitchen"}
    assert attributes_in(folder, "c", "folder", pattern) == {"laugh/ann_f_3_kitchen.wav": expected}
    with pytest.raises(UserError, match=r"names room; groups may be label, .*attributes sex, .*or attribute_NAME"):
        attributes_in(folder, "c", "folder", r"(?P<room>\w+)")


def test_a_table_names_attributes(tree):
    table = "file_name,Gender,attribute_room,email\n0.wav,F,kitchen,ann@example.org\n1.wav,?,nan,\n"
    folder = tree("0.wav", "1.wav", **{"metadata.csv": table})
    assert attributes_in(folder, "c") == {"0.wav": {"sex": "female", "room": "kitchen"}, "1.wav": {}}


def test_rows_in_json_name_attributes_whatever_they_hold(tree):
    rows = [
        {"file_name": "0.wav", "age": 7, "arousal": [1, 2], "attribute_room": {"size": 3}},
        {"file_name": "1.wav", "age": float("nan"), "attribute_x": "y" * 300, "valence": 1.5},
    ]
    folder = tree("0.wav", "1.wav", **{"metadata.jsonl": "\n".join(map(json.dumps, rows))})
    assert attributes_in(folder, "c") == {"0.wav": {"age": 7}, "1.wav": {"valence": 1.5}}


def test_a_summary_counts_values():
    counts = summary([{"sex": "male"}, {"sex": "female", "age": 3}, {"sex": "female"}, {}])
    assert counts == {"sex": {"female": 2, "male": 1}, "age": {"3": 1}}
    assert list(counts["sex"]) == ["female", "male"]
