"""Facts that a process of a launch finds about its node and folders, and the problems in them."""

import contextlib
import glob
import hashlib
import os
import platform
import resource
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nonverbal.data.batching.read_ahead import SHARED_MEMORY_FOLDER
from nonverbal.data.index import open_shards
from nonverbal.errors import UserError
from nonverbal.grouping import grouped
from nonverbal.system import version_of
from nonverbal.text import size
from nonverbal.training.processes import local_rank_problem
from nonverbal.training.run_folder import PACKAGES

OPEN_FILES = 4096
"""Number of files that a process should be able to open: each shard that it reads, and each batch from a worker."""

ROOM_FOR_BATCHES = 256 << 20
"""Bytes of /dev/shm that a process should have. How much the batches that are read ahead need depends on the recipe,
which is unknown here; a run computes it, and refuses to start if there is less (``read_ahead``)."""


@dataclass
class Facts:
    """The facts that one process finds."""

    rank: int
    local_rank: int
    host: str
    asked: int | None
    """Value of `--processes`."""
    world: int
    """Number of processes."""
    device: str
    """Name of the GPU, or CPU."""
    device_id: str | None = None
    """UUID of the GPU."""
    pci: str | None = None
    """PCI address of the GPU, such as 0000:3b:00.0."""
    visible: str | None = None
    """CUDA_VISIBLE_DEVICES."""
    cpus: int = 0
    """Number of cores that this process may use."""
    numa: list[int] = field(default_factory=list)
    """NUMA nodes of these cores."""
    device_numa: int | None = None
    """NUMA node of the GPU."""
    versions: dict[str, str | None] = field(default_factory=dict)
    open_files: int = 0
    """The limit on open files (ulimit -n)."""
    shared_memory: int | None = None
    """Bytes free in /dev/shm; None if it does not exist."""
    timezone: str = ""
    data: list[str] = field(default_factory=list)
    """SHA-256 of the index of each folder of shards."""
    staging_free: int | None = None
    """Bytes free in the folder to which shards will be copied."""
    staging_needed: int = 0
    """Bytes of the shards that have not been copied yet."""
    problems: list[str] = field(default_factory=list)
    """Problems that this process has found by itself."""

    @property
    def name(self) -> str:
        """The name of the process in messages."""
        return f"process {self.rank} on {self.host}"


def gather(rank: int, world: int, asked: int | None, data: list[Path], staging: Path | None) -> Facts:
    """Return what one process of ``world`` finds about this node and folders of shards."""
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
    """Turn any error into a problem of the facts: the other processes wait for these, and report the problem."""
    try:
        yield
    except Exception as error:
        facts.problems.append(" ".join(str(error).split()) or type(error).__name__)


def _look_at_device(facts: Facts) -> None:
    if not torch.cuda.is_available():
        if glob.glob("/dev/nvidia[0-9]*") and facts.visible not in ("", "-1", "NoDevFiles"):
            raise UserError(
                "torch sees no GPU, although the node has some: its driver is too old for this torch, this torch was "
                "built without CUDA, or the container was started without GPUs (apptainer exec --nv)"
            )
        return
    count = torch.cuda.device_count()
    if problem := local_rank_problem(facts.local_rank, count):
        facts.problems.append(problem)
    # If LOCAL_RANK is too large, this is a GPU that another process uses too, which is then reported.
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
    """Return the name that ``slurm/pretrain.sh`` gives its copy of a folder of shards: a hash of its index files."""
    facts = [path for path in (folder / "index.json", folder / "log-mel.json") if path.is_file()]
    return hashlib.sha256(b"".join(path.read_bytes() for path in facts)).hexdigest()[:16]


def numa_of(cores: Iterable[int], system: Path = Path("/sys/devices/system/node")) -> list[int]:
    """Return the NUMA nodes to which cores belong; empty if the system does not know."""
    nodes = []
    for folder in system.glob("node[0-9]*"):
        spans = [span.split("-") for span in (folder / "cpulist").read_text().strip().split(",") if span]
        own = {core for span in spans for core in range(int(span[0]), int(span[-1]) + 1)}
        if not own.isdisjoint(cores):
            nodes.append(int(folder.name.removeprefix("node")))
    return sorted(nodes)


