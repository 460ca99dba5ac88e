"""The capture entries: capture.py run as a command, its rows put into the table.

It loads models, so it is the one part that needs the whole package.
"""

import csv
import io
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

from benchmarks.registry import Group
from benchmarks.table import OK, ROOT

PARAMETERS = {"gpt2-small": 124e6, "gpt2-xl": 1.56e9}
"""Of the model; it is held twice, in TransformerLens and in Hugging Face."""

Fields = dict[str, str]


def needed_bytes(group: Group) -> int:
    """About what both models and all activations of one pass need, float32."""
    shape = group.shape
    activations = 40 * shape.elements + 4 * 25 * shape.layers * shape.pos**2
    return int(2 * 4 * PARAMETERS[shape.model]) + 4 * activations


def capture_fields(group: Group, device: str, seconds: float) -> Iterator[tuple[str, Fields]]:
    """Backend, and the columns that were measured (status among them), for each entry of the group."""
    found: dict[str, Fields] = {}
    status = "skipped: transformer-lens is not installed"
    if find_spec("transformer_lens") is not None:
        found, status = _measured(group, device, seconds)
    for backend in group.backends:
        if backend not in found:
            yield backend, {"status": status}
            continue
        row = found[backend]
        times = {f"{name}_ms": row[f"ms_{name}"] for name in ("p20", "p50", "p80")}
        peak = row["peak_extra_bytes"].replace("None", "")
        yield backend, {"status": OK, **times, "peak_extra_bytes": peak}


def _measured(group: Group, device: str, seconds: float) -> tuple[dict[str, Fields], str]:
    """The rows by backend; where there are none, why."""
    command = [sys.executable, "-m", "benchmarks.capture", "--model", group.shape.model]
    command += ["--pos", str(group.shape.pos), "--device", device, "--seconds", str(seconds)]
    paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode == 0:
        return {row["backend"]: row for row in csv.DictReader(io.StringIO(done.stdout))}, "error: no row"
    said = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return {}, f"parity failed: {said}" if " rad from that of " in said else f"error: {said}"
