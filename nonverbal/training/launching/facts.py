"""What a process of a launch sees of its node and folders, and what in that is wrong for a run."""

import contextlib
import glob
import hashlib
import os
import platform
import resource
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nonverbal.data.batching.read_ahead import SHARED_MEMORY_FOLDER
from nonverbal.data.index import open_shards
from nonverbal.errors import UserError
from nonverbal.system import version_of
from nonverbal.text import size
from nonverbal.training.processes import local_rank_problem
from nonverbal.training.run_folder import PACKAGES

OPEN_FILES = 4096
"""Files that a process should be able to hold open: each shard it reads, and each batch a worker hands over."""

ROOM_FOR_BATCHES = 256 << 20
"""Bytes of /dev/shm that a process should have. What the batches that are read ahead need there depends on the recipe,
which is not known here; a run counts it, and refuses to start where there is less (``read_ahead``)."""


@dataclass
class Facts:
    """What one process sees."""

    rank: int
    local_rank: int
    host: str
    asked: int | None
    """Processes that `--processes` asks for."""
    world: int
    """Processes that there are."""
    device: str
    """Name of the GPU, or CPU."""
    device_id: str | None = None
    """UUID of the GPU."""
    pci: str | None = None
    """The GPU's place on the bus, such as 0000:3b:00.0."""
    visible: str | None = None
    """CUDA_VISIBLE_DEVICES."""
    cpus: int = 0
    """Cores that this process may use."""
    numa: list[int] = field(default_factory=list)
    """NUMA nodes of these cores."""
    device_numa: int | None = None
    """NUMA node of the GPU."""
    versions: dict[str, str | None] = field(default_factory=dict)
    open_files: int = 0
    """The limit on open files (ulimit -n)."""
    shared_memory: int | None = None
    """Bytes free in /dev/shm; None where there is none."""
    timezone: str = ""
    data: list[str] = field(default_factory=list)
    """SHA-256 of the index of each folder of shards."""
    staging_free: int | None = None
    """Bytes free where shards will be copied to."""
    staging_needed: int = 0
    """Bytes of the shards that are not there yet."""
    problems: list[str] = field(default_factory=list)
    """What this process alone has found."""

    @property
    def name(self) -> str:
        """What the process is called in messages."""
        return f"process {self.rank} on {self.host}"


def gather(rank: int, world: int, asked: int | None, data: list[Path], staging: Path | None) -> Facts:
    """Look at this node, and at folders of shards, as one process of ``world`` sees them."""
    local = int(os.environ.get("LOCAL_RANK", "0"))
    facts = Facts(rank, local, platform.node(), asked, world, "CPU", visible=os.environ.get("CUDA_VISIBLE_DEVICES"))
    facts.cpus = len(os.sched_getaffinity(0))
    facts.numa = numa_of(os.sched_getaffinity(0))
    facts.open_files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    facts.shared_memory = shutil.disk_usage(SHARED_MEMORY_FOLDER).free if SHARED_MEMORY_FOLDER.is_dir() else None
    facts.timezone = time.strftime("%z")
    facts.versions = {name: version_of(name) for name in PACKAGES} | {"python": platform.python_version()}
    with _noting(facts):
        _look_at_device(facts)
    with _noting(facts):
        _look_at_data(facts, data, staging)
    return facts


@contextlib.contextmanager
def _noting(facts: Facts) -> Iterator[None]:
    """Keep what is wrong here for the others to hear, rather than leave them waiting."""
    try:
        yield
    except Exception as error:
        facts.problems.append(" ".join(str(error).split()) or type(error).__name__)


def _look_at_device(facts: Facts) -> None:
    if not torch.cuda.is_available():
        if glob.glob("/dev/nvidia[0-9]*") and facts.visible not in ("", "-1", "NoDevFiles"):
            raise UserError(
                "torch sees no GPU, though the node has some: its driver is too old for this torch, this torch is one "
                "without CUDA, or the container was started without GPUs (apptainer exec --nv)"
            )
        return
    count = torch.cuda.device_count()
    if problem := local_rank_problem(facts.local_rank, count):
        facts.problems.append(problem)
    # Some GPU, where there is not one of this number, to say which the process would share.
    index = facts.local_rank % count
    properties: Any = torch.cuda.get_device_properties(index)
    place = (properties.pci_domain_id, properties.pci_bus_id, properties.pci_device_id)
    facts.device, facts.device_id = properties.name, str(properties.uuid)
    facts.pci = "{:04x}:{:02x}:{:02x}.0".format(*place)
    node = Path(f"/sys/bus/pci/devices/{facts.pci}/numa_node")
    facts.device_numa = int(node.read_text()) if node.exists() else None
    nccl: Any = torch.cuda.nccl
    facts.versions |= {"CUDA": torch.version.cuda, "NCCL": ".".join(map(str, nccl.version()))}


def _look_at_data(facts: Facts, data: list[Path], staging: Path | None) -> None:
    folders = [open_shards(folder) for folder in data]
    facts.data = [folder.sha256 for folder in folders]
    if staging is not None:
        new = [folder for folder in folders if not (staging / staged_name(folder.folder)).is_dir()]
        facts.staging_needed = sum(shard["bytes"] for folder in new for shard in folder.shards)
        there = next(place for place in (staging.absolute(), *staging.absolute().parents) if place.exists())
        facts.staging_free = shutil.disk_usage(there).free
        if facts.staging_needed > facts.staging_free:
            raise UserError(
                f"{staging} has {size(facts.staging_free)} free, but the shards that are to be copied there need "
                f"{size(facts.staging_needed)}; make room, or choose another --staging (null reads them where they are)"
            )


