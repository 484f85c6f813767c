"""UniSpeech-SAT: HuBERT's objective with contrasts between speakers (Chen et al., 2022).

Papers: RENO. Home: huggingface.co, by the id below.

The layouts are those of wav2vec 2.0.
"""

from nonverbal.evaluation.encoders.base import Size
from nonverbal.evaluation.encoders.waveforms import waveform_kind

KINDS = (
    waveform_kind(
        "unispeech-sat",
        "UniSpeech-SAT: base and large layouts",
        __doc__,
        {"microsoft/unispeech-sat-base-plus": Size(768, 13)},
    ),
)
