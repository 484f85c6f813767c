"""Small folders of shards for all tests, and how tests are run."""

import hashlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import made_shards
import numpy as np
import pytest
import torch
from hypothesis import settings

from nonverbal.data.index import ShardFolder
from nonverbal.data.manifest import Clip
from nonverbal.signals import FROM_SCHEDULERS

settings.register_profile("quick", deadline=None, max_examples=50)
settings.load_profile("quick")

START = subprocess.Popen.__init__
MakeShards = Callable[..., ShardFolder]
ROOT = Path(__file__).parent.parent

# The folders of programs are not packages, so a package that is installed under such a name (Hugging Face's evaluate)
# would be taken for one of them.
for name in ("pretrain", "finetune", "evaluate", "demo"):
    sys.modules[name] = ModuleType(name)
    sys.modules[name].__path__ = [str(ROOT / name)]


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs from the tests and from what they start: they compare bits, and start more processes than GPUs.

    ``pytest -m gpu`` runs the tests that need one.
    """
    if not str(config.getoption("markexpr")).startswith("gpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none or where it is hidden; begin with the files that take longest.

    Those are the ones whose tests start processes. At the end, a worker would go through one of them alone.
    """
    for item in items:
        if any(item.get_closest_marker(name) for name in ("chaos", "slurm", "browser", "gpu")):
            item.add_marker("processes")
    starting = Counter(item.path for item in items if item.get_closest_marker("processes"))
    items.sort(key=lambda item: -starting[item.path])
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU: make test-gpu"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let signals end this process: a command that was run in it, and ended, may have left them ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in FROM_SCHEDULERS:
        signal.signal(number, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail a test that starts Python anew without the mark for it, so that ``-m "not processes"`` is quick."""
    if item.get_closest_marker("processes"):
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", _start_no_python)
        return (yield)


def _start_no_python(process: Any, command: Any, *rest: Any, **options: Any) -> None:
    if isinstance(command, list | tuple) and str(command[0]) == sys.executable:
        pytest.fail("this test starts Python anew: mark it with @pytest.mark.processes")
    START(process, command, *rest, **options)


@pytest.fixture(scope="module")
def module_shards(tmp_path_factory: pytest.TempPathFactory) -> MakeShards:
    """Return ``make(clips)`` as ``make_shards`` does, for shards that the tests of a module share."""
    return lambda clips: write_shards(tmp_path_factory.mktemp("shared") / "shards", clips)


@pytest.fixture
def make_shards(tmp_path: Path) -> MakeShards:
    """Return ``make(clips, name="shards")``, where clips are (corpus, seconds, split) and shards hold 8 clips."""

    def make(clips: list[tuple[str, float, str]], name: str = "shards") -> ShardFolder:
        return write_shards(tmp_path / name, clips)

    return make


def write_shards(folder: Path, clips: list[tuple[str, float, str]]) -> ShardFolder:
    """Write noise clips, each a speaker of its own, as a folder of shards."""
    folder.mkdir()
    shards: list[tuple[str, list[made_shards.Part]]] = []
    manifest: list[Clip] = []
    for split in ("train", "validation"):
        chosen = [(number, *clip) for number, clip in enumerate(clips) if clip[2] == split]
        for start in range(0, len(chosen), 8):
            parts = []
            for number, corpus, seconds, _ in chosen[start : start + 8]:
                samples = np.random.default_rng(number).uniform(-0.5, 0.5, round(seconds * 16_000))
                parts.append((len(manifest), 0, samples))
                sound = f"{corpus}:{folder.name}-{number}"
                digest = hashlib.sha256(f"{folder.name}{number}".encode()).hexdigest()
                known = {"end": seconds, "speaker": sound, "recording": sound, "sha256": digest}
                manifest.append(made_shards.made_clip(corpus, number, **known))
            shards.append((split, parts))
    return made_shards.write_shards(folder, manifest, shards)
