"""Wrong types in every parameter of every public function: one line of ours, no bare error of Python's."""

import os
import subprocess
import sys
from pathlib import Path


def test_every_parameter_refuses_what_nobody_means_in_one_line(tiny_gpt2: Path):
    cases = Path(__file__).with_name("argument_cases.py")
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, str(cases), str(tiny_gpt2)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    calls = int(done.stdout.split()[-4])
    assert calls > 8000
    assert done.stdout.endswith(" 0 broken\n")
