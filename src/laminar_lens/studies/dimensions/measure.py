"""What a dimension study measures: each dimension's part of a cosine, and angles without some dimensions.

Two passes. In the first, half of the texts choose the dimensions; in the second, the other half says what
they do, so that a dimension is not credited with the noise it was chosen for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from laminar_lens.axes import Progress
from laminar_lens.errors import InputError
from laminar_lens.models.batches import PromptBatches
from laminar_lens.models.calibration import SKIP
from laminar_lens.models.passes import each_batch, run_batch
from laminar_lens.stats.streams import stream
from laminar_lens.studies.dimensions.geometries import Compared, compared
from laminar_lens.studies.measured import Axes, to_dataset
from laminar_lens.studies.run import Run

DRAWS = 50
BY = "geometry pairs layer"
PAIRS = ("first", "first_body", "body")
"""(0, 1); position 0 with each body position; neighbours in the body."""


@dataclass(frozen=True, eq=False)
class Contributions:
    """Sums over texts; axes [geometry pairs layer d_model] where not said.

    Attributes:
        mean: mean over texts (of each text's mean over its pairs) of u_k·v_k/(‖u‖‖v‖).
        sd: its standard deviation over texts.
        size: the same mean of |u_k||v_k|/(‖u‖‖v‖): what it would be if the signs always agreed.
        cosine: [geometry pairs layer], their sums' means.
        n: number of texts.
    """

    mean: np.ndarray
    sd: np.ndarray
    size: np.ndarray
    cosine: np.ndarray
    n: int


@dataclass(frozen=True, eq=False)
class Removal:
    """What removing dimensions does.

    Attributes:
        angle: [geometry pairs layer text removed] in radians, without the first 0, 1, … of the chosen.
        null: [geometry pairs layer draw removed], the mean over texts without as many random dimensions.
        part: [geometry pairs layer text rank], contribution of each of the chosen.
        cosine: [geometry pairs layer text].
    """

    angle: np.ndarray
    null: np.ndarray
    part: np.ndarray
    cosine: np.ndarray


@dataclass(frozen=True, eq=False)
class Measurement:
    """What was measured: contributions in the texts that choose and in those that are measured, and what
    removing the chosen does in these.

    Attributes:
        before_mean … after_cosine: see `Contributions`; `n_before`, `n_after` are its numbers of texts.
        order: dimensions by their contribution in the texts that choose.
        angle … cosine: see `Removal`.
        geometry: names, of the study's geometry and, where it is not centred, of the same centred.
        text: which texts were measured; `group` is theirs, where texts of one group count as one.
    """

    before_mean: Annotated[np.ndarray, Axes(f"{BY} dimension", "1")]
    before_size: Annotated[np.ndarray, Axes(f"{BY} dimension", "1")]
    before_sd: Annotated[np.ndarray, Axes(f"{BY} dimension", "1")]
    after_mean: Annotated[np.ndarray, Axes(f"{BY} dimension", "1")]
    after_size: Annotated[np.ndarray, Axes(f"{BY} dimension", "1")]
    after_sd: Annotated[np.ndarray, Axes(f"{BY} dimension", "1")]
    before_cosine: Annotated[np.ndarray, Axes(BY, "1")]
    after_cosine: Annotated[np.ndarray, Axes(BY, "1")]
    order: Annotated[np.ndarray, Axes(f"{BY} dimension")]
    angle: Annotated[np.ndarray, Axes(f"{BY} text removed", "rad")]
    null: Annotated[np.ndarray, Axes(f"{BY} draw removed", "rad")]
    part: Annotated[np.ndarray, Axes(f"{BY} text rank", "1")]
    cosine: Annotated[np.ndarray, Axes(f"{BY} text", "1")]
    geometry: Annotated[np.ndarray, Axes("geometry")]
    layer: Annotated[np.ndarray, Axes("layer")]
    text: Annotated[np.ndarray, Axes("text")]
    n_before: int
    n_after: int
    n_texts: int
    body_from: int
    group: Annotated[np.ndarray, Axes("text")] | None = None

    @property
    def before(self) -> Contributions:
        """Of the texts that choose."""
        sizes = (self.before_mean, self.before_sd, self.before_size, self.before_cosine)
        return Contributions(*sizes, self.n_before)

    @property
    def after(self) -> Contributions:
        """Of the texts that are measured."""
        return Contributions(self.after_mean, self.after_sd, self.after_size, self.after_cosine, self.n_after)

    @property
    def removal(self) -> Removal:
        """What removing the chosen does."""
        return Removal(self.angle, self.null, self.part, self.cosine)


def measure(run: Run, removed: int) -> xr.Dataset:
    """Half of the texts choose the dimensions, the other half says what they do."""
    choose, use = split(len(run.tokens), run.groups, run.options.seed)
    skip = min(SKIP, (run.tokens.shape[1] + int(run.options.prepend_bos)) // 2)
    geometries = run.once("geometries", lambda: compared(run, skip))
    for one in geometries:
        one.check_others(run.tokens.tolist())
    runs = [run.batches(run.tokens[half]) for half in (choose, use)]
    before, after = (measure_contributions(one, geometries, skip, progress=run.progress) for one in runs)
    order = np.argsort(-np.abs(before.mean), axis=-1, kind="stable")
    random = _random_orders(before.mean.shape[-1], removed, run.options.seed)
    removal = measure_removal(runs[1], geometries, skip, order[..., :removed], random, progress=run.progress)
    halves = {"before": before, "after": after}
    sums = {
        f"{name}_{part}": getattr(half, part)
        for name, half in halves.items()
        for part in ("mean", "size", "sd", "cosine")
    }
    return to_dataset(
        Measurement(
            **sums,
            order=order,
            angle=removal.angle,
            null=removal.null,
            part=removal.part,
            cosine=removal.cosine,
            geometry=np.array([one.name for one in geometries]),
            layer=np.array(runs[0].layers),
            text=use,
            n_before=before.n,
            n_after=after.n,
            n_texts=len(run.tokens),
            body_from=skip,
            group=None if run.groups is None else run.groups[use],
        ),
        info={**runs[0].info, "geometry": {one.name: one.describe() for one in geometries}},
    )


def split(n: int, groups: np.ndarray | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Texts of a random half of the groups, and the others.

    Raises:
        InputError: fewer than 4 independent texts.
    """
    labels, member = np.unique(np.arange(n) if groups is None else groups, return_inverse=True)
    if len(labels) < 4:
        raise InputError(f"{len(labels)} independent texts: half of them choose, so at least 4 are needed")
    first = stream(seed, "texts that choose dimensions").permutation(len(labels)) < len(labels) // 2
    return np.flatnonzero(first[member]), np.flatnonzero(~first[member])


def _random_orders(width: int, removed: int, seed: int) -> np.ndarray:
    """Dimensions drawn at random without replacement, [draw rank]."""
    rng = stream(seed, "dimensions at random")
    return np.stack([rng.permutation(width)[:removed] for _ in range(DRAWS)])


def measure_contributions(
    run: PromptBatches,
    geometries: Sequence[Compared],
    skip: int,
    *,
    progress: Progress | None = None,
) -> Contributions:
    """Each dimension's mean part of each kind of pair's cosine."""
    shape = (len(geometries), len(PAIRS), len(run.layers), int(run.model.cfg.d_model))
    total, square, size = np.zeros((3, *shape))
    at = {layer: row for row, layer in enumerate(run.layers)}

    def see(layer: int, state: Tensor) -> None:
        for row, geometry in enumerate(geometries):
            x = geometry.apply(layer, state.detach()).double()
            parts = contributions(x, skip).cpu().numpy()
            total[row, :, at[layer]] += parts.sum(1)
            square[row, :, at[layer]] += (parts**2).sum(1)
            size[row, :, at[layer]] += contributions(x.abs(), skip).sum(1).cpu().numpy()

    for indices in each_batch(run, "contributions of dimensions", progress):
        run_batch(run, indices, see)
    n = len(run.rows)
    mean = total / n
    sd = np.sqrt(np.maximum(square / n - mean**2, 0) * n / max(n - 1, 1))
    return Contributions(mean, sd, size / n, mean.sum(-1), n)


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


def measure_removal(
    run: PromptBatches,
    geometries: Sequence[Compared],
    skip: int,
    top: Int[np.ndarray, "geometry pairs layer rank"],
    random: Int[np.ndarray, "draw rank"],
    *,
    progress: Progress | None = None,
) -> Removal:
    """Angles without the first 0, 1, 2, … dimensions of each order."""
    kinds, layers, n, ranks = len(PAIRS), len(run.layers), len(run.rows), top.shape[-1]
    angle = np.full((len(geometries), kinds, layers, n, ranks + 1), np.nan)
    null = np.zeros((len(geometries), kinds, layers, len(random), ranks + 1))
    part = np.full((len(geometries), kinds, layers, n, ranks), np.nan)
    cosine = np.full((len(geometries), kinds, layers, n), np.nan)
    at = {layer: row for row, layer in enumerate(run.layers)}
    draws = torch.from_numpy(random)

    def see(indices: Sequence[int], layer: int, state: Tensor) -> None:
        where = at[layer]
        for row, geometry in enumerate(geometries):
            x = geometry.apply(layer, state.detach()).double().cpu()
            shares = contributions(x, skip)
            for kind in range(kinds):
                chosen = torch.from_numpy(top[row, kind, where])
                found, by_draw = _without(x, kind, skip, chosen[None]), _without(x, kind, skip, draws)
                angle[row, kind, where, list(indices)] = found[0].numpy()
                null[row, kind, where] += by_draw.sum(1).numpy() / n
                part[row, kind, where, list(indices)] = shares[kind][:, chosen].numpy()
                cosine[row, kind, where, list(indices)] = shares[kind].sum(-1).numpy()

    for indices in each_batch(run, "angles without dimensions", progress):
        run_batch(run, indices, partial(see, indices))
    return Removal(angle, null, part, cosine)


def _without(
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
