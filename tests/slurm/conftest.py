"""A Slurm of two nodes on this machine, started for these tests and stopped after them."""

import ctypes
import getpass
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from nonverbal.data.preparing.prepare import prepare
from nonverbal.data.preparing.settings import PrepareConfig, Source
from nonverbal.data.synthetic import write_corpus

ROOT = Path(__file__).parents[2]

# cred_expire is also how many seconds a requeued job waits. Each node claims more cores than this machine has, and
# GPUs that are other devices, so that jobs of any shape can start.
SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=0
ReturnToService=2
MpiDefault=none
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=8 Gres=gpu:2
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=8 Gres=gpu:2
PartitionName=normal Nodes=ALL Default=YES PriorityTier=1
PartitionName=graceful Nodes=ALL PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=OFF
"""


class Cluster:
    """Slurm's commands, and ``nonverbal``, on the cluster of the tests."""

    def __init__(self, folder: Path) -> None:
        # Nothing of a Slurm that this machine may belong to.
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        self.environment = clean | {"SLURM_CONF": str(folder / "slurm.conf"), "OMP_NUM_THREADS": "1"}

    def run(self, *command: object) -> str:
        """Run a command and return what it prints."""
        arguments = [str(part) for part in command]
        result = subprocess.run(arguments, capture_output=True, text=True, env=self.environment, timeout=600)
        assert result.returncode == 0, f"{arguments}: {result.stdout}{result.stderr}"
        return result.stdout

    def nonverbal(self, *arguments: object) -> str:
        """Run ``nonverbal`` of this checkout."""
        return self.run(sys.executable, "-m", "nonverbal", *arguments)

    def job(self, number: str) -> dict[str, str]:
        """Return what Slurm says of a job."""
        return dict(re.findall(r"(\w+)=(\S*)", self.run("scontrol", "show", "job", number)))

    def wait(self, number: str, until: Callable[[dict[str, str]], bool], seconds: float = 300) -> dict[str, str]:
        """Wait until a condition holds for a job, which it then returns."""
        end = time.monotonic() + seconds
        while not until(job := self.job(number)):
            assert time.monotonic() < end, f"after {seconds} s: {job}\n{self.log(number)}"
            time.sleep(0.5)
        return job

    def ended(self, number: str, seconds: float = 300) -> dict[str, str]:
        """Wait until a job has ended for good."""
        return self.wait(number, lambda job: job["JobState"] not in ("PENDING", "RUNNING", "COMPLETING"), seconds)

    def log(self, number: str) -> str:
        """Return what a job has printed so far."""
        path = re.search(r"StdOut=(.*)", self.run("scontrol", "show", "job", number))
        return Path(path[1]).read_text() if path and Path(path[1]).exists() else ""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start munged, slurmctld and two slurmd; stop them, and whatever still runs on them, in the end."""
    folder = tmp_path_factory.mktemp("slurm")
    write_configuration(folder)
    cluster = Cluster(folder)
    munge = [f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("key-file", "socket", "pid-file", "log-file")]
    with ExitStack() as running:

        def start(*command: str) -> None:
            running.enter_context(daemon(command, cluster.environment, folder / "daemons.log"))

        start("munged", "--foreground", "--force", f"--seed-file={folder}/munge.seed", *munge)
        wait_for((folder / "munge.socket").exists, "munged")
        start("slurmctld", "-D", "-c")
        wait_for(lambda: "UP" in cluster.run("scontrol", "ping"), "slurmctld")
        start("slurmd", "-D", "-N", "node1")
        start("slurmd", "-D", "-N", "node2")
        running.callback(stop_jobs, cluster)
        wait_for(lambda: cluster.run("sinfo", "-h", "-N", "-p", "normal", "-o", "%T").split() == ["idle"] * 2, "slurmd")
        yield cluster


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return synthetic sounds of six classes, by 12 speakers."""
    work = tmp_path_factory.mktemp("sounds")
    write_corpus(work / "corpus", range(12), 2, seed=0)
    source = Source(folder=work / "corpus", pattern=r"(?P<label>[a-z]+)/[a-z]+_(?P<speaker>s\d+)_\d+\.wav")
    return prepare(PrepareConfig(corpora={"synthetic": source}, out=work / "shards")).folder


def write_configuration(folder: Path) -> None:
    ports = free_ports(3)
    names = {"host": platform.node(), "user": getpass.getuser(), "folder": folder, "ports": ports}
    (folder / "slurm.conf").write_text(SLURM_CONF.format(**names))
    (folder / "gres.conf").write_text(f"NodeName=node[1-2] Name=gpu File={folder}/gpu[0-1]\n")
    # Slurm tells tasks of GPUs only where they are devices.
    for name, device in (("gpu0", "null"), ("gpu1", "zero")):
        (folder / name).symlink_to(f"/dev/{device}")
    (folder / "state").mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


@contextmanager
def daemon(command: tuple[str, ...], environment: dict[str, str], log: Path) -> Iterator[None]:
    """Run a daemon in the foreground; it ends with this block, and with this process, however that ends."""

    def end_with_parent() -> None:
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG

    program = shutil.which(command[0], path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert program is not None, f"{command[0]} is not installed; make test-slurm does that"
    with open(log, "a") as output:
        process = subprocess.Popen(
            [program, *command[1:]], stdout=output, stderr=output, env=environment, preexec_fn=end_with_parent
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


def stop_jobs(cluster: Cluster) -> None:
    cluster.run("scancel", "--user", getpass.getuser())
    wait_for(lambda: not cluster.run("squeue", "-h"), "the end of all jobs", 60)


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds(condition):
        assert time.monotonic() < end, f"{what} did not come within {seconds} s"
        time.sleep(0.2)


def holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except AssertionError:
        # A command that failed, as all do until the daemons listen.
        return False
