import pytest

from nonverbal.stages.studying import commands
from nonverbal.stages.studying import running as module

WORKS = "import sys; print('said', sys.argv[1]); print('wrong', file=sys.stderr); sys.exit(3)"
WAITS = """
import signal, sys, time
def end(number, frame):
    print("saved", flush=True)
    sys.exit(128 + number)
signal.signal(signal.SIGTERM, end)
import os
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(600)
"""


@pytest.mark.processes
def test_a_commands_output_is_on_the_terminal_and_in_its_log(tmp_path, capfdbinary):
    log = tmp_path / "logs/x.log"
    for _ in range(2):
        assert commands.run_command(["a b"], log, [commands.sys.executable, "-u", "-c", WORKS]) == (3, 0)
    assert capfdbinary.readouterr().out == 2 * b"said a b\nwrong\n"
    lines = log.read_text().splitlines()
    assert len(lines) == 8
    assert lines[0].endswith(" nonverbal 'a b'")
    assert lines[1:3] == ["said a b", "wrong"]
    assert lines[3].endswith("exit status 3")
    assert module._last_line(log) == "wrong"


@pytest.mark.processes
def test_a_signal_is_passed_on_and_what_it_saves_is_waited_for(tmp_path):
    log = tmp_path / "x.log"
    program = [commands.sys.executable, "-u", "-c", WAITS]
    assert commands.run_command([], log, program) == (128 + 15, 15)
    assert "saved" in log.read_text()
