import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from patience import HANGS

from nonverbal import cli
from nonverbal.errors import UserError
from nonverbal.shipped import find_shipped

ROOT = Path(__file__).parent.parent
EXPLAIN = """
import gc, os, runpy, sys
import torch, transformers.models.wav2vec2.modeling_wav2vec2  # theirs takes seconds; ours each command imports itself
gc.freeze()
for command in sys.argv[1:]:
    child = os.fork()
    if not child:
        for descriptor, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{command}.{name}", os.O_WRONLY | os.O_CREAT), descriptor)
        sys.argv, code = ["nonverbal", command, "--help"], None
        try:
            runpy.run_module("nonverbal", run_name="__main__")
        except SystemExit as end:
            code = end.code
        sys.stdout.flush()
        # Without tearing down what it has imported, which takes a second.
        os._exit(int(code or 0))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def nonverbal(*arguments, **options):
    command = [sys.executable, "-m", "nonverbal", *arguments]
    return subprocess.run(command, capture_output=True, text=True, **options)


@pytest.mark.processes
def test_help_lists_every_command():
    result = nonverbal("--help")
    assert result.returncode == 0
    assert all(f"\n  {command} " in result.stdout for command in cli.PROGRAMS)
    assert nonverbal().stdout == result.stdout


@pytest.mark.processes
def test_help_needs_nothing_heavy():
    code = (
        "import sys; sys.argv = ['nonverbal']; from nonverbal import cli; cli.main(); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def explained(tmp_path_factory):
    """What each command does with ``--help``, in a process of its own: exit code, output, errors."""
    folder = tmp_path_factory.mktemp("explained")
    run = [sys.executable, "-c", EXPLAIN, *cli.PROGRAMS]
    codes = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=True).stdout.split()
    texts = [[(folder / f"{command}.{name}").read_text() for name in ("out", "err")] for command in cli.PROGRAMS]
    return {command: (int(code), *text) for command, code, text in zip(cli.PROGRAMS, codes, texts, strict=True)}


@pytest.mark.processes
@pytest.mark.parametrize("command", cli.PROGRAMS)
def test_every_command_explains_itself(command, explained):
    code, output, errors = explained[command]
    assert code == 0, errors
    assert f"usage: nonverbal {command}" in output


@pytest.mark.processes
def test_an_unknown_command_is_one_line():
    result = nonverbal("pretain")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "nonverbal: unknown command 'pretain'; did you mean 'pretrain'?\n"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("no"), 2, "nonverbal: no\n"),
        (FileNotFoundError(2, "No such file or directory", "x"), 2, "nonverbal: x: No such file or directory\n"),
        (OSError(28, "No space left on device", "x"), 2, "nonverbal: no space is left for x; make room, and run"),
        (OSError(28, "No space left on device"), 2, "nonverbal: no space is left for what this command writes; make"),
        (KeyboardInterrupt(), 130, "nonverbal: interrupted; run the same command again to continue\n"),
        (ZeroDivisionError("x"), 1, "nonverbal: unexpected ZeroDivisionError: x; this is a bug in nonverbal, "),
    ],
)
def test_how_a_program_ends(monkeypatch, capsys, error, code, line):
    def program(argv):
        raise error

    monkeypatch.setattr(sys, "argv", ["program"])
    with pytest.raises(SystemExit) as raised:
        cli.run(program)
    assert raised.value.code == code
    assert capsys.readouterr().err.startswith(line)
    monkeypatch.setattr(sys, "argv", ["program", "--debug"])
    with pytest.raises(type(error)):
        cli.run(program)


def test_an_error_is_one_line_whatever_a_name_holds(monkeypatch, capsys):
    def program(argv):
        raise UserError("no clip is labelled 'para\u2028graph\nor\x85so\r\x1b[2J é'")

    monkeypatch.setattr(sys, "argv", ["program"])
    with pytest.raises(SystemExit):
        cli.run(program)
    said = capsys.readouterr().err
    assert said == "nonverbal: no clip is labelled 'para\\u2028graph\\nor\\x85so\\r\\x1b[2J é'\n"


@pytest.fixture
def hostile(monkeypatch, tmp_path):
    """A current folder whose files are called as programs, templates and libraries are."""
    programs = [program for program, _ in cli.PROGRAMS.values()]
    libraries = ["yaml.py", "numpy.py", "random.py", "config.py", "evaluate.py", "torch/__init__.py", "soundfile.py"]
    for name in [*programs, *libraries, "slurm/pretrain.sh"]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise SystemExit('not ours')")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.processes
def test_programs_libraries_and_templates_are_never_those_of_the_current_folder(hostile):
    (hostile / "sounds").mkdir()
    soundfile.write(hostile / "sounds/a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 16_000), 16_000)
    # Two processes that decode are started, too.
    command = ["prepare", "x=sounds", "--out", "out", "--processes", "2", "--validation_share", "0"]
    result = nonverbal(*command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (result.returncode, result.stdout[-12:]) == (0, "shards: out\n"), result.stderr
    for name in [*(program for program, _ in cli.PROGRAMS.values()), "slurm/pretrain.sh"]:
        assert find_shipped(name) == ROOT / name
        assert find_shipped(name).is_file()


@pytest.mark.processes
@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_a_reader_that_has_gone_is_no_traceback(argument):
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-m", "nonverbal", argument], stdout=write, stderr=subprocess.PIPE, cwd=ROOT, timeout=HANGS
    )
    os.close(write)
    assert (process.returncode, process.stderr) == (141, b"")
