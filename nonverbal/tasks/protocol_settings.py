"""The settings that define a protocol, for every command that scores."""

import difflib
from dataclasses import dataclass, replace
from typing import Any, Literal

from nonverbal.errors import UserError
from nonverbal.tasks.folds import Group
from nonverbal.tasks.protocols import NAMED, Protocol, Select


@dataclass(kw_only=True)
class ProtocolSettings:
    """How clips are divided, and on which clips choices are made: a named protocol, and changes to it."""

    protocol: str = "grouped"
    """Named protocol: grouped (5 folds that split no speaker), nonverbal (the same, leave-one-out with fewer than 10
    speakers), voc2vec, reno, leave-one-session-out, cross_lingual (80/10/10), transfer. The settings below, up to
    test_on, change it if they are given."""
    group: Group | None = None
    """Groups that are never on both sides of a fold; known: the speaker if every clip has one, otherwise the recording;
    none: clips are divided at random."""
    folds: int | Literal["leave-one-out", "auto", "hold-out", "official"] | None = None
    """Number of folds; leave-one-out: each group in turn is the test side; auto: leave-one-out with fewer than 10
    groups, otherwise 5; hold-out: one division (see shares); official: the corpora's own splits."""
    seeds: list[int] | None = None
    """Seeds: each draws one division into folds. Unset: only 0."""
    select: Select | None = None
    """Where layer, strength and so on are chosen: inner (within the training side), or test (on the test fold itself,
    which is optimistic, but some papers do so)."""
    refit: bool | None = None
    """Whether the whole training side is fitted once more after all choices; otherwise the model that one inner fold
    chose is tested."""
    stratified: bool | None = None
    """Whether folds have about the same share of each class."""
    shares: list[int] | None = None
    """Percentages of the train, validation and test side of a hold-out."""
    train_on: list[str] | None = None
    """Corpora of the folder that form the training side of a transfer."""
    test_on: list[str] | None = None
    """Corpora of the folder that form the test side of a transfer."""

    def resolved(self) -> Protocol:
        """Return the protocol that the settings describe.

        Raises:
            UserError: no protocol has this name, or settings contradict each other.
        """
        if self.protocol not in NAMED:
            near = difflib.get_close_matches(self.protocol, NAMED, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(f"there is no protocol {self.protocol!r}; there are: {', '.join(NAMED)}{hint}")
        named = NAMED[self.protocol].protocol
        return replace(named, **self._given(named))

    def _given(self, named: Protocol) -> dict[str, Any]:
        """Return the settings that are given, as fields of a protocol."""
        names = ("group", "folds", "seeds", "select", "refit", "stratified", "shares", "train_on", "test_on")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        if "shares" in given and len(given["shares"]) != 3:
            raise UserError(f"--shares takes three percentages, but was given {given['shares']}")
        if named.counting == "voc2vec" and {"group", "folds"} & given.keys():
            # Its way of counting is only defined for random folds.
            given["counting"] = "voc2vec" if given.get("group", "none") == "none" else "nonverbal"
            if not isinstance(given.get("folds", named.folds), int):
                given["counting"] = "nonverbal"
        return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
