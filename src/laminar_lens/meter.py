"""Angles measured while the model runs: nothing of the residual stream is kept but one state.

meter = AngleMeter(model)
model.run_with_hooks(tokens, fwd_hooks=meter.hooks())        # or: with meter: model(tokens)
meter.result()["sequential"]                                 # [layer batch pos-1]
"""

import dataclasses
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from laminar_lens.arguments import checked, whole
from laminar_lens.axes import Mask, Wholes
from laminar_lens.errors import CaptureError, InputError, ShapeError
from laminar_lens.geometry import Geometry, GeometryLike, named_geometry
from laminar_lens.kernels import pair_angles, resolve_backend
from laminar_lens.kernels._checks import check_vectors
from laminar_lens.kernels._dispatch import check_backend
from laminar_lens.kernels.profile import check_lags
from laminar_lens.measures import MEASURES, PROFILE, Measure
from laminar_lens.measuring import checked_mask, measured, real_pairs, stacked
from laminar_lens.models.changes import attached_changes
from laminar_lens.models.edits import Interventions, as_interventions
from laminar_lens.models.forward import check_model, check_reached, hook_name, state_hooks
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import check_final_norm
from laminar_lens.models.selection import layer_indices
from laminar_lens.registered import GEOMETRIES


@dataclasses.dataclass
class _Pass:
    """What one forward pass has given: results by measure, hidden states seen, backends, the last state."""

    found: dict[str, list[Tensor]] = dataclasses.field(default_factory=dict)
    seen: list[int] = dataclasses.field(default_factory=list)
    ran: set[str] = dataclasses.field(default_factory=set)
    previous: Tensor | None = None


