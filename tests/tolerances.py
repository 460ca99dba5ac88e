"""How far a backend may be from float64, in radians: one table, every entry derived.

u = 2⁻²⁴ = 6.0·10⁻⁸ is float32's unit roundoff. θ = 2·atan2(near, far) with near = ‖û − v̂‖, far = ‖û + v̂‖.

The input is what the backend got, widened to float64: rounding an input to float16 is not the kernel's error,
so half precision, which is computed in float32, has float32's tolerance.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

NEAR = 1e-2
"""An angle below it is near 0, above π minus it near π."""


@dataclass(frozen=True)
class Tolerance:
    near_zero: float
    middle: float
    near_pi: float

    def of(self, truth: Tensor) -> Tensor:
        """The tolerance at each true angle."""
        tolerance = torch.full_like(truth, self.middle)
        tolerance[truth < NEAR] = self.near_zero
        tolerance[truth > torch.pi - NEAR] = self.near_pi
        return tolerance


_FLOAT32 = Tolerance(
    # A coordinate of û carries two roundings (÷ max, ÷ length): |δû| ≤ 2u, so |δû| + |δv̂| ≤ 4u = 2.4e-7 in
    # the worst direction. The lengths' own errors are radial: they matter only at θ < 1e-6, by 2u = 1.2e-7.
    near_zero=3.6e-7,
    # dθ = sin θ · |δnear/near − δfar/far| ≤ 2 · 3u = 3.6e-7 (final root, combination, partial sums, u each);
    # atan2 adds 1.2e-7. The roundings of the coordinates average out over d_model.
    middle=5e-7,
    # As near 0 with û + v̂: 2.4e-7; and float32 numbers are 2.4e-7 apart at π, atan2 rounds once: 1.2e-7.
    near_pi=3.6e-7,
)

_FLOAT64 = Tolerance(
    # The same counts with 2⁻⁵³ = 1.1e-16; the reference makes as large an error, so twice; its one sum over
    # d_model adds √8192 · 1.1e-16 / 2 to a length, of which the middle sees a part.
    near_zero=1.4e-15,
    middle=8e-15,
    near_pi=1.4e-15,
)

_ROUNDED = Tolerance(
    # float64 arithmetic, rounded to float32 at the end: u·θ near 0, half of float32's spacing elsewhere
    # (2.4e-7 above 2 rad).
    near_zero=1e-9,
    middle=1.3e-7,
    near_pi=1.3e-7,
)

_PRODUCTS = Tolerance(
    # arccos of a cosine from float64 sums. They run in 16 lanes or more, so that even 16,384 coordinates
    # leave an error of e ≤ 2e-15 in the cosine, e / sin θ in the angle: at 0 and π √(2e) = 6.3e-8, below
    # 1e-12 in the middle. The result is rounded to float32 as above.
    near_zero=7e-8,
    middle=1.3e-7,
    near_pi=2e-7,
)

TOLERANCES: dict[tuple[str, str], Tolerance] = {
    ("eager", "float64"): _FLOAT64,
    ("eager", "float32"): _FLOAT32,
    ("eager", "float16"): _FLOAT32,
    ("eager", "bfloat16"): _FLOAT32,
    # fused: near 0, ratio of lengths and root carry 3u = 1.8e-7; the middle, up to near² = 2.5, multiplies
    # the errors of near² (two sums, two divisions, a root: 4u) by tan(θ/2) ≤ 1.3; the polynomial adds 1.2e-7;
    # beyond it float64 is rounded once. Products in float64 are better everywhere.
    ("fused", "float32"): _FLOAT32,
    ("fused", "float16"): _FLOAT32,
    ("fused", "bfloat16"): _FLOAT32,
    ("cpu", "float64"): _FLOAT64,
    ("cpu", "float32"): _PRODUCTS,
    ("cpu", "float16"): _PRODUCTS,
    ("cpu", "bfloat16"): _PRODUCTS,
    # Against angles known from their construction, not against itself.
    ("reference", "float64"): _FLOAT64,
    ("reference", "float32"): _ROUNDED,
    ("reference", "float16"): _ROUNDED,
    ("reference", "bfloat16"): _ROUNDED,
}

LENGTH = 5e-7
"""Relative, for step lengths in float32: two roundings a coordinate, the sum and the root, 8u at most."""
