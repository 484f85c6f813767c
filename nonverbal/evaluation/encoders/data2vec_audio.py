"""data2vec: prediction of the layers of a slowly updated copy of the model, on waveforms (Baevski et al., 2022).

Papers: voc2vec. Home: huggingface.co, by the id below.

Its convolutions have layer norms in the base size too, so a clip's frames depend on its length only through attention.
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
