"""Donate-a-Cry: baby cries in five classes, sent in by parents through an app; one of voc2vec's six test sets.

Home: GitHub gveres/donateacry-corpus. Licence: ODbL 1.0 for the database and DbCL 1.0 for its contents, which allow
commercial use and redistribution with attribution and share-alike. Verified on the repository.
Expected of the cleaned set: 457 clips, 0.88 h, 8 kHz: belly_pain 16, burping 8, discomfort 27, hungry 382, tired 24.
Expected of the raw uploads: 1128 clips, 712 .3gp (Android) and 416 .caf (iOS); hours unknown.

Names end in the app's instance (a UUID, which itself contains dashes), Unix time (seconds on iOS, with a fraction in
some names; milliseconds on Android), app version, sex, age and reason; they are parsed from the right. The instance, in
any case, is the group: an installation, not a baby. The label is the folder, not the code: seven clips with the code ch
(cold, hot) are in discomfort. In the uploads, the label is the code. Some uploads are the originals of cleaned clips;
they share their groups.
"""

import re
from dataclasses import replace
from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Found, Reading, clip
from nonverbal.data.corpora.readers import read_by_name
from nonverbal.licences import spdx, strictest

CLEANED = "donateacry"
"""Also qualifies the uploads, which come from the same installations."""
UUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
NAME = (
    rf"(?P<instance>{UUID})-(?P<time>\d+(?:\.\d+)?)-(?P<version>[\d.]+)"
    # Some uploads also name the device.
    rf"(?:-{UUID})?-(?P<sex>[mf])-(?P<age>\d{{2}})-(?P<reason>[a-z]{{2}})"
)
CLASSES = "belly_pain|burping|discomfort|hungry|tired"
REASONS = {
    "hu": "hungry",
    "bu": "burping",
    "bp": "belly_pain",
    "dc": "discomfort",
    "ti": "tired",
    "lo": "lonely",
    "ch": "cold_hot",
    "sc": "scared",
    "dk": "unknown",
}
AGES = {
    "04": "0 to 4 weeks",
    "48": "4 to 8 weeks",
    "26": "2 to 6 months",
    "72": "7 months to 2 years",
    "22": "over 2 years",
}
CLEANED_LOOKS_LIKE = (
    "donateacry_corpus_cleaned_and_updated_data/<class>/<uuid>-<time>-<version>-<sex>-<age>-<reason>.wav"
)
UPLOADS_LOOKS_LIKE = "donateacry-{android,ios}-upload-bucket/<uuid>-<time>-<version>-<sex>-<age>-<reason>.{3gp,caf}"


def read_cleaned(folder: Path) -> Reading:
    """Label: the class's folder."""
    pattern = rf"(?:.*/)?(?P<label>(?i:{CLASSES}))/{NAME}\.wav"
    return read_by_name(folder, pattern, _describe_cleaned, "not in the cleaned set", CLEANED_LOOKS_LIKE)


def read_uploads(folder: Path) -> Reading:
    """Label: the code at the end of the name."""
    pattern = rf"(?:.*/)?{NAME}(?:\.3gp|\.caf)+"
    return read_by_name(folder, pattern, _describe_upload, "not a raw upload", UPLOADS_LOOKS_LIKE)


def _describe_cleaned(match: re.Match[str], path: str) -> Found:
    instance = match["instance"].lower()
    return clip(CLEANED, path, _attributes(match), label=match["label"].lower(), speaker=instance, recording=instance)


def _describe_upload(match: re.Match[str], path: str) -> Found:
    instance = match["instance"].lower()
    label = REASONS.get(match["reason"])
    return clip(CLEANED, path, _attributes(match), label=label, speaker=instance, recording=instance)


def _attributes(match: re.Match[str]) -> dict[str, str | None]:
    return {"sex": match["sex"], "age": AGES.get(match["age"])}


_CLEANED = Corpus(
    name=CLEANED,
    title="Donate-a-Cry: baby cries, cleaned",
    purposes=("evaluation",),
    home="GitHub gveres/donateacry-corpus",
    licence="ODbL-1.0 AND DbCL-1.0",
    terms=strictest(
        spdx("ODbL-1.0", "GitHub gveres/donateacry-corpus", True),
        spdx("DbCL-1.0", "GitHub gveres/donateacry-corpus", True),
    ),
    get="git clone https://github.com/gveres/donateacry-corpus",
    clips=457,
    hours=0.88,
    verified="all of it, on the repository",
    looks_like=CLEANED_LOOKS_LIKE,
    read=read_cleaned,
    notes=__doc__,
    classes={"belly_pain": 16, "burping": 8, "discomfort": 27, "hungry": 382, "tired": 24},
)
_UPLOADS = replace(
    _CLEANED,
    name="donateacry-uploads",
    title="Donate-a-Cry: the raw uploads",
    purposes=("pretraining",),
    clips=1128,
    hours=None,
    verified="names and counts, on the repository",
    looks_like=UPLOADS_LOOKS_LIKE,
    read=read_uploads,
    classes={},
)
CORPORA = (_CLEANED, _UPLOADS)
