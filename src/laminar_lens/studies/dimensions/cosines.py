"""The cosine between two tokens: what each dimension adds to it, and the angle without some dimensions."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

PAIRS = ("first", "first_body", "body")
"""(0, 1); position 0 with each body position; neighbours in the body."""


def contributions(x: Float[Tensor, "batch pos d_model"], skip: int) -> Float[Tensor, "pairs batch d_model"]:
    """u_k·v_k/(‖u‖‖v‖), the mean over the pairs of each kind in each text; the sum over k is the mean cosine.

    Source: arXiv 2109.04404, section 3.
    """
    unit = _unit(x)
    body = unit[:, skip:]
    first = unit[:, 0] * unit[:, 1]
    with_body = unit[:, 0] * body.mean(1)
    neighbours = (body[:, :-1] * body[:, 1:]).mean(1)
    return torch.stack([first, with_body, neighbours])


def without(
    x: Float[Tensor, "batch pos d_model"], kind: int, skip: int, orders: Int[Tensor, "order rank"]
) -> Float[Tensor, "order batch removed"]:
    """Mean angle of a kind of pair in each text, without the first 0 … rank dimensions of each order."""
    u, v = _pair(x, kind, skip)
    scale = x.norm(dim=-1).amax(-1)[:, None, None].clamp(min=torch.finfo(x.dtype).tiny)
    u, v = u / scale, v / scale
    product, *squares = (_left(a, b, orders) for a, b in ((u, v), (u, u), (v, v)))
    cosine = product / (squares[0] * squares[1]).clamp(min=0).sqrt()
    angle = cosine.clamp(-1, 1).arccos()
    return angle.reshape(*angle.shape[:2], len(x), -1).mean(-1).transpose(1, 2)


def _left(a: Tensor, b: Tensor, orders: Tensor) -> Float[Tensor, "order removed place"]:
    """What is left of inner products without the first 0 … rank dimensions of each order."""
    # a dimension a row: rows are gathered a hundred times faster than columns
    parts = (a * b).flatten(0, 1).T.contiguous()
    whole = parts.sum(0).expand(len(orders), 1, -1)
    left = torch.cat([whole, whole - parts[orders].cumsum(1)], dim=1)
    # what is left of a norm that the removed dimensions made up is rounding
    return left.masked_fill(left.abs() <= 1e-13 * whole.abs(), 0.0)


def _pair(x: Tensor, kind: int, skip: int) -> tuple[Tensor, Tensor]:
    name = PAIRS[kind]
    if name == "first":
        return x[:, :1], x[:, 1:2]
    body = x[:, skip:]
    return (x[:, :1].expand_as(body), body) if name == "first_body" else (body[:, :-1], body[:, 1:])


def _unit(x: Tensor) -> Tensor:
    """Vectors of length 1; a zero vector has no direction: NaN."""
    return torch.div(x, x.norm(dim=-1, keepdim=True))
