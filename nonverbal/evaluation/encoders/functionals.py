"""openSMILE's functionals: one vector per clip, of features that experts chose.

Papers: voc2vec (through a network), Emotion information recovery (ComParE_2016 with an SVM). Home: the package
opensmile, under audEERING's research licence: not for products.

ComParE_2016 has 6373 values (Schuller et al., 2016), eGeMAPS v02 has 88 (Eyben et al., 2016). The whole clip is one
frame, which has no deviation, so embeddings consist of these values alone; other encoders have a mean and a deviation.
The scales of the values differ by ten orders of magnitude, so heads standardise them. openSMILE reads 16 bits, in which
louder samples would wrap around, so samples are clipped to that range.
"""

import importlib.util
import math
import warnings
from typing import Any

import numpy as np

from nonverbal.data.index import SAMPLE_RATE
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders.base import Kind, Size, refuse_short
from nonverbal.licences import Terms

SETS = {"compare": ("ComParE_2016", 6373), "egemaps": ("eGeMAPSv02", 88)}
"""From the name here to that of openSMILE, and the number of values."""

LOUDEST = 32767 / 32768

TERMS = Terms(
    "the licence in the package opensmile 2.6.0",
    True,
    commercial=False,
    redistribution=True,
    remark="audEERING Research License Agreement: research and teaching; also commercial research apart from products",
    identifier="LicenseRef-audEERING-research",
)


class Functionals:
    """The functionals of one of openSMILE's feature sets, for the whole clip."""

    layers = 1
    max_seconds = math.inf
    one_frame = True
    shortest = 960
    """The longest of openSMILE's windows, 60 ms; shorter clips give NaN."""

    def __init__(self, name: str) -> None:
        """Take a feature set by its name here.

        Raises:
            UserError: opensmile is not installed.
        """
        refuse_missing(name)
        of_opensmile, self.dimensions = SETS[name]
        self.name = self.kind = name
        self.smile = Smile(of_opensmile, "Functionals")
        self.key = f"{self.smile.key}-functionals"

    def frames(self, waveform: np.ndarray) -> np.ndarray:
        """Return ``(1, 1, values)`` float32 of a waveform ``(T,)``, float32 in [-1, 1], 16 kHz."""
        refuse_short(self.name, len(waveform), self.shortest)
        return self.smile(waveform)[None]


class Smile:
    """One of openSMILE's feature sets at one of its levels."""

    def __init__(self, features: str, level: str) -> None:
        """Take both by their names in openSMILE."""
        import opensmile

        found = opensmile.FeatureSet[features], opensmile.FeatureLevel[level]
        self.smile: Any = opensmile.Smile(*found, num_workers=1)
        self.key = f"opensmile-{opensmile.__version__}-{features}"

    @property
    def names(self) -> list[str]:
        """Names of the values in openSMILE."""
        return list(self.smile.feature_names)

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Return ``(S, values)`` float32 of a waveform ``(T,)``, float32 in [-1, 1], 16 kHz.

        Raises:
            UserError: openSMILE gives NaN or infinity.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = self.smile.process_signal(waveform.clip(-1, LOUDEST), SAMPLE_RATE).to_numpy()
        if not np.isfinite(found).all():
            raise UserError(
                f"openSMILE gave NaN or infinite values for a clip of {len(waveform)} samples; leave such clips out"
            )
        values: np.ndarray = found.astype(np.float32)
        return values


def refuse_missing(name: str) -> None:
    """Raise the ``UserError`` for a package that is not installed."""
    if importlib.util.find_spec("opensmile") is None:
        raise UserError(f"{name} is computed by openSMILE, which is not installed: pip install 'nonverbal[opensmile]'")


def _kind(name: str, title: str) -> Kind:
    return Kind(
        name,
        title,
        lambda _: Functionals(name),
        lambda _: refuse_missing(name),
        shortest=Functionals.shortest,
        size=Size(SETS[name][1], 1),
        terms=TERMS,
        needs="opensmile",
        notes=__doc__ or "",
    )


KINDS = (
    _kind("compare", "openSMILE: functionals of ComParE_2016"),
    _kind("egemaps", "openSMILE: functionals of eGeMAPS v02"),
)
