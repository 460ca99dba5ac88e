"""Edits of hidden states: what the blocks after them read, and what is measured, is the edited state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from laminar_lens import arguments
from laminar_lens.arguments import checked
from laminar_lens.axes import Wholes
from laminar_lens.errors import InputError
from laminar_lens.interventions.arguments import check_positions, columns, others, whole_or_mean, wholes
from laminar_lens.models.edits import Edit, Intervention, Span
from laminar_lens.models.forward import hook_name
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.selection import increasing_layers


@dataclass(frozen=True)
class Edited(Intervention):
    """An edit of hidden states in some layers, at some positions."""

    linear: ClassVar[bool] = False
    """Whether it commutes with a change of norm."""

    def where(self) -> tuple[Any, tuple[int, ...] | None]:
        """Layers as they were given, and positions; None is all."""
        raise NotImplementedError

    def chosen_layers(self, model: HookedModel) -> tuple[int, ...]:
        """Hidden states, in increasing order."""
        try:
            return increasing_layers(self.where()[0], int(model.cfg.n_layers))
        except InputError as error:
            raise InputError(f"{self.label}: {error}") from None

    def check(self, model: HookedModel, length: int) -> None:
        """See `Intervention.check`."""
        self.chosen_layers(model)
        check_positions(self.label, self.where()[1] or (), length)

    def edits(self, model: HookedModel) -> list[Edit]:
        """See `Intervention.edits`."""
        return [
            Edit(hook_name(model, layer), layer, self.editor(layer, model))
            for layer in self.chosen_layers(model)
        ]

    def editor(self, layer: int, model: HookedModel) -> Any:
        """What edits hidden state `layer`."""
        raise NotImplementedError

    def meets(self, other: "Edited", model: HookedModel) -> str:
        """Where both edit the same vectors; empty if nowhere."""
        layers = set(self.chosen_layers(model)) & set(other.chosen_layers(model))
        mine, theirs = self.where()[1], other.where()[1]
        shared = set(mine or theirs or (0,)) & set(theirs or mine or (0,))
        if not layers or not shared:
            return ""
        return f"both edit hidden state {min(layers)}" + (
            f" at position {min(shared)}" if mine or theirs else ""
        )

    def clash(self, other: Intervention, model: HookedModel, length: int) -> str:
        """See `Intervention.clash`."""
        if not isinstance(other, Edited) or (self.linear and other.linear and type(self) is not type(other)):
            return ""
        return self.meets(other, model)


@dataclass(frozen=True)
class _RemoveDimensions(Edited):
    name = "remove_dimensions"
    does = "coordinates of the residual stream replaced by zero, or by the mean of the text's other positions"
    dims: tuple[int, ...]
    layers: tuple[int, ...] | None = None
    positions: tuple[int, ...] | None = None
    by: str = "zero"

    @property
    def linear(self) -> bool:  # type: ignore[override]
        return self.by == "zero"

    def where(self) -> tuple[Any, tuple[int, ...] | None]:
        return self.layers, self.positions

    def check(self, model: HookedModel, length: int) -> None:
        super().check(model, length)
        width = int(model.cfg.d_model)
        if self.dims[-1] >= width:
            raise InputError(
                f"{self.label}: dimension {self.dims[-1]} does not exist; there are 0 … {width - 1}"
            )
        if len(self.dims) == width:
            raise InputError(
                f"{self.label} removes all {width} dimensions, which leaves no vector; keep some"
            )
        others(self.label, self.by, self.positions, length)

    def clash(self, other: Intervention, model: HookedModel, length: int) -> str:
        if isinstance(other, _RemoveDimensions) and not set(self.dims) & set(other.dims):
            return ""
        return super().clash(other, model, length)

    def check_together(self, model: HookedModel, interventions: Sequence[Intervention]) -> None:
        width = int(model.cfg.d_model)
        removals = [one for one in interventions if isinstance(one, _RemoveDimensions)]
        named = sorted({p for one in removals for p in one.positions or ()})
        for layer in self.chosen_layers(model):
            here = [one for one in removals if layer in one.chosen_layers(model)]
            for place in (None, *named):
                found = [one for one in here if one.positions is None or place in one.positions]
                if len({dim for one in found for dim in one.dims}) == width:
                    raise InputError(
                        f"{' and '.join(one.label for one in found)} together remove all {width} dimensions "
                        f"of hidden state {layer}, which leaves no vector; keep some"
                    )

    def editor(self, layer: int, model: HookedModel) -> Any:
        def remove(state: Tensor, span: Span) -> Tensor:
            place = columns(self.positions, span, state)
            dims = torch.tensor(self.dims, device=state.device)
            out = state.clone()
            if self.by == "zero":
                out[:, place[:, None], dims] = 0
            else:
                rest = others(self.label, self.by, self.positions, state.shape[1] - span.before)
                kept = columns(rest, span, state)
                out[:, place[:, None], dims] = state[:, kept][..., dims].mean(1, keepdim=True)
            return out

        return remove


@checked(layers=None, positions=None)
def remove_dimensions(
    dims: object, layers: Wholes = None, positions: Wholes = None, by: str = "zero"
) -> Intervention:
    """Takes some coordinates out of the residual stream, for the blocks that follow and for what is measured.

    >>> remove_dimensions([3, 1], layers=4).label
    'remove_dimensions([1, 3], layers=[4])'

    Args:
        dims: coordinates, 0 … d_model − 1.
        layers: hidden states 0 … n_layers (negative from the end); all by default.
        positions: all by default, those of a prefix too.
        by: "zero", or "mean": the mean over the same text's positions that are not in `positions`.

    Raises:
        InputError: an argument that is no such number, or another `by`. Where it is used: a dimension, layer
            or position that is not there, or all dimensions.
    """
    by = whole_or_mean("remove_dimensions", by, positions)
    chosen = wholes("dims", dims)
    if chosen is None:
        raise InputError("dims is None; give the dimensions to remove, such as [447]")
    return _RemoveDimensions(chosen, as_layers(layers), wholes("positions", positions), by)


@dataclass(frozen=True)
class _ScaleNorm(Edited):
    name = "scale_norm"
    does = "vectors of the residual stream times a factor: their directions, and so all angles there, stay"
    linear: ClassVar[bool] = True
    factor: float
    layers: tuple[int, ...]
    positions: tuple[int, ...] | None = None

    def where(self) -> tuple[Any, tuple[int, ...] | None]:
        return self.layers, self.positions

    def editor(self, layer: int, model: HookedModel) -> Any:
        def scale(state: Tensor, span: Span) -> Tensor:
            place = columns(self.positions, span, state)
            out = state.clone()
            out[:, place] = state[:, place] * self.factor
            return out

        return scale


@checked(layers=None, positions=None)
def scale_norm(factor: object, layers: Wholes, positions: Wholes = None) -> Intervention:
    """Multiplies vectors of the residual stream by a factor: their norm alone, since angles are scale-free.

    >>> scale_norm(0.1, layers=4, positions=0).label
    'scale_norm(0.1, [4], positions=[0])'

    Args:
        factor: above 0.
        layers: hidden states 0 … n_layers (negative from the end).
        positions: all by default, those of a prefix too.

    Raises:
        InputError: a factor that is not above 0, or layers or positions that are not numbers. Where it is
            used: a layer or position that is not there.
    """
    if not (scale := arguments.number("factor", factor)) > 0:
        raise InputError(f"factor is {factor!r}; expected a finite number above 0")
    return _ScaleNorm(scale, needed_layers("scale_norm", layers), wholes("positions", positions))


def as_layers(layers: Wholes) -> tuple[int, ...] | None:
    """Hidden states as given, as a tuple; None stays None.

    Raises:
        InputError: none at all, or one that is no whole number.
    """
    return None if layers is None else tuple(sorted(set(arguments.wholes("layers", layers))))


def needed_layers(name: str, layers: Wholes) -> tuple[int, ...]:
    """`as_layers` where there must be some.

    Raises:
        InputError: names what needs them.
    """
    chosen = as_layers(layers)
    if chosen is None:
        raise InputError(f"{name} needs layers; give at least one")
    return chosen
