"""The notebook of the examples runs from its first cell to its last, and stays small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tutorial_text import difference

NOTEBOOK = Path(__file__).parent.parent / "examples" / "tour.ipynb"


def test_it_is_small_and_its_cells_are_python() -> None:
    assert NOTEBOOK.stat().st_size < 400_000
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"], f"{cell['id']}: execute the notebook before you commit it"
            source = "".join(line for line in cell["source"] if not line.startswith("%"))
            compile(source, cell["id"], "exec")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own packages
def test_it_runs(tmp_path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = outputs_of(notebook)
    assert "plainunet_8" in str(outputs["run"])
    assert "text/html" in outputs["table"][0]["data"]
    for cell in ("plot", "pictures"):
        assert any("image/png" in output.get("data", {}) for output in outputs[cell]), cell
    assert "pynet" in str(outputs["cost"])
    # What the file shows to those who do not run it.
    stored = outputs_of(nbformat.read(NOTEBOOK, as_version=4))
    for shown, printed in (
        [cells["table"][0]["data"]["text/plain"] for cells in (stored, outputs)],
        ["".join(output["text"] for output in cells["cost"]) for cells in (stored, outputs)],
    ):
        assert difference(shown, printed) == ""


def outputs_of(notebook: Any) -> dict[str, Any]:
    return {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
