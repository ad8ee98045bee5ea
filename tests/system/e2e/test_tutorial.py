"""The tutorial notebook runs from its first cell to its last, against a whole stack: all but the length of a training."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.support.stack import Stack

#: What is shortened: the cells are the same, whatever they train.
EPOCHS = ('"epochs": 8', '"epochs": 1')
NOTEBOOK = Path(__file__).parents[3] / "docs" / "tutorial.ipynb"


# The kernel's manager opens its sockets in a way that its next major version will not.
@pytest.mark.filterwarnings("ignore::DeprecationWarning:zmq", "ignore::ResourceWarning")
def test_the_tutorial_runs_as_it_is_written(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NORMLAB_HOME", str(stack.home))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    for name in ("NORMLAB_URL", "NORMLAB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)
    shortened = [cell for cell in notebook.cells if EPOCHS[0] in cell.source]
    assert len(shortened) == 1
    shortened[0].source = shortened[0].source.replace(*EPOCHS)
    written = [cell.source for cell in notebook.cells]

    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": tmp_path}}).execute()

    assert [cell.source for cell in notebook.cells] == written
    printed = "".join(
        output.get("text", "")
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    assert "than none" in printed or "from none" in printed
    assert (tmp_path / "report.html").read_bytes().startswith(b"<!doctype html>")
