"""The notebooks run from their first cell to their last."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))


@pytest.mark.processes
@pytest.mark.slow  # each goes from sounds to scores
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "notebooks").mkdir()
    os.symlink(ROOT / "docs", tmp_path / "docs")
    notebook = nbformat.read(path, as_version=4)
    # A command that fails ends its cell: IPython would go on.
    for cell in notebook.cells:
        if cell.cell_type == "code" and "\n!" in f"\n{cell.source}":
            cell.source += "\nassert _exit_code == 0, _exit_code"
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": tmp_path / "notebooks"}}).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_no_outputs(path):
    import nbformat

    cells = nbformat.read(path, as_version=4).cells
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
