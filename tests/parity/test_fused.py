"""The fused backend in Triton's interpreter, which is chosen before Triton is imported: in processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent


@pytest.mark.parametrize("cases", ["fused_cases", "fused_gradient_cases", "fused_cost_cases"])
def test_in_the_interpreter(cases: str, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment |= {"TRITON_INTERPRET": "1", "TRITON_CACHE_DIR": str(tmp_path)}
    environment["LAMINAR_LENS_SHAPES"] = "0"  # Dynamo cannot trace shape checks; other backends have them
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "--show-capture=no",
        "-p",
        "no:cacheprovider",
        f"{FOLDER / cases}.py",
    ]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    assert " passed" in ran.stdout
    assert "skipped" not in ran.stdout
