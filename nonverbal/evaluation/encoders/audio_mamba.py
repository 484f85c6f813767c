"""Audio Mamba: SSAM's masked spectrogram patches (Yadav and Tan, 2024), as this toolkit pretrains and converts it.

Papers: SSAM, RENO. Home: the .pth files of its authors, which nonverbal convert turns into folders.

A frame is the five bands of 40 ms, concatenated: 960, 1920 and 3840 values for tiny, small and base. The
spectrogram is standardised over the whole input of the model.
"""

from nonverbal.evaluation.encoders.waveforms import waveform_kind

KINDS = (waveform_kind("audio_mamba", "Audio Mamba: SSAM's encoder", __doc__, {}, shortest=1),)
