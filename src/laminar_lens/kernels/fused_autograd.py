"""Gradients of the fused kernels: an autograd.Function around each operator, with an explicit backward.

An operator with a registered gradient fails under torch.func.grad and gives silent zeros under jvp; a
Function with `setup_context` and `vmap` works with autograd, torch.func and torch.compile. Without a `jvp`
method, which Dynamo cannot trace, torch itself refuses forward differentiation (and `fused.refuses` first).
The backward is in torch operations and in float64, one layer at a time; it can be differentiated again.

With û = u/‖u‖ and cos = û·v̂, the angle's gradient in u is −(v̂ − cos·û)/(sin·‖u‖): of length 1/‖u‖, in the
direction that opens the angle. At 0 and π it is not unique, and 0 here. Vectors without a direction get
zeros.
"""

# ruff: noqa: D102 (the methods are those of torch.autograd.Function)

from typing import Any

import torch
from torch import Tensor

from laminar_lens.kernels.fused_launch import pair_op, pairwise_op, profile_op, turning_op


def _directions(vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Unit vectors and lengths in float64, constants where there is no direction, and where there is one."""
    wide = vectors.double()
    largest = wide.detach().abs().amax(-1, keepdim=True)
    valid = (largest > 0) & largest.isfinite()
    scaled = torch.where(valid, wide, 1.0) / torch.where(valid, largest, 1.0)
    length = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)
    return scaled / length, length * torch.where(valid, largest, 1.0), valid


def _towards(a: Tensor, b: Tensor) -> Tensor:
    """Unit tangent at direction `a` that leads to direction `b`: 0 where they are equal or opposite."""
    half_square = ((b - a) ** 2).sum(-1, keepdim=True) / 2  # 1 − cos without its cancellation
    tangent = (b - a) + half_square * a
    sine = torch.linalg.vector_norm(tangent, dim=-1, keepdim=True)
    defined = sine > 1e-14
    return torch.where(defined, tangent / torch.where(defined, sine, 1.0), 0.0)


def _angle_gradient(u: Tensor, v: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients in u and v of angles between them, [... d_model], in float64."""
    a, length_u, valid_u = _directions(u)
    b, length_v, valid_v = _directions(v)
    g = torch.where(valid_u & valid_v, gradient.double()[..., None], 0.0)
    return -g * _towards(a, b) / length_u, -g * _towards(b, a) / length_v


def _flatten(x: Tensor, dim: int | None, size: int, axis: int = 0) -> Tensor:
    """The mapped axis joined with `axis`: every operator takes any number of texts."""
    x = x.unsqueeze(0).expand(size, *x.shape) if dim is None else x.movedim(dim, 0)
    return x.movedim(0, axis).flatten(axis, axis + 1)


def apply(function: type[torch.autograd.Function], *arguments: Any) -> Any:
    """`Function.apply`, which torch leaves untyped."""
    return function.apply(*arguments)  # type: ignore[no-untyped-call]


class Profile(torch.autograd.Function):
    """`profile_op`; arguments: mask, lag, lags, norm, rotation, step, then the layers."""

    @staticmethod
    def forward(mask: Tensor | None, lag: int, lags: int, norm: bool, rotation: bool, step: bool,
                *layers: Tensor) -> tuple[Tensor, ...]:  # fmt: skip
        return tuple(profile_op(list(layers), mask, lag, lags, norm, rotation, step))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        mask, *ctx.how = inputs[:6]
        ctx.masked = mask is not None
        ctx.save_for_backward(*inputs[6:], *([mask] if ctx.masked else []))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        layers = ctx.saved_tensors[: -1 if ctx.masked else None]
        mask = ctx.saved_tensors[-1] if ctx.masked else None
        found = _profile_gradients(layers, mask, ctx.how, gradients)
        return *(None,) * 6, *(g.to(x.dtype) for g, x in zip(found, layers, strict=True))

    @staticmethod
    def vmap(info: Any, in_dims: Any, mask: Tensor | None, lag: int, lags: int, norm: bool, rotation: bool,
             step: bool, *layers: Tensor) -> Any:  # fmt: skip
        size = info.batch_size
        flat = [_flatten(x, dim, size) for x, dim in zip(layers, in_dims[6:], strict=True)]
        joint = None if mask is None else _flatten(mask, in_dims[0], size).contiguous()
        found = list(apply(Profile, joint, lag, lags, norm, rotation, step, *flat))
        n_batch, n_pos = flat[0].shape[0] // size, flat[0].shape[1]
        turns = split_lags(found[1], len(flat), size * n_batch, n_pos, lag, lags)
        turns = [x.view(len(flat), size, n_batch, -1).movedim(1, 0).flatten(1) for x in turns]
        found[1] = torch.cat(turns, 1) if turns else found[1]
        for index, asked in ((0, norm), (2, rotation), (3, step)):
            if asked:
                found[index] = found[index].unflatten(1, (size, n_batch))
        return tuple(found), (
            1 if norm else None,
            0 if lags else None,
            1 if rotation else None,
            1 if step else None,
        )


def split_lags(flat: Tensor, n_layer: int, n_batch: int, n_pos: int, lag: int, lags: int) -> list[Tensor]:
    """The sequential angles of each lag, [layer batch pos-lag], from the row that holds them all."""
    lengths = [n_pos - each for each in range(lag, lag + lags)]
    parts = torch.split(flat, [n_layer * n_batch * n for n in lengths]) if lengths else []
    return [part.view(n_layer, n_batch, n) for part, n in zip(parts, lengths, strict=True)]


def _profile_gradients(
    layers: tuple[Tensor, ...], mask: Tensor | None, how: list[Any], gradients: tuple[Tensor, ...]
) -> list[Tensor]:
    lag, lags, norm, rotation, step = how
    of_norm, of_turns, of_rotation, of_step = gradients
    n_batch, n_pos = layers[0].shape[:2]
    turns = split_lags(of_turns, len(layers), n_batch, n_pos, lag, lags)
    found: list[Tensor] = []
    for index, x in enumerate(layers):
        x = x if mask is None else torch.where(mask[..., None], x, 0.0)  # without a direction
        total = torch.zeros_like(x, dtype=torch.float64)
        if norm:
            unit, _, valid = _directions(x)
            total = total + torch.where(valid, of_norm[index].double()[..., None], 0.0) * unit
        for offset, turn in enumerate(turns):
            by = lag + offset
            first, second = _angle_gradient(x[:, :-by], x[:, by:], turn[index])
            total = total + torch.nn.functional.pad(first, (0, 0, 0, by))
            total = total + torch.nn.functional.pad(second, (0, 0, by, 0))
        if index and (rotation or step):
            before = (
                layers[index - 1] if mask is None else torch.where(mask[..., None], layers[index - 1], 0.0)
            )
            if rotation:
                first, second = _angle_gradient(before, x, of_rotation[index - 1])
                found[-1], total = found[-1] + first, total + second
            if step:
                moved = _step_gradient(before, x, mask, of_step[index - 1])
                found[-1], total = found[-1] - moved, total + moved
        found.append(total)
    return found


def _step_gradient(before: Tensor, after: Tensor, mask: Tensor | None, gradient: Tensor) -> Tensor:
    """In `after`; the negative in `before`. Zero where nothing moved, as torch has it for a norm."""
    finite = before.isfinite().all(-1, keepdim=True) & after.isfinite().all(-1, keepdim=True)
    finite = finite if mask is None else finite & mask[..., None]
    change = torch.where(finite, after.double() - before.double(), 0.0)
    unit, _, valid = _directions(change)
    return torch.where(valid, gradient.double()[..., None], 0.0) * unit


class _OfInputs(torch.autograd.Function):
    """Keeps its inputs for the backward."""

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(*inputs)


def _joined(function: type[torch.autograd.Function], info: Any, in_dims: Any, resid: Tensor) -> Any:
    """A function of [batch pos d_model] under vmap: the mapped axis is more texts."""
    size = info.batch_size
    return apply(function, _flatten(resid, in_dims[0], size)).unflatten(0, (size, -1)), 0


class Pairs(_OfInputs):
    """`pair_op` on resid [layer batch pos d_model] and pairs [batch pair 2]."""

    @staticmethod
    def forward(resid: Tensor, pairs: Tensor) -> Tensor:
        angles: Tensor = pair_op(resid, pairs)
        return angles

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        resid, pairs = ctx.saved_tensors
        index = pairs.clamp(min=0)[None, ..., None].expand(resid.shape[0], -1, -1, -1, resid.shape[-1])
        i, j = index.unbind(3)
        g = torch.where((pairs >= 0).all(-1), gradients[0], 0.0)
        first, second = _angle_gradient(resid.gather(2, i), resid.gather(2, j), g)
        total = torch.zeros_like(resid, dtype=torch.float64)
        return total.scatter_add(2, i, first).scatter_add(2, j, second).to(resid.dtype), None

    @staticmethod
    def vmap(info: Any, in_dims: Any, resid: Tensor, pairs: Tensor) -> Any:
        size = info.batch_size
        joint = apply(Pairs, _flatten(resid, in_dims[0], size, 1), _flatten(pairs, in_dims[1], size))
        return joint.unflatten(1, (size, -1)), 1


class Turning(_OfInputs):
    """`turning_op` on resid [batch pos d_model]."""

    @staticmethod
    def forward(resid: Tensor) -> Tensor:
        angles: Tensor = turning_op(resid)
        return angles

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (resid,) = ctx.saved_tensors
        change = resid.double().diff(dim=1)
        first, second = _angle_gradient(change[:, :-1], change[:, 1:], gradients[0])
        pad = torch.nn.functional.pad
        in_change = pad(first, (0, 0, 0, 1)) + pad(second, (0, 0, 1, 0))
        return (pad(in_change, (0, 0, 1, 0)) - pad(in_change, (0, 0, 0, 1))).to(resid.dtype)

    @staticmethod
    def vmap(info: Any, in_dims: Any, resid: Tensor) -> Any:
        return _joined(Turning, info, in_dims, resid)


class Pairwise(_OfInputs):
    """`pairwise_op` on resid [batch pos d_model]."""

    @staticmethod
    def forward(resid: Tensor) -> Tensor:
        angles: Tensor = pairwise_op(resid)
        return angles

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (resid,) = ctx.saved_tensors
        unit, length, valid = _directions(resid)
        cosine = (unit @ unit.mT).clamp(-1, 1)
        sine2 = (1 - cosine) * (1 + cosine)
        apart = (sine2 > 1e-28) & valid & valid.mT
        apart = apart & ~torch.eye(resid.shape[1], dtype=torch.bool, device=resid.device)
        g = gradients[0].double()
        weight = torch.where(apart, (g + g.mT) / torch.where(apart, sine2, 1.0).sqrt(), 0.0)
        opening = weight @ unit - (weight * cosine).sum(-1, keepdim=True) * unit
        return (-opening / length).to(resid.dtype)

    @staticmethod
    def vmap(info: Any, in_dims: Any, resid: Tensor) -> Any:
        return _joined(Pairwise, info, in_dims, resid)
