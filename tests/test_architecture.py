"""What docs/architecture.md says of the tree: who may import whom, in which direction, and who knows the families."""

import ast
from pathlib import Path

import pytest

from nonverbal.families import FAMILIES

ROOT = Path(__file__).parent.parent
PROGRAMS = ("pretrain", "finetune", "evaluate", "demo")

GROUND = "ground"
"""Modules that stand in nonverbal/ itself, such as errors and paths."""

MAY_IMPORT = {
    GROUND: set(),
    "data": {GROUND},
    "models": {GROUND},
    "objectives": {GROUND, "data", "models"},
    "families": {GROUND, "data", "models", "objectives"},
    "tasks": {GROUND, "data"},
    "training": {GROUND, "data", "models", "objectives"},
    "evaluation": {GROUND, "data", "models", "families", "tasks"},
    "report": {GROUND, "data", "tasks", "evaluation"},
    "release": {GROUND, "data", "models", "families", "tasks", "evaluation", "report"},
    "stages": {
        GROUND,
        "data",
        "models",
        "objectives",
        "families",
        "tasks",
        "training",
        "evaluation",
        "report",
        "release",
    },
}
"""The floors, from the bottom up: folder to the folders that it may import, itself aside."""

NEVER = {
    "training": ("nonverbal.data.corpora", "nonverbal.data.preparing"),
    "objectives": ("nonverbal.data.corpora", "nonverbal.data.preparing"),
    "models": ("nonverbal.families",),
}
"""Parts of a folder below that a folder does not know all the same."""

EXCEPTIONS = {
    # The table of log-mel statistics is computed with the very code that exported checkpoints carry.
    ("nonverbal.data.log_mel", "nonverbal.models.audio_mamba"),
}


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in sorted(ROOT.glob("nonverbal/**/*.py"))}
CLI = {"nonverbal", "nonverbal.cli", "nonverbal.__main__", "nonverbal.hear"}
"""What others call from without: programs, and the interfaces for other people's code."""


def imported(tree: ast.AST, package: str) -> set[str]:
    """Modules of nonverbal that a file imports, wherever in it: within functions too, and for type checkers only."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {name if (name := f"{base}.{alias.name}") in FILES else base for alias in node.names}
    return found & set(FILES)


def imports_of(path: Path) -> set[str]:
    name = module_of(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return imported(ast.parse(path.read_text(encoding="utf-8")), package)


IMPORTS = {name: imports_of(path) for name, path in FILES.items()}


def floor_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 2 or (FILES[module].name == "__init__.py" and len(parts) > 1) else GROUND


def test_every_folder_has_its_floor():
    assert {floor_of(module) for module in FILES} <= set(MAY_IMPORT)


def test_each_floor_imports_those_below_it_alone():
    arrows = {(module, other) for module in FILES.keys() - CLI for other in IMPORTS[module]}
    up = {(a, b) for a, b in arrows if floor_of(b) not in {floor_of(a)} | MAY_IMPORT[floor_of(a)]}
    assert up - EXCEPTIONS == set()


def test_the_floors_are_in_order():
    below: set[str] = set()
    for floor, others in MAY_IMPORT.items():
        assert others <= below, floor
        below.add(floor)


@pytest.mark.parametrize("floor", NEVER)
def test_a_floor_does_not_know_what_is_none_of_its_business(floor):
    known = [
        f"{module} imports {other}"
        for module in FILES
        if floor_of(module) == floor
        for other in IMPORTS[module]
        if other.startswith(NEVER[floor])
    ]
    assert known == []


def test_the_library_imports_neither_programs_nor_the_command_line():
    for module in FILES.keys() - CLI:
        assert not IMPORTS[module] & CLI, module
        # Hugging Face's package evaluate may be meant.
        assert not top_level(FILES[module]) & {*PROGRAMS} - {"evaluate"}, module


def test_programs_do_not_import_each_other():
    for path in program_files():
        assert not top_level(path) & {*PROGRAMS}, path


def top_level(path: Path) -> set[str]:
    """The packages that a file imports, by the first part of their names."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    named = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    named += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {name.split(".")[0] for name in named}


def program_files() -> list[Path]:
    return [path for folder in PROGRAMS for path in sorted((ROOT / folder).glob("*.py"))]


def test_no_modules_import_each_other():
    assert circles(IMPORTS) == []


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Sets of modules each of which is reached from each, by the modules that each reaches."""
    reached = {module: reach(graph, module) for module in graph}
    found: list[set[str]] = []
    for module in graph:
        circle = {other for other in reached[module] if module in reached[other]}
        if len(circle) > 1 and circle not in found:
            found.append(circle)
    return found


def reach(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def test_families_are_told_apart_by_their_record_alone():
    """Nobody but nonverbal/families compares a family with a name: what differs between families is in its record."""
    paths = [path for name, path in FILES.items() if floor_of(name) != "families"]
    assert [f"{path}:{line}" for path in paths + program_files() for line in chains(path)] == []


def chains(path: Path) -> list[int]:
    """Lines of a file on which something called a family is compared with the name of one."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            texts = {leaf.value for side in sides for leaf in ast.walk(side) if isinstance(leaf, ast.Constant)}
            names = {getattr(side, "attr", getattr(side, "id", "")) for side in sides}
            if texts & FAMILIES.keys() and any("family" in name for name in names):
                found.append(node.lineno)
    return found


def test_what_is_looked_for_would_be_found(tmp_path):
    """The finders above, on small cases."""
    tree = ast.parse("from . import files\nfrom .data.index import x\ndef f():\n    import nonverbal.models.ssam\n")
    assert imported(tree, "nonverbal") == {"nonverbal.files", "nonverbal.data.index", "nonverbal.models.ssam"}
    tree = ast.parse("from nonverbal.data import index, no\nfrom ..batch import Batch\n")
    assert imported(tree, "nonverbal.data") == {"nonverbal.data.index", "nonverbal.data", "nonverbal.batch"}
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [{"a", "b", "c"}]
    text = "a = s.family == 'ssam'\nb = family in ('hubert', c)\nd = name == 'ssam'\nimport e.f\n"
    (tmp_path / "x.py").write_text(text)
    assert chains(tmp_path / "x.py") == [1, 2]
    assert top_level(tmp_path / "x.py") == {"e"}
    assert floor_of("nonverbal.batch") == GROUND
    assert floor_of("nonverbal.data") == floor_of("nonverbal.data.batching.epochs") == "data"


def test_the_page_names_every_folder():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    folders = sorted(path.parent for path in ROOT.glob("nonverbal/*/__init__.py"))
    assert [folder.name for folder in folders if f"{folder.name}/" not in page] == []


def test_the_page_names_every_module_of_the_ground():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith("| the ground"))
    ground = {module.removeprefix("nonverbal.") for module in FILES.keys() - CLI if floor_of(module) == GROUND}
    assert set(row.split("`")[1::2]) == ground
