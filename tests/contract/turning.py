"""A study outside the package, in thirty lines."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import laminar_lens as ll

if TYPE_CHECKING:
    import xarray as xr

    from laminar_lens.studies.run import Run


@ll.register
@dataclass(frozen=True)
class Turning(ll.Study):
    """How far tokens turn from layer to layer.

    Attributes:
        above: a turn that counts, in radians.
    """

    kind, title = "turning_outside", "Turning study"
    above: float = 0.1

    def measure(self, run: "Run") -> "xr.Dataset":
        return run.angles("rotation")

    def answer(self, measured: "xr.Dataset") -> ll.Answer:
        found = ll.band(measured["rotation"].mean("pos"), seed=measured.attrs["seed"])
        where = ll.named(found["rotation_low"] > self.above)
        return ll.Answer(found, f"Tokens turn by more than {self.above} rad in {where}.")
