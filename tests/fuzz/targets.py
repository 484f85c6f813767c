"""All targets, by name."""

import importlib

from bench import Target

MODULES = (
    "tables_targets",
    "recipes_targets",
    "runs_targets",
    "corpora_targets",
    "hub_targets",
    "shards_targets",
    "sounds_targets",
    "weights_targets",
)
"""Of targets, from what imports little to what imports much."""


def targets() -> dict[str, Target]:
    """Return all targets by name."""
    found = [target for module in MODULES for target in importlib.import_module(module).TARGETS]
    assert len({target.name for target in found}) == len(found), "names tell targets apart"
    return {target.name: target for target in found}


def target_named(name: str) -> Target:
    """Return a target, and import no more than it takes to find it."""
    every = (target for module in MODULES for target in importlib.import_module(module).TARGETS)
    return next(target for target in every if target.name == name)
