"""SingingDatabase: solo takes of opera singers, Chinese and Western; part of Voc125.

Home: isophonics.net/SingingVoiceDataset ("Singing Voice Audio Dataset", Queen Mary University of London).
Licence: stated only on that page, to which others refer; assume that redistribution is not allowed.
Expected: 113 clips, 3.97 h in Voc125; whether these are only the Chinese takes or all is unknown.
Verified: nothing on the corpus itself; home, archive and folders are known from other people's loaders; male singers'
names, the meaning of a take's name and the polyphonic part from memory. The sample rate is unknown.

The singer's folder is the speaker; a name that is in both parts is assumed to be one singer, so that no singer is
split. The label is the emotional content, pos or neg, with which a take's name begins. Both parts are read, and
polyphonic takes are skipped. The folder also gives the sex, fem or male. There are words: the language of the Chinese
part is zh, that of the Western part is unknown.
"""

import re
from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Found, Reading, clip
from nonverbal.data.corpora.readers import read_by_name
from nonverbal.licences import Terms

NAME = "singing-database"
PATTERN = (
    r"(?:.*/)?(?i:monophonic)/(?P<style>(?i:chinese|western))/"
    r"(?P<speaker>(?:(?P<sex>fem|male)_)?[^/]+)/(?:(?P<label>pos|neg)_)?[^/]+\.wav"
)
LOOKS_LIKE = "monophonic/{chinese,western}/<singer>/{pos,neg}_<number>.wav"


def read(folder: Path) -> Reading:
    """Label: pos or neg."""
    return read_by_name(folder, PATTERN, _describe, "not a monophonic take", LOOKS_LIKE)


def _describe(match: re.Match[str], path: str) -> Found:
    language = "zh" if match["style"].lower() == "chinese" else None
    said = {"sex": match["sex"], "style": match["style"].lower()}
    return clip(NAME, path, said, label=match["label"], speaker=match["speaker"], language=language)


CORPORA = (
    Corpus(
        name=NAME,
        title="SingingDatabase: Chinese and Western opera",
        purposes=("pretraining",),
        home="isophonics.net/SingingVoiceDataset",
        licence="on its page",
        terms=Terms(
            "its page, not seen", False, redistribution=False, remark="that copies are refused is an assumption"
        ),
        get="Download SingingDatabase.zip from its page. It is read as it is, or unpacked.",
        clips=None,
        hours=None,
        verified="nothing on the corpus itself; archive and folders from others' loaders, the rest from memory",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        languages=("zh",),
        voc125=(113, 3.97),
    ),
)
