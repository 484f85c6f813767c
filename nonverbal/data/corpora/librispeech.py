"""LibriSpeech: books read aloud, in English; and the small labelled parts of it on which Libri-light fine-tunes.

Home: openslr.org/12; dl.fbaipublicfiles.com/librilight. Licence: CC-BY-4.0 from memory: commercial use and
redistribution with attribution; also for Libri-light's parts.
Expected, from memory or other people's notes: utterances of train-clean-100 28539, dev-clean 2703, dev-other 2864,
test-clean 2620, test-other 2939. Not known here: those of train-clean-360 and train-other-500, and of Libri-light's
parts. 16 kHz.
Verified: the names of the splits, on a loader; the layout of Libri-light's parts.

The split is the folder, with the same name. A chapter is the session and the recording. Transcripts lie beside the
audio and are not read here. Libri-light's parts are drawn from LibriSpeech, and share its speakers and chapters: 1h/0
to 1h/5 are folds of ten minutes, 1h is all six, and ten hours are 1h and 9h. The usual ten minutes are fold 0, from
memory.
"""

import re
from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Found, Reading, clip
from nonverbal.data.corpora.readers import read_by_name
from nonverbal.licences import spdx

NAME = "librispeech"
"""Also qualifies the speakers and recordings of Libri-light's parts."""
UTTERANCE = r"(?P<speaker>\d+)/(?P<chapter>\d+)/(?P=speaker)-(?P=chapter)-\d+\.flac"
PATTERN = (
    rf"(?:.*/)?(?P<split>(?:dev|test)-(?:clean|other)|train-clean-100|train-clean-360|train-other-500)/{UTTERANCE}"
)
LOOKS_LIKE = "LibriSpeech/<split>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac"
LIMITED_PATTERN = rf"(?:.*/)?(?P<split>1h/[0-5]|9h)/(?:clean|other)/{UTTERANCE}"
LIMITED_LOOKS_LIKE = (
    "librispeech_finetuning/{1h/<fold>,9h}/{clean,other}/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac"
)
SKIPPED = "not an utterance; transcripts are not read"


def read(folder: Path) -> Reading:
    """No label; the split is the folder."""
    return read_by_name(folder, PATTERN, _describe, SKIPPED, LOOKS_LIKE)


def read_limited(folder: Path) -> Reading:
    """No label; the split is the folder, 1h with its fold."""
    return read_by_name(folder, LIMITED_PATTERN, _describe, SKIPPED, LIMITED_LOOKS_LIKE)


def _describe(match: re.Match[str], path: str) -> Found:
    chapter = f"{match['speaker']}-{match['chapter']}"
    return clip(
        NAME, path, speaker=match["speaker"], session=chapter, recording=chapter, language="en", split=match["split"]
    )


CORPORA = (
    Corpus(
        name=NAME,
        title="LibriSpeech: books read aloud, in English",
        purposes=("recognition",),
        home="openslr.org/12",
        licence="CC-BY-4.0",
        terms=spdx("CC-BY-4.0", "memory", False),
        get="Download the splits, such as train-clean-100.tar.gz, from OpenSLR, and unpack them.",
        clips=None,
        hours=None,
        verified="the names of the splits, on a loader; not the licence, nor the splits' sizes",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        languages=("en",),
    ),
    Corpus(
        name="librilight-limited",
        title="Libri-light: ten hours, one hour and ten minutes of LibriSpeech",
        purposes=("recognition",),
        home="dl.fbaipublicfiles.com/librilight",
        licence="CC-BY-4.0",
        terms=spdx("CC-BY-4.0", "memory", False),
        get="Download https://dl.fbaipublicfiles.com/librilight/data/librispeech_finetuning.tgz, and unpack it.",
        clips=None,
        hours=10.0,
        verified="the layout; not the licence, nor the number of clips",
        looks_like=LIMITED_LOOKS_LIKE,
        read=read_limited,
        notes=__doc__,
        languages=("en",),
    ),
)