class AngleMeter:
    """Hooks that measure every hidden state as it passes, and keep the angles only.

    Every forward pass starts anew: `result` is of the last one. A pass begins with a hidden state that does
    not come after the last one seen, so that a pass cut in two (`stop_at_layer`, then `start_at_layer`) is
    one. Nothing that flows is changed but by `interventions`; angles carry no gradient unless `gradient` asks
    for it.

    Hooks at one place run in the order in which they were attached. A state is measured as the hooks before
    the meter's left it: put your own first, `fwd_hooks=[*patches, *meter.hooks()]`, or attach them before
    `with meter:`. What a later hook does to a state is seen from the next hidden state on.

    A pass of fewer tokens than an angle needs is an error: `generate` with a cache runs one at a time.

    A compiled model: `torch.compile` it, attach the meter, then call it. Hooks attached after the first call
    may never run, which `result` then says.

    Attributes:
        layers: hidden states that are measured.
    """

    @checked()
    def __init__(
        self,
        model: HookedModel,
        *,
        measures: str | Iterable[str] = PROFILE,
        lags: int = 1,
        pairs: object = None,
        mask: Mask = None,
        layers: Wholes = None,
        final_norm: bool = False,
        backend: str = "auto",
        gradient: bool = False,
        interventions: Interventions = None,
        geometry: GeometryLike = "raw",
    ) -> None:
        """Checks what can be checked before a forward pass.

        Args:
            model: any TransformerLens model.
            measures: of "sequential", "rotation", "norm", "step", "turning", "pairwise" and those of
                `register_measure`; the default is the first four, or what one hidden state allows.
            lags: the largest lag of the sequential angles, 1 … 4; all smaller ones come too.
            pairs: positions to compare besides, [pair 2] or [batch pair 2]; −1 is no pair.
            mask: bool [batch pos], True for real tokens. It marks angles of padding as NaN; what the model
                itself makes of padding is up to its own `attention_mask`.
            layers: hidden states 0 … n_layers (negative from the end) in increasing order; all by default.
                Rotation and step are then between each and the one before it in `layers`.
            final_norm: measures the last hidden state after the model's final norm.
            backend: "auto", "eager", "cpu", "fused" or "reference"; see `kernels.resolve_backend`.
            gradient: the angles carry the gradients of the pass, which keeps what a backward pass needs.
            interventions: change the pass, such as `cut(5)`; one or a list, applied together. Their hooks are
                attached with the meter's and fit texts without padding before them.
            geometry: in which the vectors are measured, as the interventions left them: what `fit_geometry`
                returned, or a name that needs no other texts. Lengths are then of the mapped vectors.

        Raises:
            InputError: names the argument that does not fit.
        """
        check_model(model)
        if final_norm:
            check_final_norm(model)
        self._model = model
        self.layers = _increasing(layer_indices(layers, int(model.cfg.n_layers)))
        self._mask = checked_mask(mask)
        self._pairs = real_pairs(pairs, self._mask)
        self._measures = _checked_measures(measures, len(self.layers), needed=pairs is None)
        self._lags, self._final_norm, self._gradient = check_lags(lags), bool(final_norm), bool(gradient)
        self._asked = check_backend(backend)
        changes = as_interventions(interventions)
        self._changes = attached_changes(model, changes, self._mask)
        check_reached(model, changes, self.layers[-1])
        self._geometry = _unfitted(model, geometry, self.layers, self._final_norm)
        self._attached: AbstractContextManager[Any] | None = None
        self._pass = _Pass()

    def hooks(self) -> list[tuple[str, Callable[..., Tensor | None]]]:
        """The meter's hooks, for `run_with_hooks(..., fwd_hooks=...)`; those of interventions come first."""
        reads = state_hooks(self._model, self.layers, self.observe, final_norm=self._final_norm)
        return [*(self._changes.hooks() if self._changes else ()), *reads]

    def __enter__(self) -> "AngleMeter":
        if self._attached is not None:
            raise InputError("this meter is attached already; measure with one `with meter:` at a time")
        self._pass = _Pass()
        self._attached = self._model.hooks(fwd_hooks=self.hooks())
        try:
            self._attached.__enter__()
        except BaseException:
            self._attached = None
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        attached, self._attached, self._pass.previous = self._attached, None, None
        if attached is not None:
            attached.__exit__(kind, error, trace)

    @property
    def backend(self) -> str:
        """Names of the backends that measured the last pass.

        Raises:
            CaptureError: as `result`.
        """
        self._check_complete()
        return ", ".join(sorted(self._pass.ran))

    def result(self) -> dict[str, Tensor]:
        """What the last forward pass gave.

        Returns:
            "sequential" [layer batch pos-1], "sequential_2" [layer batch pos-2] …, "rotation"
            [layer-1 batch pos], "turning" [layer batch pos-2], "pairwise" [layer batch pos pos] and "pair"
            [layer batch pair] in radians in [0, π]; "norm" [layer batch pos] and "step" [layer-1 batch pos]
            in the unit of the states: those that were asked for. NaN where a vector is zero (for angles) or
            not finite, is padding by `mask`, or a pair is −1. A registered measure is [layer batch …], or
            [layer-1 batch …] between layers. On the device of the first hidden state.

        Raises:
            CaptureError: there was no forward pass, or one that ended before the last of `layers`, or never
                reached one of them; names the hidden state and its hook.

        Source: Kahan's two-argument form; see kernels/reference.py.
        """
        self._check_complete()
        return {name: stacked(name, parts) for name, parts in self._pass.found.items()}

    def observe(self, layer: int, state: Float[Tensor, "..."]) -> None:
        """Measures hidden state `layer`, [batch pos d_model]; the hooks call it, layer after layer."""
        layer = whole("layer", layer)
        check_vectors("state", state, "... pos d_model")
        if layer in self._pass.seen or (self._pass.seen and layer < self._pass.seen[-1]):
            self._pass = _Pass()
        # `remove_batch_dim=True` takes the axis of a batch of one away.
        state = state[None] if state.ndim == 2 else state
        if self._mask is not None and self._mask.shape != state.shape[:-1]:
            raise ShapeError(
                f"mask has shape {list(self._mask.shape)}, but the model ran [batch pos] "
                f"{list(state.shape[:-1])}; give the mask of these tokens"
            )
        with torch.set_grad_enabled(self._gradient and torch.is_grad_enabled()), _as_it_is(state):
            seen = state if self._gradient else state.detach()
            found = self._measure(self._geometry.apply(layer, seen))
        for name, values in found.items():
            self._pass.found.setdefault(name, []).append(values)
        self._pass.seen.append(layer)
        if self._changes and layer == self.layers[-1]:
            self._changes.check_fired(layer)

    def _measure(self, state: Tensor) -> dict[str, Tensor]:
        before = self._pass.previous
        name = resolve_backend(self._asked, before if before is not None and before.requires_grad else state)
        self._pass.ran.add(name)
        mask = self._mask = None if self._mask is None else self._mask.to(state.device)
        found: dict[str, Tensor] = {}
        if alone := [one for one in self._measures if not one.between_layers]:
            found |= measured(alone, [state], mask, name, self._lags)
        if self._pairs is not None:
            found["pair"] = pair_angles(state, self._pairs, backend=name)
        if between := [one for one in self._measures if one.between_layers]:
            if before is not None:
                self._check_same_tokens(before, state)
                found |= measured(between, _alike(before, state), mask, name)
            self._keep(state)
        return found

    def _keep(self, state: Tensor) -> None:
        """A copy: hooks and models may write into a state after it was measured."""
        kept = self._pass.previous
        if len(self._pass.seen) + 1 == len(self.layers):
            self._pass.previous = None
        elif kept is None or self._gradient or not _can_hold(kept, state):
            self._pass.previous = state.clone()
        else:
            kept.copy_(state)

    def _check_same_tokens(self, before: Tensor, state: Tensor) -> None:
        if before.shape != state.shape:
            was, now = list(before.shape), list(state.shape)
            raise ShapeError(
                f"hidden state {self._pass.seen[-1]} was {was}, the next one is {now}: a pass that was cut "
                "short was followed by one of other tokens; go on with the same, or use a new meter"
            )

    def _check_complete(self) -> None:
        if not self._pass.seen:
            raise CaptureError(
                "the meter has seen no forward pass; run `with meter: model(tokens)`, or run_with_hooks with "
                "fwd_hooks=meter.hooks(); of a compiled model, attach the meter before its first call"
            )
        seen = self._pass.seen
        if missing := [layer for layer in self.layers if layer not in seen]:
            raise CaptureError(
                f"hidden state {missing[0]}: its hook {hook_name(self._model, missing[0])!r} did not fire in "
                f"the last forward pass, which gave {seen}; run the whole model, or choose layers={seen}"
            )


