"""Notebooks and the README's code run as they stand, without network, on the embedded model."""

import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from laminar_lens.models.names import NOVELLA

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "tutorials").glob("*.ipynb"))
BLOCKS = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
TIME_LIMIT_S = 400  # about 45 s on two idle cores

pytestmark = pytest.mark.skipif(
    not (NOVELLA / "model.safetensors").is_file(), reason=f"the embedded weights are not there: {NOVELLA}"
)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_runs(path: Path, tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with warnings.catch_warnings():  # the kernel machinery's own, not ours
        warnings.simplefilter("ignore")
        client = NotebookClient(
            notebook,
            timeout=TIME_LIMIT_S,
            kernel_name="python3",
            resources={"metadata": {"path": str(tmp_path)}},
        )
        client.execute()
    assert not [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output["output_type"] == "error"
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebook_is_kept_without_outputs(path: Path) -> None:
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [cell for cell in code if cell.outputs or cell.execution_count]


def test_readme_has_code_for_both_generations_and_for_interventions() -> None:
    assert len(BLOCKS) == 2
    for name in ("bridge=True", "interventions="):
        assert name in BLOCKS[1]
    assert all(len(block.split("\n\n")) <= 4 and len(block.splitlines()) <= 14 for block in BLOCKS)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_readme_code_runs(number: int, tmp_path: Path) -> None:
    """In a process of its own, as a reader would run it: shape checks make it ten times slower."""
    script = tmp_path / "readme.py"
    script.write_text(BLOCKS[number], encoding="utf-8")
    command = [sys.executable, script.name]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout
