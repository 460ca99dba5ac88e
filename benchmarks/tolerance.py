"""How far from float64 an entry may be: the suite's table for this package, what arccos allows for others."""

import torch
from torch import Tensor

from benchmarks.registry import OURS, Entry
from tests.tolerances import LENGTH, TOLERANCES, Tolerance

# What arccos of a cosine can be wrong by at θ = 0, √(2e) for an error e of the cosine: e is 10⁻⁶ for unit
# vectors in float32; 10⁻² in bfloat16, which has 8 bits in the vectors, in their lengths and in the result.
ARCCOS = {"float32": 1.5e-3, "bfloat16": 0.15}
_PLAIN_LENGTH = {"float32": 1e-5, "bfloat16": 2e-2}


def angle_tolerance(entry: Entry, expected: Tensor) -> Tensor:
    """The suite's table for this package's backends, what arccos allows for the others."""
    if entry.backend not in OURS:
        return torch.full_like(expected, ARCCOS[entry.dtype])
    return _tolerance(entry).of(expected)


def _tolerance(entry: Entry) -> Tolerance:
    return TOLERANCES.get((entry.backend, entry.dtype), TOLERANCES["eager", entry.dtype])


def length_tolerance(entry: Entry) -> float:
    """Relative."""
    return LENGTH if entry.backend in OURS else _PLAIN_LENGTH[entry.dtype]
