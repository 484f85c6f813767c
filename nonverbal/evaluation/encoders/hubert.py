"""HuBERT: masked prediction of units on waveforms (Hsu et al., 2021).

Papers: voc2vec, RENO. Home: huggingface.co, by the ids below.

The layouts are those of wav2vec 2.0. The best of voc2vec's checkpoints started from the HuBERT of LibriSpeech.
"""

from nonverbal.evaluation.encoders.base import Size
from nonverbal.evaluation.encoders.waveforms import waveform_kind

KINDS = (
    waveform_kind(
        "hubert",
        "HuBERT: base and large layouts",
        __doc__,
        {
            "facebook/hubert-base-ls960": Size(768, 13),
            "facebook/hubert-large-ll60k": Size(1024, 25),
            "ALM/hubert-base-audioset": Size(768, 13),
            "alkiskoudounas/voc2vec-hubert-ls-pt": Size(768, 13),
        },
    ),
)
