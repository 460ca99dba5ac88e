"""Putting the states of another run in the place of this one's."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from laminar_lens.arguments import checked
from laminar_lens.axes import Wholes
from laminar_lens.errors import InputError
from laminar_lens.interventions.arguments import columns, wholes
from laminar_lens.interventions.places import prompt_rows
from laminar_lens.interventions.states import Edited, needed_layers
from laminar_lens.models.edits import Intervention, Span
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.info import describe_name


@dataclass(frozen=True)
class _Source:
    """States to put in, and what is known of them."""

    values: Tensor
    layers: tuple[int, ...]
    positions: tuple[int, ...]
    mask: Tensor | None
    info: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Patch(Edited):
    name = "patch_residual"
    does = "states of another run in the place of this one's"
    source: _Source = field(repr=False)
    layers: tuple[int, ...]
    positions: tuple[int, ...] | None = None

    @property
    def label(self) -> str:
        where = "" if self.positions is None else f", positions={list(self.positions)}"
        return f"patch_residual({list(self.source.values.shape)}, {list(self.layers)}{where})"

    def describe(self, model: HookedModel | None = None) -> dict[str, Any]:
        source = self.source
        raw = source.values.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
        return {
            "intervention": self.name,
            "label": self.label,
            "does": self.does,
            "layers": list(self.layers),
            "positions": None if self.positions is None else list(self.positions),
            "from_model": source.info.get("name"),
            "from_weights_sha256": source.info.get("weights_sha256"),
            "states_sha256": hashlib.sha256(raw).hexdigest(),
        }

    @property
    def portable(self) -> bool:
        return self.source.values.shape[1] == 1 and self.positions is not None

    def where(self) -> tuple[Any, tuple[int, ...] | None]:
        return self.layers, self.positions

    def check(self, model: HookedModel, length: int) -> None:
        super().check(model, length)
        source, width = self.source, int(model.cfg.d_model)
        if source.values.shape[-1] != width:
            raise InputError(
                f"{self.label}: its states have {source.values.shape[-1]} dimensions, {describe_name(model)} "
                f"has {width}; a patch needs a model of the same width"
            )
        for layer in self.chosen_layers(model):
            if layer not in source.layers:
                raise InputError(
                    f"{self.label}: its states lack hidden state {layer}; they are {list(source.layers)}"
                )
        if source.info.get("final_norm") and int(model.cfg.n_layers) in self.chosen_layers(model):
            raise InputError(
                f"{self.label}: the last of its states was captured after the final norm; capture it with "
                "final_norm=False"
            )

    def check_texts(
        self,
        model: HookedModel,
        lengths: Sequence[int],
        *,
        indices: Sequence[int] | None = None,
        prepend_bos: bool | None = None,
    ) -> None:
        super().check_texts(model, lengths, indices=indices, prepend_bos=prepend_bos)
        source = self.source
        was = source.info.get("prepend_bos")
        if prepend_bos is not None and was is not None and bool(was) != prepend_bos:
            raise InputError(
                f"{self.label}: its states were captured with prepend_bos={bool(was)}, this run has "
                f"{prepend_bos}; position 0 is not the same token, use the same setting"
            )
        rows = self._rows(len(lengths), indices)
        for row, length in zip(rows, lengths, strict=True):
            for position in range(length) if self.positions is None else self.positions:
                column = source.positions.index(position) if position in source.positions else -1
                if column < 0 or (source.mask is not None and not source.mask[row, column]):
                    raise InputError(
                        f"{self.label}: it has no state at position {position} for a prompt of {length} "
                        "tokens; patch prompts of the same length, or give positions= that both have"
                    )

    def editor(self, layer: int, model: HookedModel) -> Any:
        def patch(state: Tensor, span: Span) -> Tensor:
            n = state.shape[1] - span.before
            wanted = tuple(range(n)) if self.positions is None else self.positions
            rows = torch.tensor(self._rows(len(state), span.indices))
            taken = torch.tensor([self.source.positions.index(position) for position in wanted])
            values = self.source.values[self.source.layers.index(layer)]
            device = values.device
            found = values[rows.to(device)[:, None], taken.to(device)]
            out = state.clone()
            out[:, columns(wanted, span, state)] = found.to(state.device, state.dtype)
            return out

        return patch

    def _rows(self, n: int, indices: Sequence[int] | None) -> list[int]:
        """The row of the states that each prompt gets."""
        held = self.source.values.shape[1]
        return [0] * n if held == 1 else prompt_rows(self.label, "states", held, n, indices)


@checked(layers=None, positions=None)
def patch_residual(states: Any, layers: Wholes, positions: Wholes = None) -> Intervention:
    """Overwrites hidden states with those of another run: of another text, or of a model of the same width.

    Args:
        states: of `capture_residuals`, or a tensor [layer batch pos d_model] whose layers are `layers` and
            whose positions are `positions` (or 0, 1, … where that is None). Those of one prompt go into every
            prompt, others prompt by prompt.
        layers: hidden states 0 … n_layers.
        positions: all of each prompt by default.

    Raises:
        InputError: not such states, or layers that they lack. Where it is used: a model of another width,
            another number of prompts, or positions that the states or a prompt lack.
    """
    chosen = needed_layers("patch_residual", layers)
    where = wholes("positions", positions)
    if hasattr(states, "values") and hasattr(states, "positions") and hasattr(states, "layers"):
        known = _Source(
            states.values, tuple(states.layers), tuple(states.positions), states.mask, dict(states.info)
        )
    else:
        known = _bare(states, chosen, where)
    return _Patch(known, chosen, where)


def _bare(states: object, layers: tuple[int, ...], positions: tuple[int, ...] | None) -> _Source:
    if not isinstance(states, Tensor) or states.ndim != 4 or not states.is_floating_point():
        given = list(states.shape) if isinstance(states, Tensor) else type(states).__name__
        raise InputError(
            f"patch_residual: states are {given}; expected those of capture_residuals, or a tensor "
            "[layer batch pos d_model]"
        )
    if len(states) != len(layers):
        raise InputError(f"patch_residual: states have {len(states)} layers, layers= names {len(layers)}")
    if positions is not None and states.shape[2] != len(positions):
        raise InputError(
            f"patch_residual: states have {states.shape[2]} positions, positions= names {len(positions)}"
        )
    return _Source(states, layers, positions or tuple(range(states.shape[2])), None, {})
