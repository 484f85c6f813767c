"""Adds to the site the README as its first page, and a page of the API for each folder of the library."""

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "nonverbal"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/, in the order of the navigation."""
    pages = {"index.md": first_page()} | {f"api/{name}.md": text for name, text in api_pages()}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    config.nav = [{"Start": "index.md"}, *guides(), {"API": [path for path in pages if path != "index.md"]}]
    return files


def first_page() -> str:
    """Return the README, with links relative to docs/."""
    return re.sub(r"\]\(docs/", "](", (ROOT / "README.md").read_text(encoding="utf-8"))


def guides() -> list[str | dict[str, str]]:
    """Return the pages in the order in which the README lists them."""
    linked = re.findall(r"\]\(([\w-]+\.md)\)", first_page())
    rest = sorted(path.name for path in ROOT.glob("docs/*.md"))
    return list(dict.fromkeys([*linked, *rest]))


def api_pages() -> Iterator[tuple[str, str]]:
    """Yield a name and the text of a page for each folder of the library that holds modules."""
    for folder in sorted({path.parent for path in LIBRARY.rglob("*.py")}):
        modules = [path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")]
        if modules:
            name = ".".join(folder.relative_to(ROOT).parts)
            own = [f"::: {name}"] if folder == LIBRARY else []
            yield name, "\n\n".join([f"# {name}", *own, *(f"::: {name}.{path.stem}" for path in modules)])