def launch_problems(facts: list[Facts]) -> list[str]:
    """Return the problems that prevent the processes from communicating, each with its remedy."""
    problems = []
    first = facts[0]
    if first.asked not in (None, first.world):
        problems.append(
            f"--processes asks for {first.asked}, but the launcher started {first.world}: set both to the same number"
        )
    for device, sharing in grouped(facts, lambda one: one.device_id and (one.host, one.device_id)).items():
        if device is not None and len(sharing) > 1:
            problems.append(
                f"{_names(sharing)} have the same GPU ({sharing[0].device}, {device[1]}): start as many processes on a "
                "node as it has GPUs, each with a LOCAL_RANK of its own"
            )
    by_kind = grouped(facts, lambda one: one.device_id is not None)
    if len(by_kind) > 1:
        problems.append(f"{_names(by_kind[False])} without a GPU, but the others have one: run nvidia-smi there")
    for name in sorted({name for one in facts for name in one.versions}):
        problems += _different_versions(facts, name)
    return problems


def other_problems(facts: list[Facts]) -> list[str]:
    """Return the other problems with which a run would fail, each with its remedy."""
    own = grouped([one for one in facts if one.problems], lambda one: tuple(one.problems))
    problems = [f"{_names(ones)}: {problem}" for texts, ones in own.items() for problem in texts]
    with_data = [one for one in facts if one.data]
    shards = grouped(with_data, lambda one: ", ".join(one.data))
    return problems + _different(shards, "--data (SHA-256 of index.json)", "give all nodes the same shards")


def cautions(facts: list[Facts]) -> list[str]:
    """Return problems that do not stop a run, but should be fixed."""
    zones = grouped(facts, lambda one: one.timezone)
    notes = _different(zones, "time zone", "times in the logs of nodes will not agree")
    few = [one for one in facts if one.open_files < OPEN_FILES]
    if few:
        least = min(one.open_files for one in few)
        notes.append(f"{_names(few)} may open only {least} files: set ulimit -n to {OPEN_FILES} or more")
    for host, ones in grouped(facts, lambda one: one.host).items():
        free = ones[0].shared_memory
        if free is not None and free < ROOM_FOR_BATCHES * len(ones):
            notes.append(
                f"{SHARED_MEMORY_FOLDER} of {host} has {size(free)} free for {len(ones)} processes: batches that are "
                "read ahead need it, and a run may refuse to start or end with a bus error; see docs/pretrain.md, "
                f"Reading ahead. {size(ROOM_FOR_BATCHES)} per process suffice for most recipes (docker run --shm-size)"
            )
    far = [one for one in facts if one.numa and one.device_numa not in (None, -1, *one.numa)]
    if far:
        notes.append(
            f"{_names(far)} on cores of another NUMA node than that of the GPU: bind each task to cores near its GPU"
        )
    return notes


def _different_versions(facts: list[Facts], package: str) -> list[str]:
    groups = grouped(facts, lambda one: one.versions.get(package))
    return _different(groups, package, "install the same version on all nodes")


def _different(groups: dict[Any, list[Facts]], what: str, remedy: str) -> list[str]:
    if len(groups) < 2:
        return []
    told = "; ".join(f"{value or 'none'} for {_names(ones)}" for value, ones in groups.items())
    return [f"{what} differs: {told}; {remedy}"]


def _names(facts: list[Facts]) -> str:
    """Return the names of processes, grouped by node."""
    by_host = grouped(facts, lambda one: one.host)
    return ", ".join(f"{ranks([one.rank for one in ones])} on {host}" for host, ones in by_host.items())


def ranks(numbers: list[int]) -> str:
    """Return the names of processes by their ranks: process 3; processes 0 to 7; processes 0, 2."""
    if len(numbers) == 1:
        return f"process {numbers[0]}"
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"processes {numbers[0]} to {numbers[-1]}"
    return f"processes {', '.join(map(str, numbers))}"
