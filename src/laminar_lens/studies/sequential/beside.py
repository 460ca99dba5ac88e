"""What a sequential study takes over from the warm-up that it rests on."""

from dataclasses import asdict, dataclass

import numpy as np
import xarray as xr

from laminar_lens.results.complete import complete
from laminar_lens.studies.warmup.result import WarmupResult


@dataclass(frozen=True)
class LeaveOut:
    """What a warm-up says of how many first tokens to leave out.

    Attributes:
        sentence, verdict, k_lo, k_hi, n_needed: as in its result.
        alike: the smallest k from which on every mean contrast before the reference is below tau in every
            layer.
    """

    sentence: str
    verdict: str
    k_lo: int | None
    k_hi: int | None
    n_needed: int | None
    alike: int


@complete
def said_by(warmup: WarmupResult) -> LeaveOut:
    """What a warm-up says, in its plain run."""
    numbers = (warmup.k_lo, warmup.k_hi, warmup.n_needed, _first_alike(warmup.dataset))
    return LeaveOut(str(warmup.sentence).rstrip(), warmup.verdict, *numbers)


def _first_alike(warmup: xr.Dataset) -> int:
    delta = warmup["delta"].transpose("layer", "pair").values[:, : int(warmup.attrs["reference_start"])]
    apart = np.flatnonzero((np.abs(delta) >= warmup.attrs["tau"]).any(axis=0))
    return int(apart[-1]) + 1 if len(apart) else 0


def with_warmup(measured: xr.Dataset, answered: xr.Dataset | None) -> xr.Dataset:
    """A sequential measurement with what a warm-up answered, if there is one."""
    return (
        measured
        if answered is None
        else measured.assign_attrs(warmup=asdict(said_by(WarmupResult(answered))))
    )
