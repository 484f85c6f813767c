"""The files in which a study records its steps: which are done or begun, with which key, and at what cost."""

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from nonverbal.errors import UserError
from nonverbal.files import read_json, write_atomically
from nonverbal.records import read_record
from nonverbal.stages.studying.contents import Unknown, key_of, recipe_text
from nonverbal.stages.studying.planning import Plan, Planned

T = TypeVar("T")

SHORT = 8
"""Number of characters of a key in names."""

ADOPTED = ("pretrain", "finetune")
"""Commands that refuse a folder of other settings or data themselves, and continue what a cluster's jobs have made."""


@dataclass(frozen=True)
class Done:
    """A step that is done."""

    key: str
    version: str
    """The version of nonverbal."""
    command: list[str]
    seconds: float
    """Duration of all its runs together."""
    bytes: int
    """Size of its output."""
    machine: str
    when: str
    """When it ended: UTC, ISO 8601."""


@dataclass(frozen=True)
class Begun:
    """A step that was begun but is not done."""

    key: str
    seconds: float = 0.0
    """Duration so far."""
    failed: str | None = None
    """How its last run failed."""


@dataclass(frozen=True)
class State:
    """The status of a step."""

    key: str | None
    """None if a step that it needs is not done, because that may change the key."""
    done: Done | None
    """The record of a finished step with this key whose output exists."""
    begun: Begun | None
    """The record of an unfinished step with this key."""
    past: str | None
    """Key of existing output from another step of this name, which will be moved aside."""


class Kept:
    """The files in which a study records its steps."""

    def __init__(self, folder: Path) -> None:
        """Use the study in ``folder``, which need not exist."""
        self.folder = folder
        self._states: dict[str, State] = {}
        self.forget()

    def done(self, name: str) -> Done | None:
        """Return the record of a step that is done, if any.

        Raises:
            UserError: the file is damaged.
        """
        return _read(Done, self._done(name))

    def begun(self, name: str) -> Begun | None:
        """Return the record of a step that was begun, if any.

        Raises:
            UserError: the file is damaged.
        """
        return _read(Begun, self._begun(name))

    def state(self, plan: Plan, step: Planned) -> State:
        """Return the status of a step that is not left out."""
        if step.name not in self._states:
            self._states[step.name] = self._state(plan, step)
        return self._states[step.name]

    def forget(self) -> None:
        """Forget what was read, because other processes may have changed the files."""
        self._states.clear()
        recipe_text.cache_clear()

    def _state(self, plan: Plan, step: Planned) -> State:
        try:
            key = key_of(plan, step, lambda name: self.key_if_done(plan, name))
        except Unknown:
            return State(None, None, None, None)
        done, begun = self.done(step.name), self.begun(step.name)
        there = step.out.exists()
        others = [one.key for one in (done, begun) if one is not None and one.key != key]
        return State(
            key,
            done if done is not None and done.key == key and there else None,
            begun if begun is not None and begun.key == key else None,
            others[0] if others and there else None,
        )

    def key_if_done(self, plan: Plan, name: str) -> str | None:
        """Return the key of a step if it is done, otherwise None."""
        state = self.state(plan, plan.step(name))
        return state.key if state.done is not None else None

    def begin(self, step: Planned, state: State) -> Begun:
        """Record that a step begins, after moving aside the output of another step of its name.

        Raises:
            UserError: its place holds something that this study did not make.
        """
        assert state.key is not None
        if state.past is not None:
            self.move_aside(step, state.past)
        elif step.out.exists() and state.begun is None and step.template.run not in ADOPTED:
            raise UserError(f"{step.out} exists, but this study did not make it; move it away, or give another --out")
        # An output may have been removed by hand; its old record does not describe what is made now.
        self._done(step.name).unlink(missing_ok=True)
        begun = replace(state.begun or Begun(state.key), failed=None)
        self.write_begun(step.name, begun)
        return begun

    def write_begun(self, name: str, begun: Begun) -> None:
        """Record the progress of a step."""
        self._states.clear()
        self._begun(name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._begun(name), json.dumps(asdict(begun)) + "\n")

    def finish(self, name: str, done: Done) -> None:
        """Record that a step is done."""
        self._states.clear()
        write_atomically(self._done(name), json.dumps(asdict(done), ensure_ascii=False, indent=1) + "\n")
        self._begun(name).unlink(missing_ok=True)

    def move_aside(self, step: Planned, key: str) -> None:
        """Move the output of a step with another key, and its record, to ``past/NAME-KEY``."""
        place = self.past(step, key)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.rename(step.out, place)
        if self._done(step.name).exists():
            os.replace(self._done(step.name), place.with_name(f"{place.name}.step.json"))
        self._begun(step.name).unlink(missing_ok=True)

    def past(self, step: Planned, key: str) -> Path:
        """Return where to move the output of a step with another key: a name that is not in use."""
        first = self.folder / "past" / f"{step.name}-{key[:SHORT]}"
        places = (first if not count else first.with_name(f"{first.name}-{count}") for count in range(10**6))
        return next(place for place in places if not os.path.lexists(place))

    def log(self, name: str) -> Path:
        """Return the log file of a step."""
        return self.folder / "logs" / f"{name}.log"

    def _done(self, name: str) -> Path:
        return self.folder / "steps" / f"{name}.json"

    def _begun(self, name: str) -> Path:
        return self.folder / "steps" / f"{name}.begun.json"


def _read(cls: type[T], path: Path) -> T | None:
    try:
        return read_record(cls, read_json(path), f"in {path}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} cannot be read ({' '.join(str(error).split())}); remove it, and the output of its step"
        ) from error