def staged_name(folder: Path) -> str:
    """Return what ``slurm/pretrain.sh`` calls its copy of a folder of shards: a hash of what says what is in it."""
    facts = [path for path in (folder / "index.json", folder / "log-mel.json") if path.is_file()]
    return hashlib.sha256(b"".join(path.read_bytes() for path in facts)).hexdigest()[:16]


def numa_of(cores: Iterable[int], system: Path = Path("/sys/devices/system/node")) -> list[int]:
    """Return the NUMA nodes that some cores belong to; empty where the system does not tell."""
    nodes = []
    for folder in system.glob("node[0-9]*"):
        spans = [span.split("-") for span in (folder / "cpulist").read_text().strip().split(",") if span]
        own = {core for span in spans for core in range(int(span[0]), int(span[-1]) + 1)}
        if not own.isdisjoint(cores):
            nodes.append(int(folder.name.removeprefix("node")))
    return sorted(nodes)


def launch_problems(facts: list[Facts]) -> list[str]:
    """Return what would keep the processes from working together at all, each with its remedy."""
    problems = []
    first = facts[0]
    if first.asked not in (None, first.world):
        problems.append(
            f"--processes asks for {first.asked}, but the launcher started {first.world}: give both the same number"
        )
    for device, sharing in _grouped(facts, lambda one: one.device_id and (one.host, one.device_id)).items():
        if device is not None and len(sharing) > 1:
            problems.append(
                f"{_names(sharing)} have the same GPU ({sharing[0].device}, {device[1]}): start as many processes on a "
                "node as it has GPUs, and give each a LOCAL_RANK of its own among the GPUs that it sees"
            )
    by_kind = _grouped(facts, lambda one: one.device_id is not None)
    if len(by_kind) > 1:
        problems.append(f"{_names(by_kind[False])} without a GPU, the others with one: look at nvidia-smi there")
    for name in sorted({name for one in facts for name in one.versions}):
        groups: dict[Any, list[Facts]] = {}
        for one in facts:
            groups.setdefault(one.versions.get(name), []).append(one)
        problems += _different(groups, name, "install the same everywhere")
    return problems


def other_problems(facts: list[Facts]) -> list[str]:
    """Return what else a run would fail on, each with its remedy."""
    own = _grouped([one for one in facts if one.problems], lambda one: tuple(one.problems))
    problems = [f"{_names(ones)}: {problem}" for texts, ones in own.items() for problem in texts]
    with_data = [one for one in facts if one.data]
    shards = _grouped(with_data, lambda one: ", ".join(one.data))
    return problems + _different(shards, "--data (SHA-256 of index.json)", "give all nodes the same shards")


def cautions(facts: list[Facts]) -> list[str]:
    """Return what does not stop a run but should be fixed."""
    zones = _grouped(facts, lambda one: one.timezone)
    notes = _different(zones, "time zone", "times in the logs of nodes will not agree")
    few = [one for one in facts if one.open_files < OPEN_FILES]
    if few:
        least = min(one.open_files for one in few)
        notes.append(f"{_names(few)} may hold only {least} files open: ulimit -n {OPEN_FILES} or more")
    for host, ones in _grouped(facts, lambda one: one.host).items():
        free = ones[0].shared_memory
        if free is not None and free < ROOM_FOR_BATCHES * len(ones):
            notes.append(
                f"{SHARED_MEMORY_FOLDER} of {host} has {size(free)} free for {len(ones)} processes: batches that are "
                "read ahead lie there, and a run may refuse to start or end with a bus error; see docs/pretrain.md, "
                f"Reading ahead. {size(ROOM_FOR_BATCHES)} a process suffices for most recipes (docker run --shm-size)"
            )
    far = [one for one in facts if one.numa and one.device_numa not in (None, -1, *one.numa)]
    if far:
        notes.append(
            f"{_names(far)} on cores of another NUMA node than the GPU's: bind each task to cores near its GPU"
        )
    return notes


def _different(groups: dict[Any, list[Facts]], what: str, remedy: str) -> list[str]:
    if len(groups) < 2:
        return []
    told = "; ".join(f"{value or 'none'} for {_names(ones)}" for value, ones in groups.items())
    return [f"{what} differs: {told}; {remedy}"]


def _grouped(facts: Iterable[Facts], of: Callable[[Facts], Any]) -> dict[Any, list[Facts]]:
    groups: dict[Any, list[Facts]] = {}
    for one in facts:
        groups.setdefault(of(one), []).append(one)
    return groups


def _names(facts: list[Facts]) -> str:
    """Name some processes by node, in one text however many they are."""
    by_host = _grouped(facts, lambda one: one.host)
    return ", ".join(f"{ranks([one.rank for one in ones])} on {host}" for host, ones in by_host.items())


def ranks(numbers: list[int]) -> str:
    """Name processes by their numbers: process 3; processes 0 to 7; processes 0, 2."""
    if len(numbers) == 1:
        return f"process {numbers[0]}"
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"processes {numbers[0]} to {numbers[-1]}"
    return f"processes {', '.join(map(str, numbers))}"
