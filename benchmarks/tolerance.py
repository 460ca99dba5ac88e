"""How far from float64 an entry may be: the suite's table for this package, what arccos allows for others."""

import importlib.util
import sys
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmarks.registry import OURS, Entry
from benchmarks.table import ROOT

if TYPE_CHECKING:
    from tests.tolerances import Tolerance

# By its path: any package named "tests" that another project installed would be found first.
_spec = importlib.util.spec_from_file_location("laminar_lens_tolerances", ROOT / "tests" / "tolerances.py")
assert _spec is not None
assert _spec.loader is not None
_table = sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_table)
LENGTH: float = _table.LENGTH
TOLERANCES: "dict[tuple[str, str], Tolerance]" = _table.TOLERANCES

# What arccos of a cosine can be wrong by at θ = 0, √(2e) for an error e of the cosine: e is 10⁻⁶ for unit
# vectors in float32; 10⁻² in bfloat16, which has 8 bits in the vectors, in their lengths and in the result.
ARCCOS = {"float32": 1.5e-3, "bfloat16": 0.15}
_PLAIN_LENGTH = {"float32": 1e-5, "bfloat16": 2e-2}


def angle_tolerance(entry: Entry, expected: Tensor) -> Tensor:
    """The suite's table for this package's backends, what arccos allows for the others."""
    if entry.backend not in OURS:
        return torch.full_like(expected, ARCCOS[entry.dtype])
    return _tolerance(entry).of(expected)


def _tolerance(entry: Entry) -> "Tolerance":
    return TOLERANCES.get((entry.backend, entry.dtype), TOLERANCES["eager", entry.dtype])


def length_tolerance(entry: Entry) -> float:
    """Relative."""
    return LENGTH if entry.backend in OURS else _PLAIN_LENGTH[entry.dtype]
