"""A released model measured: by plain transformers in a process of its own, and by this toolkit's path beside it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import load_frame_encoder
from nonverbal.evaluation.exactness import embedded, padded, with_neighbours
from nonverbal.release import plain_measure
from nonverbal.release.passport import Measured

TIMEOUT = 3600
"""Seconds that loading and measuring may take."""

KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
"""Variables of the environment that the process is given: none that holds a token, or names folders of Python's."""


class Unloadable(UserError):
    """A model that transformers cannot load or run: a fault of the folder, not of how it was asked for."""


@dataclass(frozen=True)
class Loaded:
    """What plain transformers made of a folder."""

    measured: Measured
    loading: Mapping[str, list[str]]
    """Names of weights: ``missing``, ``unknown`` to the model, ``drawn`` at random, ``not finite``, or ``unlike`` what
    the files hold."""


def measure(folder: Path, trust: bool = False, python: Path | None = None, ours: bool = True) -> Measured:
    """Measure a model in Hugging Face format, which need not have a passport.

    Args:
        folder: with its configuration, feature extractor and weights in safetensors.
        trust: whether Python code that lies in the folder may be run; nothing else is, ever.
        python: interpreter of an environment with torch and transformers; this one where None.
        ours: whether to measure this toolkit's own path too.

    Raises:
        UserError: it cannot be loaded.
    """
    measured = run_plain(folder, trust, python).measured
    return with_ours(folder, measured) if ours else measured


def run_plain(folder: Path, trust: bool = False, python: Path | None = None) -> Loaded:
    """Run ``plain_measure.py`` on a folder: ``python -I``, in an empty folder, without the network or this toolkit.

    Raises:
        Unloadable: transformers cannot load or run the model.
        UserError: there is no such interpreter, or it cannot measure.
    """
    interpreter = str(python or sys.executable)
    with tempfile.TemporaryDirectory(prefix="nonverbal-verify-") as place:
        out, empty = Path(place, "measured.json"), Path(place, "empty")
        empty.mkdir()
        command = [interpreter, "-I", plain_measure.__file__, str(folder.resolve()), str(out)]
        done = _run([*command, *(["--trust"] if trust else [])], empty, _environment(place))
        if not out.exists():
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise UserError(
                f"{interpreter} could not measure {folder} (exit code {done.returncode}: {last}); --python needs an "
                "environment with torch, transformers and safetensors"
            )
        return read(folder, json.loads(out.read_text(encoding="utf-8")))


def read(folder: Path, found: Mapping[str, Any]) -> Loaded:
    """Return what ``plain_measure`` wrote of a folder.

    Raises:
        Unloadable: the model could not be loaded or run.
    """
    if "failed" in found:
        stack = ", ".join(f"{name} {version}" for name, version in found["stack"].items())
        raise Unloadable(
            f"transformers cannot load {folder} ({found['failed']}) under {stack}; release the model again, or "
            "use the versions in its passport"
        )
    measured = Measured(found["stack"], found["figures"], found["layers"], found["sketch"])
    return Loaded(measured, found["loading"])


def with_ours(folder: Path, measured: Measured) -> Measured:
    """Return what was measured, with this toolkit's own path beside it: on the same clips, exact or not.

    Raises:
        UserError: this toolkit cannot load it.
    """
    encoder, clips = load_frame_encoder(str(folder)), plain_measure.waveforms()
    alone = embedded(encoder, clips)
    figures = {
        "ours alone": gap(measured, plain_measure.sketch(alone)),
        "ours batch": with_neighbours(encoder, clips, alone),
        "ours padded": padded(encoder, clips, alone),
    }
    return replace(measured, figures=measured.figures | figures)


def gap(measured: Measured, sketch: Any) -> float:
    """Return how far embeddings are from those measured: the largest difference of a sketch, over its layer's RMS."""
    one, other = np.asarray(measured.sketch), np.asarray(sketch)
    if one.shape != other.shape or one.ndim != 3 or len(measured.layers) != one.shape[1]:
        return float("inf")
    return plain_measure.farthest(one, other, np.asarray(measured.layers))


def _run(command: list[str], folder: Path, environment: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env=dict(environment),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"measuring took more than {TIMEOUT} s; use a machine with more cores") from error
    except OSError as error:
        raise UserError(f"--python: {command[0]} cannot be run ({error.strerror})") from error


def _environment(place: str) -> dict[str, str]:
    """Caches of Hugging Face begin empty, so that code of an earlier release is not taken for this one's."""
    given = {name: os.environ[name] for name in KEPT if name in os.environ}
    own = {"HOME": place, "HF_HOME": place, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    # Threads that spin while they wait crawl where others use the same cores.
    return given | own | {"OMP_WAIT_POLICY": "PASSIVE"}
