"""Parity with float64, before anything is timed: no time is reported for an entry that fails.

Every result is checked for holes, and compared with the truth (truth.py) where that was computed. Memory that
a backend asks for is filled with NaN first, so that a result that was never written cannot look right by
chance.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.registry import OURS, Entry
from benchmarks.tolerance import angle_tolerance, length_tolerance
from benchmarks.truth import Truth

Result = Mapping[str, Tensor]


@dataclass(frozen=True)
class Verdict:
    """Whether an entry may be timed.

    Attributes:
        reason: empty if it may.
        max_error: in radians against float64; NaN where the result holds no angle.
    """

    reason: str
    max_error: float


def verify(entry: Entry, call: Callable[[], Result], truth: Truth) -> Verdict:
    """Runs a backend once on poisoned memory and compares; `call` returns its results by name.

    What torch.compile made is run on memory as it comes: it would be compiled a second time for the poison.
    """
    with nullcontext() if entry.backend == "compile" else poisoned_memory():
        result = call()
    error = math.nan
    for key, shape in truth.shapes.items():
        if key not in result:
            return Verdict(f"no result {key}", math.nan)
        if tuple(result[key].shape) != shape:
            return Verdict(f"{key} has shape {list(result[key].shape)}, expected {list(shape)}", math.nan)
        if not bool(torch.isfinite(result[key]).all()):
            return Verdict(f"{key} is not finite everywhere", math.nan)
    for window in truth.windows:
        got = result[window.key][window.index].double()
        difference = (got - window.expected).abs()
        if window.key in ("norm", "step"):
            if bool((difference > length_tolerance(entry) * window.expected).any()):
                return Verdict(f"{window.key} differs by {float(difference.max()):.1e}", error)
            continue
        worst = float(difference.max()) if difference.numel() else 0.0
        error = worst if math.isnan(error) else max(error, worst)
        if bool((difference > angle_tolerance(entry, window.expected)).any()):
            return Verdict(f"{window.key} differs by {worst:.1e} rad", error)
    return Verdict(_wrong_counts(entry, result, truth), error)


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Inside, torch fills every tensor that is allocated without values with NaN (integers: the largest)."""
    deterministic: Any = torch.utils.deterministic
    before, fill = torch.get_deterministic_debug_mode(), deterministic.fill_uninitialized_memory
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_deterministic_debug_mode("warn")
        deterministic.fill_uninitialized_memory = True
        try:
            yield
        finally:
            torch.set_deterministic_debug_mode(before)
            deterministic.fill_uninitialized_memory = fill


def _wrong_counts(entry: Entry, result: Result, truth: Truth) -> str:
    """Why a histogram is wrong, or nothing."""
    if entry.operation != "histogram":
        return ""
    counts = result["histogram"]
    pairs = entry.shape.pos * (entry.shape.pos - 1) // 2
    totals = counts.sum(-1)
    if bool((totals != pairs).any()):
        wrong = int(totals[totals != pairs][0])
        return f"histogram counts {wrong} of {pairs} pairs"
    if truth.counts:
        low, high = truth.counts["eager" if entry.backend in OURS else "naive"]
        got = counts[0, 0].cumsum(0)[:-1]
        if bool(((got < low) | (got > high)).any()):
            return "histogram differs from the counts of float64 angles"
    return ""