def _unfitted(
    model: HookedModel, geometry: GeometryLike, layers: tuple[int, ...], final_norm: bool
) -> Geometry:
    """A geometry that is there, or that a name makes without other texts."""
    if isinstance(geometry, str) and GEOMETRIES.get(geometry).needs_texts:
        raise InputError(
            f"geometry {geometry!r} is fitted on other texts: give a meter "
            f"laminar_lens.geometry.fit_geometry(model, {geometry!r})"
        )
    return named_geometry(model, geometry, prepend_bos=None, final_norm=final_norm, layers=layers)


def _increasing(layers: tuple[int, ...]) -> tuple[int, ...]:
    if list(layers) != sorted(set(layers)):
        raise InputError(
            f"layers are hidden states {list(layers)}; a meter sees them in increasing order, each once: "
            f"give {sorted(set(layers))}"
        )
    return layers


def _checked_measures(measures: str | Iterable[str], n_layers: int, *, needed: bool) -> tuple[Measure, ...]:
    names = (measures,) if isinstance(measures, str) else tuple(measures)
    asked = [MEASURES.get(name) for name in dict.fromkeys(names)]
    if needed and not asked:
        raise InputError(
            f"measures is empty and there are no pairs; choose from {', '.join(MEASURES.names())}"
        )
    between = [one.name for one in asked if one.between_layers]
    if n_layers == 1 and between and set(names) != set(PROFILE):
        raise InputError(f"{between[0]!r} compares two hidden states, but layers= has one; give two or more")
    order = {name: row for row, name in enumerate(MEASURES.shipped)}
    kept = [one for one in asked if n_layers > 1 or not one.between_layers]
    return tuple(sorted(kept, key=lambda one: order.get(one.name, len(order))))


def _alike(before: Tensor, state: Tensor) -> list[Tensor]:
    """Both on the device of the second, in the wider dtype: a spread model changes device between blocks."""
    dtype = torch.promote_types(before.dtype, state.dtype)
    return [before.to(state.device, dtype), state.to(dtype)]


def _can_hold(kept: Tensor, state: Tensor) -> bool:
    """Whether it may be written over; a pass may begin under inference mode and end without it."""
    alike = kept.shape == state.shape and kept.dtype is state.dtype and kept.device == state.device
    return alike and (torch.is_inference_mode_enabled() or not kept.is_inference())


def _as_it_is(state: Tensor) -> AbstractContextManager[Any]:
    """Autocast would take the kernels' own arithmetic to half precision."""
    kind = state.device.type
    return torch.autocast(kind if torch.amp.is_autocast_available(kind) else "cpu", enabled=False)
