"""``nonverbal COMMAND [RECIPE] [--key value]``: finds the program, runs it, and reports errors in one line."""

import os
import runpy
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from nonverbal.errors import UserError
from nonverbal.files import is_full
from nonverbal.shipped import find_shipped
from nonverbal.signals import exit_code, ignore
from nonverbal.text import one_line

PROGRAMS = {
    "corpora": ("pretrain/corpora.py", "List the corpora that can be read, with their sizes and licences."),
    "prepare": ("pretrain/prepare.py", "Turn folders of sound into shards: decode, check, deduplicate, split."),
    "cluster": ("pretrain/cluster.py", "Compute the units that HuBERT is pretrained on, by k-means."),
    "plan": ("pretrain/plan.py", "Estimate hours, memory, disk and passes of a run by training for a minute."),
    "launch-check": ("pretrain/launch_check.py", "Check nodes, network and folders before a run."),
    "pretrain": ("pretrain/train.py", "Pretrain an encoder on shards; run it again to continue."),
    "submit": (
        "pretrain/submit.py",
        "Pretrain or fine-tune on a Slurm cluster: check, write the batch scripts, submit.",
    ),
    "convert": ("pretrain/convert.py", "Convert a checkpoint to transformers, fairseq, fairseq2 or SSAM's format."),
    "compare": ("evaluate/compare.py", "Compare two encoders: hidden states by layer, and weights."),
    "audit": ("evaluate/audit.py", "Find leaks between two folders of shards, or within one, by name and by sound."),
    "folds": ("evaluate/folds.py", "Write the clips of both sides of each fold, with hashes, for others to use."),
    "encoders": ("evaluate/encoders.py", "List the encoders that can be compared, and the data each was trained on."),
    "embed": ("evaluate/embed.py", "Write encoders' embeddings of clips or sound files, for probes and other tools."),
    "probe": ("evaluate/probe.py", "Score frozen encoders with small classifiers, in folds that share no speaker."),
    "fuse": ("evaluate/fuse.py", "Score several frozen encoders fused in one network: RENO and its baselines."),
    "finetune": (
        "finetune/train.py",
        "Fine-tune an encoder, fold by fold, and a final model; run it again to continue.",
    ),
    "predict": ("finetune/predict.py", "Predict classes of sound files with a fine-tuned model: CSV or JSON Lines."),
    "scores": ("evaluate/scores.py", "Print tables of scores: intervals, comparisons, calibration; LaTeX, CSV, JSON."),
    "analyze": ("evaluate/analyze.py", "Analyse what models decide and represent: maps, disagreements, distances."),
    "study": ("evaluate/study.py", "Run the steps of a paper, or your own, in order, and write a report."),
    "report": ("evaluate/report.py", "Write one page with scores, runs and all figures: a single HTML file."),
    "release": (
        "evaluate/release.py",
        "Make a folder for the Hugging Face Hub: model, card, passport, and what licences allow.",
    ),
    "verify": ("evaluate/verify.py", "Check a released model, in a folder or repository, against its passport."),
    "demo": ("demo/demo.py", "Run all steps on synthetic vocal sounds, in minutes."),
}
"""Commands with their program and summary, in the order in which a project uses them."""

EXAMPLE = """\
From folders of sound to an encoder, and to its scores on clips that it was not trained on:
  nonverbal prepare donateacry=PATH/TO/donateacry-corpus --out shards/cries
  nonverbal prepare laughs=PATH/TO/FOLDER --out shards/first --exclude shards/cries/manifest.jsonl
  nonverbal pretrain recipes/pretrain/wav2vec2_tiny.yaml --data shards/first --out runs/first
  nonverbal probe --data shards/cries --encoders logmel,runs/first/encoder --out runs/first/probe

nonverbal COMMAND --help explains a command and every key. --debug shows the traceback of an error.
"""

INTERRUPTED = "interrupted; run the same command again to continue"


def main() -> None:
    """Run the command of ``sys.argv``."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _say(_help())
    elif arguments[0] == "--version":
        from nonverbal import __version__

        _say(f"nonverbal {__version__}")
    elif arguments[0] not in PROGRAMS:
        _fail(_unknown_command(arguments[0]))
    else:
        program = find_shipped(PROGRAMS[arguments[0]][0])
        sys.argv = [str(program), *arguments[1:]]
        # Threads that spin while waiting are very slow if others use the same cores (measured: 20 times slower).
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        try:
            runpy.run_path(str(program), run_name="__main__")
        except KeyboardInterrupt:
            # Only while the program is still importing; ``run`` handles all later interruptions.
            if "--debug" in arguments:
                raise
            _fail(INTERRUPTED, exit_code(signal.SIGINT))


def run(program: Callable[[list[str]], None]) -> None:
    """Call a program's ``main`` with the arguments, and end the process as a command should.

    A ``UserError`` prints one line and exits with code 2, an interruption with 128 + its signal, and any other error
    with code 1 and one line that calls it a bug. ``--debug`` shows the traceback of all of them.
    """
    debug = "--debug" in sys.argv
    # Otherwise the processes that this one starts would import a random.py in the current folder instead of Python's.
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    try:
        program([argument for argument in sys.argv[1:] if argument != "--debug"])
    except BrokenPipeError:
        _unheard()
    except KeyboardInterrupt as error:
        if debug:
            raise
        # Another Ctrl-C has nothing left to interrupt.
        ignore(signal.SIGINT)
        # An interrupted run stores the number of the signal.
        number = getattr(error, "signal", signal.SIGINT)
        _fail(str(error) or INTERRUPTED, exit_code(number))
    except Exception as error:
        if debug:
            raise
        if isinstance(error, UserError):
            _fail(str(error))
        if is_full(error):
            where = getattr(error, "filename", None) or "what this command writes"
            _fail(f"no space is left for {where}; make room, and run the same command again")
        if isinstance(error, OSError) and error.strerror:
            _fail(f"{error.filename or 'file system'}: {error.strerror}")
        _fail(f"unexpected {type(error).__name__}: {error}; this is a bug in nonverbal, run it again with --debug", 1)


def run_among_others(program: Callable[[list[str]], None]) -> NoReturn:
    """The same as ``run`` for a program that is one of several processes, but exit at once.

    Threads of gloo and NCCL may block a normal exit forever after all work is done.
    """
    code = 0
    try:
        run(program)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _unheard()


def _unheard() -> NoReturn:
    """Exit quietly because the reader of our output, such as ``head``, has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(141)


def _help() -> str:
    lines = [f"  {command:<14}{summary}" for command, (_, summary) in PROGRAMS.items()]
    usage = "usage: nonverbal COMMAND [RECIPE.yaml] [--key value ...]"
    return f"{usage}\n\ncommands:\n" + "\n".join(lines) + f"\n\n{EXAMPLE}"


def _unknown_command(command: str) -> str:
    import difflib

    near = difflib.get_close_matches(command, PROGRAMS, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"commands: {', '.join(PROGRAMS)}"
    return f"unknown command {command!r}; {hint}"


def _fail(message: str, code: int = 2) -> NoReturn:
    rank = os.environ.get("RANK", "0")
    print(f"nonverbal{'' if rank == '0' else f' (process {rank})'}: {one_line(message)}", file=sys.stderr)
    sys.exit(code)
