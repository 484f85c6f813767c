"""Bash: quoting, filling in templates of scripts, and running commands."""

import re
import shlex
import subprocess
from typing import Any


def quote_but_variables(text: str) -> str:
    """Quote for bash, but let the job expand $NAME and ${NAME}."""
    parts = re.split(r"(\$[A-Za-z_]\w*|\$\{[A-Za-z_]\w*\})", text, flags=re.ASCII)
    quoted = [f'"{part}"' if i % 2 else shlex.quote(part) for i, part in enumerate(parts) if part]
    return "".join(quoted) or "''"


def fill(template: str, directives: dict[str, Any], variables: dict[str, str], setup: str) -> str:
    """Replace values in the upper part of a script. A directive whose value is None becomes a comment: ``##SBATCH``."""
    values = {f"#SBATCH --{name}": value for name, value in directives.items()} | variables
    upper, mark, lower = template.partition("\n# What follows")
    lines = []
    for line in upper.splitlines():
        key, _, example = line.replace("##SBATCH", "#SBATCH").partition("=")
        if key in values:
            value = values.pop(key)
            lines.append(f"#{key}={example}" if value is None else f"{key}={value}")
        else:
            lines.append(setup if line == "# setup" and setup else line)
    assert not values, f"the template lacks {', '.join(values)}"
    return "\n".join(lines) + mark + lower


def array(values: list[str]) -> str:
    """Return a bash array."""
    return f"({shlex.join(values)})"


def captured(command: list[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command with ``text`` as its standard input, and capture its output."""
    return subprocess.run(command, input=text, capture_output=True, text=True)
