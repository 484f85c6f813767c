"""Measures clips per second and core: ``nonverbal prepare`` as a whole, and other tools that decode the same files.

``python benchmarks/prepare.py FOLDER ... [--datasets PYTHON ...] [--rounds 3] [--json FILE]``

- nonverbal: the command itself with one worker: decodes (soundfile, FFmpeg), checks, resamples to 16 kHz at soxr's
  highest quality, hashes, drops duplicates, splits, encodes FLAC, and writes shards with manifest, table and ledger.
- datasets: reads every file of a dataset through ``Audio(sampling_rate=16000)`` and writes it as mono FLAC with
  soundfile; for comparison, it also only decodes into memory. Each ``--datasets`` is the Python of an environment with
  this library, its decoder, and soundfile.
- ffmpeg: one process per file, to 16 kHz mono FLAC on the same disk; only every 16th file, because it takes long.
- av: FFmpeg's libraries in one Python process, the same work as ffmpeg without starting processes.

Each is a separate command, bound to one core, and its start is included. Seconds are CPU time of the command and all
its processes: other load on the machine lengthens wall time, but hardly CPU time. In every round, all run in turn;
figures are medians. Only nonverbal checks, hashes, drops duplicates and writes shards. ``ratio`` compares it with the
fastest tool that writes FLAC, ``ratio_decoded`` with the fastest that only decodes.
"""

import argparse
import ctypes
import json
import os
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENDINGS = (".wav", ".flac")
FFMPEG_EVERY = 16

DECODED = ", only decoded"

DATASETS = """
import sys
import soundfile
from datasets import Audio, Dataset, __version__
try:
    import torch
    torch.set_num_threads(1)
except ImportError:
    pass
files = open(sys.argv[1]).read().splitlines()
samples = 0
for number, row in enumerate(Dataset.from_dict({"audio": files}).cast_column("audio", Audio(sampling_rate=16000))):
    sound = row["audio"]
    # A dictionary up to version 3, a decoder in later ones.
    array = sound["array"] if isinstance(sound, dict) else sound.get_all_samples().data.numpy()
    samples += array.shape[-1]
    if len(sys.argv) > 2:
        mono = array if array.ndim == 1 else array.mean(axis=0)
        soundfile.write(f"{sys.argv[2]}/{number}.flac", mono, 16000, subtype="PCM_16")
print("datasets", __version__, "torchcodec" if "torchcodec" in sys.modules else "soundfile", samples)
"""

AV = """
import sys
import av
for number, name in enumerate(open(sys.argv[1]).read().splitlines()):
    with av.open(name) as source, av.open(f"{sys.argv[2]}/{number}.flac", "w") as target:
        stream = target.add_stream("flac", rate=16000, layout="mono", format="s16")
        resampler = av.AudioResampler(format="s16", layout="mono", rate=16000)
        for frame in [*source.decode(audio=0), None]:
            for part in resampler.resample(frame):
                target.mux(stream.encode(part))
        target.mux(stream.encode(None))
"""


def main() -> None:
    """Measure, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="folders of .wav and .flac files")
    parser.add_argument("--datasets", nargs="*", default=[], help="Python interpreters with datasets and its decoder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    adopt_orphans()
    figures = measure(arguments.folders, arguments)
    print(json.dumps(figures, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure(folders: list[Path], arguments: argparse.Namespace) -> dict[str, float]:
    """Return clips per second of CPU time by tool, their number, and the ratios of ours to the best others."""
    files = [
        path.resolve() for folder in folders for path in sorted(folder.rglob("*")) if path.suffix.lower() in ENDINGS
    ]
    seconds: dict[str, list[float]] = {}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as name:
            scratch = Path(name)
            (scratch / "files").write_text("".join(f"{file}\n" for file in files))
            for tool, command in commands(folders, files, scratch, arguments.datasets).items():
                (scratch / "out").mkdir()
                seconds.setdefault(tool, []).append(processor_seconds(command))
                shutil.rmtree(scratch / "out")
    clips = {tool: len(files[::FFMPEG_EVERY] if tool == "ffmpeg" else files) for tool in seconds}
    rates = {tool: clips[tool] / statistics.median(values) for tool, values in seconds.items()}
    decoded = max((rate for tool, rate in rates.items() if tool.endswith(DECODED)), default=float("nan"))
    best = max(rate for tool, rate in rates.items() if tool != "nonverbal" and not tool.endswith(DECODED))
    ours = rates["nonverbal"]
    return {"clips": len(files), **rates, "ratio": ours / best, "ratio_decoded": ours / decoded}


def commands(folders: list[Path], files: list[Path], scratch: Path, pythons: list[str]) -> dict[str, list[str]]:
    """Return the command of each tool; outputs go into ``scratch/out``."""
    out = scratch / "out"
    corpora = [f"c{number}={folder}" for number, folder in enumerate(folders)]
    ffmpeg = "ffmpeg -v error -nostdin -threads 1 -i {} -ac 1 -ar 16000 -sample_fmt s16 {}"
    some = files[::FFMPEG_EVERY]
    lines = [ffmpeg.format(shlex.quote(str(file)), out / f"{number}.flac") for number, file in enumerate(some)]
    (scratch / "ffmpeg.sh").write_text("\n".join(lines) + "\n")
    ours = [sys.executable, "-m", "nonverbal", "prepare", *corpora, "--processes", "1", "--out", str(out / "shards")]
    return {
        "nonverbal": ours,
        "ffmpeg": ["sh", str(scratch / "ffmpeg.sh")],
        "av": [sys.executable, "-c", AV, str(scratch / "files"), str(out)],
        **{f"datasets {python}": [python, "-c", DATASETS, str(scratch / "files"), str(out)] for python in pythons},
        **{f"datasets {python}{DECODED}": [python, "-c", DATASETS, str(scratch / "files")] for python in pythons},
    }


def processor_seconds(command: list[str]) -> float:
    """Run a command on one core, and return the CPU seconds of all its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    core = str(max(os.sched_getaffinity(0)))
    subprocess.run(["taskset", "-c", core, *command], check=True, env=environment, stdout=sys.stderr)
    while True:
        # The processes of a pool end a little later than the command, and have used most of the time.
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{Path(command[0]).name}: {used:.2f} s, {time.perf_counter() - started:.2f} s elapsed", file=sys.stderr)
    return used


def adopt_orphans() -> None:
    """Make processes whose parents end children of this one, so that their time is counted."""
    set_child_subreaper = 36
    if ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0) != 0:
        raise SystemExit("this kernel does not let a process adopt orphans, so their time would be missing")


if __name__ == "__main__":
    main()
