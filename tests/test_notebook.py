"""The notebook of the examples runs from its first cell to its last, and stays small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parent.parent / "examples" / "tour.ipynb"


def test_it_is_small_and_its_cells_are_python() -> None:
    assert NOTEBOOK.stat().st_size < 400_000
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            source = "".join(line for line in cell["source"] if not line.startswith("%"))
            compile(source, cell["id"], "exec")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own packages
def test_it_runs(tmp_path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    assert "plainunet_8" in str(outputs["run"])
    assert "text/html" in outputs["table"][0]["data"]
    for cell in ("plot", "pictures"):
        assert any("image/png" in output.get("data", {}) for output in outputs[cell]), cell
    assert "pynet" in str(outputs["cost"])
