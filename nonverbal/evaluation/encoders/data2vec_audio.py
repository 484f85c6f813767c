"""data2vec: prediction of a slow copy's own layers, on waveforms (Baevski et al., 2022).

Papers: voc2vec. Home: huggingface.co, by the id below.

Its convolutions have layer norms in the base size too, so nothing of a clip's frames depends on its length but
attention.
"""

from nonverbal.evaluation.encoders.base import Size
from nonverbal.evaluation.encoders.waveforms import waveform_kind

KINDS = (
    waveform_kind(
        "data2vec-audio",
        "data2vec of audio",
        __doc__,
        {"facebook/data2vec-audio-base": Size(768, 13)},
    ),
)
