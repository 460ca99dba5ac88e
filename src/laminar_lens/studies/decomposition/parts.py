"""A step's two writes against each other, against the residual that they enter, and against the step.

All of it is a function of six inner products a token, which are taken in float64: nothing is lost where two
writes nearly cancel, or a write is small beside the residual.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

PARTS = ("attn", "mlp", "step")
"""What is added: by attention, by the MLP, by both."""


@dataclass(frozen=True, eq=False)
class Writes:
    """The writes of one block to each token, from its inner products.

    What attention writes enters the block's input x, and so does the step. What the MLP writes enters x plus
    attention's write, or x itself where the two read the same vector (`parallel`).

    Attributes:
        xx, aa, mm, xa, xm, am: inner products of input, attention's write and the MLP's, [batch pos].
        parallel: whether attention and MLP read the same vector.
    """

    xx: Float[Tensor, "batch pos"]
    aa: Float[Tensor, "batch pos"]
    mm: Float[Tensor, "batch pos"]
    xa: Float[Tensor, "batch pos"]
    xm: Float[Tensor, "batch pos"]
    am: Float[Tensor, "batch pos"]
    parallel: bool

    @classmethod
    def of(
        cls,
        x: Float[Tensor, "batch pos d_model"],
        attn: Float[Tensor, "batch pos d_model"],
        mlp: Float[Tensor, "batch pos d_model"],
        *,
        parallel: bool,
    ) -> "Writes":
        """Of the block's input and its two writes."""
        x, a, m = x.double(), attn.double(), mlp.double()
        pairs = {"xx": (x, x), "aa": (a, a), "mm": (m, m), "xa": (x, a), "xm": (x, m), "am": (a, m)}
        return cls(**{name: _inner(u, v) for name, (u, v) in pairs.items()}, parallel=parallel)

    @cached_property
    def cosine(self) -> Float[Tensor, "batch pos"]:
        """Of the two writes to a token, in [−1, 1]; NaN where one is zero."""
        return _where(self.am / (self.aa * self.mm).sqrt(), (self.aa > 0) & (self.mm > 0)).clamp(-1, 1)

    @cached_property
    def ratio(self) -> Float[Tensor, "batch pos"]:
        """Logarithm of the MLP's length over attention's; NaN where one is zero."""
        return _where((self.mm / self.aa).log() / 2, (self.aa > 0) & (self.mm > 0))

    @cached_property
    def lengths(self) -> Float[Tensor, "part batch pos"]:
        """Of each part."""
        return self._ww.sqrt()

    @cached_property
    def relative(self) -> Float[Tensor, "part batch pos"]:
        """Lengths over that of the residual that the part enters; NaN where that is zero."""
        return _where((self._ww / self._rr).sqrt(), self._rr > 0)

    @cached_property
    def along(self) -> Float[Tensor, "part batch pos"]:
        """The part along the residual that it enters, over the residual's length: above 0 it lengthens."""
        return _where(self._rw / self._rr, self._rr > 0)

    @cached_property
    def across(self) -> Float[Tensor, "part batch pos"]:
        """The part at right angles to the residual that it enters, over the residual's length: it turns."""
        return _where(self._area / self._rr, self._rr > 0)

    @cached_property
    def radial(self) -> Float[Tensor, "part batch pos"]:
        """Share of a part's squared length that lies along the residual, in [0, 1]; NaN where it is zero."""
        return _where(self._rw**2 / (self._rr * self._ww), (self._rr > 0) & (self._ww > 0)).clamp(max=1)

    @cached_property
    def with_residual(self) -> Float[Tensor, "part batch pos"]:
        """Angle of each part with the residual that it enters, radians; NaN where one is zero."""
        return _where(torch.atan2(self._area, self._rw), (self._rr > 0) & (self._ww > 0))

    @cached_property
    def with_step(self) -> Float[Tensor, "component batch pos"]:
        """Angle of each write with the step, radians; NaN where one is zero."""
        own = torch.stack([self.aa, self.mm])
        area = _root(self.aa * self.mm - self.am**2)  # of the triangle's sides, any two span the same
        return _where(torch.atan2(area.expand_as(own), own + self.am), (own > 0) & (self._ww[2] > 0))

    @cached_property
    def turn(self) -> Float[Tensor, "part batch pos"]:
        """By how much a part turns the residual that it enters, radians; NaN where one of the two is zero."""
        after = self._rr + 2 * self._rw + self._ww
        return _where(torch.atan2(self._area, self._rr + self._rw), (self._rr > 0) & (after > 0))

    @cached_property
    def _rr(self) -> Tensor:
        """Squared length of the residual that each part enters."""
        mid = self.xx if self.parallel else self.xx + 2 * self.xa + self.aa
        return torch.stack([self.xx, mid.clamp(min=0), self.xx])

    @cached_property
    def _ww(self) -> Tensor:
        """Squared length of each part."""
        return torch.stack([self.aa, self.mm, (self.aa + 2 * self.am + self.mm).clamp(min=0)])

    @cached_property
    def _rw(self) -> Tensor:
        """Inner product of each part with the residual that it enters."""
        return torch.stack([self.xa, self.xm if self.parallel else self.xm + self.am, self.xa + self.xm])

    @cached_property
    def _area(self) -> Tensor:
        """Of the parallelogram of each part and the residual that it enters."""
        return _root(self._rr * self._ww - self._rw**2)


def other_tokens(
    attn: Float[Tensor, "batch pos d_model"], mlp: Float[Tensor, "batch pos d_model"]
) -> Float[Tensor, " batch"]:
    """Mean cosine between attention's write to a token and the MLP's to another token of the same text.

    Over all ordered pairs of different tokens, from sums of unit vectors, so that no pair is formed; a zero
    write has no direction and makes no pair. NaN where there is none.
    """
    a, m = (write.double() for write in (attn, mlp))
    sizes = [write.norm(dim=-1) for write in (a, m)]
    there = [size > 0 for size in sizes]
    over_a, over_m = (torch.where(one, 1 / size, 0.0) for size, one in zip(sizes, there, strict=True))
    whole = [torch.einsum("bp,bpd->bd", over, x) for over, x in ((over_a, a), (over_m, m))]
    same = (_inner(a, m) * over_a * over_m).sum(-1)
    n_a, n_m, n_same = (one.sum(-1).double() for one in (*there, there[0] & there[1]))
    pairs = n_a * n_m - n_same
    return _where((torch.linalg.vecdot(*whole) - same) / pairs, pairs > 0)


def _inner(
    x: Float[Tensor, "batch pos d_model"], y: Float[Tensor, "batch pos d_model"]
) -> Float[Tensor, "batch pos"]:
    """Inner products, without room for the products of single coordinates."""
    return torch.einsum("bpd,bpd->bp", x, y)


def _where(values: Tensor, there: Tensor) -> Tensor:
    return values.masked_fill(~there.expand_as(values), torch.nan)


def _root(square: Tensor) -> Tensor:
    return square.clamp(min=0).sqrt()
