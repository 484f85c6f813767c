"""What a study keeps of its steps: which are done, with which key, what they took, and what was begun."""

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
"""Characters of a key that names hold."""

ADOPTED = ("pretrain", "finetune")
"""Commands that refuse a folder of other settings or data themselves: they go on with what a cluster's jobs made."""


@dataclass(frozen=True)
class Done:
    """A step that is done."""

    key: str
    version: str
    """Of nonverbal."""
    command: list[str]
    seconds: float
    """All its runs together."""
    bytes: int
    """Of what it made."""
    machine: str
    when: str
    """When it ended, UTC, ISO 8601."""


@dataclass(frozen=True)
class Begun:
    """A step that was begun and is not done."""

    key: str
    seconds: float = 0.0
    """What it has taken so far."""
    failed: str | None = None
    """How it failed when it last ran."""


@dataclass(frozen=True)
class State:
    """How a step stands."""

    key: str | None
    """None where a step that it needs is not done, which may change it."""
    done: Done | None
    """What is there, if by this very step."""
    begun: Begun | None
    """The same, of what was begun."""
    past: str | None
    """Key of what is there by another step of this name, which is moved aside."""


class Kept:
    """The files of a study's steps."""

    def __init__(self, folder: Path) -> None:
        """Take the study in ``folder``, which need not be there."""
        self.folder = folder
        self._states: dict[str, State] = {}
        self.forget()

    def done(self, name: str) -> Done | None:
        """Return what is kept of a step that was done.

        Raises:
            UserError: the file is damaged.
        """
        return _read(Done, self._done(name))

    def begun(self, name: str) -> Begun | None:
        """Return what is kept of a step that was begun.

        Raises:
            UserError: the file is damaged.
        """
        return _read(Begun, self._begun(name))

    def state(self, plan: Plan, step: Planned) -> State:
        """Return how a step stands that is not left out."""
        if step.name not in self._states:
            self._states[step.name] = self._state(plan, step)
        return self._states[step.name]

    def forget(self) -> None:
        """Look again at what is there, which others may have made or changed."""
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
        """Return the key of a step that is done; None of one that is not."""
        state = self.state(plan, plan.step(name))
        return state.key if state.done is not None else None

    def begin(self, step: Planned, state: State) -> Begun:
        """Note that a step begins, once what is there by another of its name is out of the way.

        Raises:
            UserError: its place holds what no step of this study made.
        """
        assert state.key is not None
        if state.past is not None:
            self.move_aside(step, state.past)
        elif step.out.exists() and state.begun is None and step.template.run not in ADOPTED:
            raise UserError(f"{step.out} exists, but this study did not make it; move it away, or give another --out")
        # Of an output that was removed by hand: what is made now is not that.
        self._done(step.name).unlink(missing_ok=True)
        begun = replace(state.begun or Begun(state.key), failed=None)
        self.write_begun(step.name, begun)
        return begun

    def write_begun(self, name: str, begun: Begun) -> None:
        """Keep how far a step is."""
        self._states.clear()
        self._begun(name).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._begun(name), json.dumps(asdict(begun)) + "\n")

    def finish(self, name: str, done: Done) -> None:
        """Keep that a step is done."""
        self._states.clear()
        write_atomically(self._done(name), json.dumps(asdict(done), ensure_ascii=False, indent=1) + "\n")
        self._begun(name).unlink(missing_ok=True)

    def move_aside(self, step: Planned, key: str) -> None:
        """Move what a step of another key made to ``past/NAME-KEY``, and what is kept of it."""
        place = self.past(step, key)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.rename(step.out, place)
        if self._done(step.name).exists():
            os.replace(self._done(step.name), place.with_name(f"{place.name}.step.json"))
        self._begun(step.name).unlink(missing_ok=True)

    def past(self, step: Planned, key: str) -> Path:
        """Return where the output of a step with another key goes: a name that is free."""
        first = self.folder / "past" / f"{step.name}-{key[:SHORT]}"
        places = (first if not count else first.with_name(f"{first.name}-{count}") for count in range(10**6))
        return next(place for place in places if not os.path.lexists(place))

    def log(self, name: str) -> Path:
        """Return the file of a step's output."""
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
