"""FreeSound, babies: sounds of babies from Freesound.org; part of Voc125.

Home: freesound.org. Licence: that of each clip, CC0, CC BY, CC BY-NC or the older Sampling+: what is allowed depends on
the clip.
Expected: 1450 clips, 23.42 h in Voc125. Which clips, from which search and when, is unknown: voc2vec publishes no list.
Verified: that licences are per clip. The usual name of a download is from memory; layout, formats and rates are
unknown.

Files with the usual name are read, in any folders and formats. Nobody says who is heard; what one user uploaded is one
recording, which is never split. There are no labels. TUT Rare Sound Events, NonSpeech7K and ESC-50 also draw on
Freesound, so they may contain the same sounds, in part cut or mixed.
"""

from pathlib import Path

from nonverbal.data.corpora.base import AUDIO, Corpus, Reading, from_names
from nonverbal.data.corpora.readers import read_by_name
from nonverbal.licences import Terms

NAME = "freesound-babies"
PATTERN = rf"(?:.*/)?\d+__(?P<recording>[^/]+?)__[^/]*{AUDIO}"
LOOKS_LIKE = "<sound id>__<user>__<title>.{wav,aiff,flac,ogg,mp3}"


def read(folder: Path) -> Reading:
    """Label: none."""
    skip = "not audio named <sound id>__<user>__<title>"
    return read_by_name(folder, PATTERN, from_names(NAME), skip, LOOKS_LIKE)


CORPORA = (
    Corpus(
        name=NAME,
        title="FreeSound: babies",
        purposes=("pretraining",),
        home="freesound.org",
        licence="per clip: CC0, CC BY, CC BY-NC or Sampling+",
        terms=Terms("each clip's page on Freesound", True, remark="depends on the clip"),
        get="Choose and download sounds of babies from Freesound; there is no list of those in Voc125. Keep the names "
        "of the downloads.",
        clips=None,
        hours=None,
        verified="that each clip has its own licence; not the names, which are from memory; any folders are accepted",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        voc125=(1450, 23.42),
    ),
)
