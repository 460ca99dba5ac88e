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
    x: Float[Tensor, "batch pos d_model"], skip: int, orders: Int[Tensor, "order rank"]
) -> Float[Tensor, "pairs order batch removed"]:
    """Mean angle of each kind of pair in each text, without the first 0 … rank dimensions of each order."""
    scale = x.abs().amax((-2, -1), keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
    x = x / scale  # squares of squares neither overflow nor vanish
    first, second, body = x[:, :1], x[:, 1:2], x[:, skip:]
    of_first, of_second, of_body = (_left(part * part, orders) for part in (first, second, body))
    found = [
        (first * second, of_first * of_second),
        (first * body, of_first * of_body),
        (body[:, :-1] * body[:, 1:], of_body[..., :-1] * of_body[..., 1:]),
    ]
    angles = [
        (_left(product, orders) / squares.clamp(min=0).sqrt()).clamp(-1, 1).arccos().mean(-1)
        for product, squares in found
    ]
    return torch.stack(angles).transpose(-1, -2)


def _left(parts: Tensor, orders: Tensor) -> Float[Tensor, "order removed batch pos"]:
    """What is left of inner products, of which these are the `parts`, without the first 0 … rank dimensions
    of each order."""
    # a dimension a row: rows are gathered a hundred times faster than columns
    flat = parts.flatten(0, 1).contiguous()
    rows = flat.T.contiguous()
    # summed along its own vector, so that no text's sum depends on its place in the batch
    whole = flat.sum(1).expand(len(orders), 1, -1)
    left = torch.cat([whole, whole - rows[orders].cumsum(1)], dim=1)
    # what is left of a norm that the removed dimensions made up is rounding
    left = left.masked_fill(left.abs() <= 1e-13 * whole.abs(), 0.0)
    return left.reshape(*left.shape[:2], *parts.shape[:2])


def _unit(x: Tensor) -> Tensor:
    """Vectors of length 1; a zero vector has no direction: NaN."""
    return torch.div(x, x.norm(dim=-1, keepdim=True))
