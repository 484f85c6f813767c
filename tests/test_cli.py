import subprocess
import sys
from pathlib import Path

import pytest

from nonverbal import cli
from nonverbal.errors import UserError

ROOT = Path(__file__).parent.parent


def nonverbal(*arguments, **options):
    command = [sys.executable, "-m", "nonverbal", *arguments]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_help_lists_every_command():
    result = nonverbal("--help")
    assert result.returncode == 0
    assert all(f"\n  {command} " in result.stdout for command in cli.PROGRAMS)
    assert nonverbal().stdout == result.stdout


def test_help_needs_nothing_heavy():
    code = (
        "import sys; sys.argv = ['nonverbal']; from nonverbal import cli; cli.main(); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


@pytest.mark.parametrize("command", cli.PROGRAMS)
def test_every_command_explains_itself(command):
    result = nonverbal(command, "--help")
    assert result.returncode == 0, result.stderr
    assert f"usage: nonverbal {command}" in result.stdout


def test_an_unknown_command_is_one_line():
    result = nonverbal("pretain")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "nonverbal: unknown command 'pretain'; did you mean 'pretrain'?\n"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("no"), 2, "nonverbal: no\n"),
        (FileNotFoundError(2, "No such file or directory", "x"), 2, "nonverbal: x: No such file or directory\n"),
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


def test_files_are_found_from_anywhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert cli.find_file("recipes/pretrain/wav2vec2_tiny.yaml").is_file()
    (tmp_path / "mine.yaml").write_text("")
    assert cli.find_file("mine.yaml") == Path("mine.yaml")
    with pytest.raises(UserError, match="shipped recipes: .*recipes/pretrain/voc2vec.yaml"):
        cli.find_file("nowhere.yaml")
