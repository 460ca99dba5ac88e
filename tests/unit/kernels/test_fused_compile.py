"""Every size of the fused kernels compiles for sm_80 and sm_90 without a GPU; its tiles stay in registers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton")

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
SCRIPT = Path(__file__).parent / "compile_fused.py"


@pytest.mark.skipif(
    not CUOBJDUMP.is_file(), reason="this Triton carries no cuobjdump, which counts the spills"
)
@pytest.mark.parametrize("itemsize", [2, 4])
@pytest.mark.parametrize("arch", [80, 90])
def test_no_entry_spills(arch: int, itemsize: int) -> None:
    """In a process of its own: Triton compiles nothing once it has been imported as an interpreter."""
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, str(SCRIPT), str(arch), str(itemsize)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    rows = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(rows) == 3 * 6 + 1 + 2
    for row in rows:
        assert row["spills"] == row["stack"] == 0, row
        assert row["registers"] <= 255, row
        if row["kernel"] == "pairwise":
            assert row["double_products"] > 0, row  # float64 on the tensor cores
        else:
            assert row["wide_loads"] >= row["tile_loads"], row  # all of them 16 bytes a lane
