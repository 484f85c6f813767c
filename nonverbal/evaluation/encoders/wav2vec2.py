"""wav2vec 2.0: masked contrastive pretraining on waveforms (Baevski et al., 2020), XLS-R and MMS among them.

Papers: all five here except SSAM. Home: huggingface.co, by the ids below.

base (12 blocks, group norm) and large (24 or 48 blocks, layer norm, normalised waveforms) are distinguished
by config.json. XLS-R and MMS are the large layout on many languages. RENO's MMS has 1280 values, so it is the model
with 1000 million parameters.
"""

from nonverbal.evaluation.encoders.base import Size
from nonverbal.evaluation.encoders.waveforms import waveform_kind

BASE, LARGE, LARGEST = Size(768, 13), Size(1024, 25), Size(1280, 49)

KINDS = (
    waveform_kind(
        "wav2vec2",
        "wav2vec 2.0, XLS-R and MMS: base and large layouts",
        __doc__,
        {
            "facebook/wav2vec2-base": BASE,
            "facebook/wav2vec2-large": LARGE,
            "facebook/wav2vec2-large-lv60": LARGE,
            "facebook/wav2vec2-base-100h": BASE,
            "facebook/wav2vec2-base-960h": BASE,
            "Xinnian/w2v2-libri-10min": BASE,
            "facebook/wav2vec2-large-960h": LARGE,
            "facebook/wav2vec2-large-960h-lv60": LARGE,
            "facebook/wav2vec2-large-960h-lv60-self": LARGE,
            "facebook/wav2vec2-xls-r-300m": LARGE,
            "facebook/mms-300m": LARGE,
            "facebook/mms-1b": LARGEST,
            "ALM/wav2vec2-base-audioset": BASE,
            "alkiskoudounas/voc2vec": BASE,
            "alkiskoudounas/voc2vec-as-pt": BASE,
            "alkiskoudounas/voc2vec-ls-pt": BASE,
        },
    ),
)
