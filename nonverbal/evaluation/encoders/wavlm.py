"""WavLM: HuBERT's objective on mixed and noisy speech, with relative positions (Chen et al., 2022).

Papers: voc2vec (wavlm, wavlm-plus), RENO. Home: huggingface.co, by the ids below.

Positions are relative and computed from the first block on, so the layers are those of one pass in transformers.
"""

from nonverbal.evaluation.encoders.base import Size
from nonverbal.evaluation.encoders.waveforms import waveform_kind

KINDS = (
    waveform_kind(
        "wavlm",
        "WavLM: base and large layouts",
        __doc__,
        {
            "microsoft/wavlm-base": Size(768, 13),
            "microsoft/wavlm-base-plus": Size(768, 13),
            "microsoft/wavlm-large": Size(1024, 25),
        },
    ),
)
