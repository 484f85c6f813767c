"""A released model measured: with transformers alone in a separate process, and with this toolkit."""

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
"""Largest number of seconds for loading and measuring."""

KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
"""Environment variables that the process inherits: none with a token, and none that adds folders to Python's path."""


class Unloadable(UserError):
    """transformers cannot load or run the model: a fault of the folder and not of the settings."""


@dataclass(frozen=True)
class Loaded:
    """A folder as transformers alone loaded and measured it."""

    measured: Measured
    loading: Mapping[str, list[str]]
    """Names of weights that are ``missing``, ``unknown`` to the model, ``drawn`` at random, ``not finite``, or
    ``unlike`` those in the files."""


def measure(folder: Path, trust: bool = False, python: Path | None = None, ours: bool = True) -> Measured:
    """Measure a model in Hugging Face format, with or without a passport.

    Args:
        folder: a folder with configuration, feature extractor and weights in safetensors.
        trust: whether Python code in the folder may be run. No other code is ever run.
        python: interpreter of an environment with torch and transformers; None: this environment.
        ours: whether to measure this toolkit too.

    Raises:
        UserError: the model cannot be loaded.
    """
    measured = run_plain(folder, trust, python).measured
    return with_ours(folder, measured) if ours else measured


def run_plain(folder: Path, trust: bool = False, python: Path | None = None) -> Loaded:
    """Run ``plain_measure.py`` on a folder: ``python -I`` in an empty folder, without network or this toolkit.

    Raises:
        Unloadable: transformers cannot load or run the model.
        UserError: there is no such interpreter, or it lacks torch or transformers.
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
    """Return the results that ``plain_measure`` wrote for a folder.

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
    """Return what was measured, with the figures of this toolkit on the same clips.

    Raises:
        UserError: this toolkit cannot load the model.
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
    """Return the largest difference of a sketch from the measured one, divided by its layer's RMS."""
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
    """Return the process's environment, with empty caches of Hugging Face, so that no cached code is used."""
    given = {name: os.environ[name] for name in KEPT if name in os.environ}
    own = {"HOME": place, "HF_HOME": place, "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    # Threads that spin while they wait are slow if other programs use the same cores.
    return given | own | {"OMP_WAIT_POLICY": "PASSIVE"}
