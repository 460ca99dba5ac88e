"""In which geometry vectors are compared: as they are, or corrected, each way by name.

| name | what is compared | needs other texts |
|---|---|---|
| `raw` | the residual vectors as they are | no |
| `centred` | minus the mean vector of the body of other texts | yes |
| `mean_over_d_model` | minus each vector's own mean over its coordinates: what centring weights does | no |
| `standardised` | centred, then each coordinate divided by its standard deviation | yes |
| `without_dimensions` | without those given, or those that make other texts' cosines | unless given |
| `layernormed` | what the next block reads | no |

Centring on the measured vectors themselves would put a bias there: N vectors minus their own mean have a mean
inner product of −1/(N − 1) times their mean squared norm, whatever they are (equal norms: a mean cosine of
−1/(N − 1)). So the mean comes from other texts, and a study refuses a text that a geometry was fitted on, or
one that begins like it for most of its body.

`layernormed` applies the next block's first norm with its scale and shift, RMSNorm as it is, and folded norms
as they are left; after the last block, the final norm. In parallel blocks (NeoX) that is what attention
reads; the MLP reads its own norm of the same vector. A block that norms its output instead of its input
(OLMo 2) reads the vector as it is. `describe()["reads"]` says which was found in a run.
"""

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminar_lens.arguments import checked, shown
from laminar_lens.axes import Progress
from laminar_lens.errors import InputError
from laminar_lens.models.calibration import Calibration, calibrate, reads_of
from laminar_lens.models.forward import check_model
from laminar_lens.models.padding import PADDING, without_pads
from laminar_lens.models.selection import dimension_indices, layer_indices

GEOMETRIES = (
    "raw",
    "centred",
    "mean_over_d_model",
    "standardised",
    "without_dimensions",
    "layernormed",
)
FITTED = ("centred", "standardised")
DROPPED = 3
"""So many dimensions a layer are left out where none are named."""

Affine = tuple[Tensor, Tensor | None]
"""What is subtracted, and what each coordinate is multiplied by."""


@dataclasses.dataclass(frozen=True, eq=False)
class Geometry:
    """A map of residual vectors before they are compared, the same for every text; made by `fit_geometry`.

    Attributes:
        name: one of `GEOMETRIES`.
        layers: hidden states that it covers.
        settings: how it was made, JSON-safe.
    """

    name: str
    layers: tuple[int, ...]
    settings: Mapping[str, Any]
    _affine: Mapping[int, Affine] = dataclasses.field(default_factory=dict, repr=False)
    _norms: Mapping[int, Callable[[Tensor], Tensor]] = dataclasses.field(default_factory=dict, repr=False)
    _fitted_on: tuple[tuple[int, ...], ...] = dataclasses.field(default=(), repr=False)

    def describe(self) -> dict[str, Any]:
        """Name and settings, JSON-safe: number and SHA-256 of the calibration texts, positions left out,
        dimensions, what the next block reads."""
        return {"name": self.name} | (dict(self.settings) if self.name != "raw" else {})

    def apply(self, layer: int, state: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The vectors of hidden state `layer` in this geometry; half precision becomes float32.

        Raises:
            InputError: a layer that the geometry was not made for, or vectors of another width.
        """
        if self.name == "raw":
            return state
        if layer not in self.layers:
            raise InputError(
                f"geometry {self.name!r} was made for hidden states {list(self.layers)}, not {layer}: "
                "make it with those layers"
            )
        width = int(self.settings["d_model"])
        if state.shape[-1] != width:
            raise InputError(
                f"geometry {self.name!r} was made for vectors of {width}, these have {state.shape[-1]}: make "
                "it with this model"
            )
        if self._norms:  # its weights want no gradient of their own
            with torch.set_grad_enabled(state.requires_grad and torch.is_grad_enabled()):
                state = self._norms[layer](state)
        state = state.float() if state.element_size() < 4 else state
        if self.name == "mean_over_d_model":
            return state - state.mean(-1, keepdim=True)
        if layer not in self._affine:
            return state
        shift, factor = self._affine[layer]
        state = state - shift.to(state)
        return state if factor is None else state * factor.to(state)

    def check_others(self, rows: Sequence[Sequence[int]]) -> None:
        """Refuses to measure texts that the geometry was fitted on: those that begin like one of its texts
        for most of the body of the shorter of the two, so that most of the vectors are the same.

        Raises:
            InputError: names the text.
        """
        if not self._fitted_on:
            return
        body = max(0, int(self.settings["skip"]) - int(bool(self.settings.get("prepend_bos", False))))
        fitted_on = padded(self._fitted_on)
        lengths = torch.tensor([len(row) for row in self._fitted_on])
        for index, row in enumerate(rows):
            width = min(len(row), fitted_on.shape[1])
            same = fitted_on[:, :width] == torch.tensor(row[:width], dtype=fitted_on.dtype)
            shared = same.cumprod(dim=1).sum(dim=1) - body
            if bool(((shared > 0) & (2 * shared > lengths.clamp(max=len(row)) - body)).any()):
                raise InputError(
                    f"text {index} is one of the texts that geometry {self.name!r} was fitted on, or begins "
                    "like one: vectors centred on themselves have a negative mean cosine by construction; "
                    "fit it on other texts"
                )

    def for_model(self, model: Any) -> "Geometry":
        """The same geometry of another model, such as the random twin: fitted on the same texts.

        Raises:
            InputError: the texts or dimensions do not fit that model.
        """
        if self.name == "raw":
            return self
        options: dict[str, Any] = {
            key: self.settings[key] for key in ("skip", "prepend_bos") if key in self.settings
        }
        if self._fitted_on:
            options["texts"] = padded(self._fitted_on)
        elif "dimensions" in self.settings:
            options["dimensions"] = self.settings["dimensions"]
        final_norm = bool(self.settings.get("final_norm", False))
        how: dict[str, Any] = {"final_norm": final_norm, "layers": self.layers}
        return fit_geometries(model, [self.name], **options, **how)[self.name]


RAW = Geometry("raw", (), {})


def padded(rows: Sequence[Sequence[int]]) -> Int[Tensor, "text pos"]:
    """Token ids in one tensor, −1 after a text's end."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[PADDING] * (width - len(row))] for row in rows])


@checked()
def fit_geometry(
    model: Any,
    name: str,
    *,
    texts: Any = None,
    n_texts: int = 64,
    length: int = 64,
    skip: int | None = None,
    dimensions: Any = None,
    seed: int = 0,
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Any = None,
    progress: Progress | None = None,
) -> Geometry:
    """A geometry by name, fitted on texts that are not measured where it needs any.

    Args:
        model: any TransformerLens model.
        name: one of `GEOMETRIES`.
        texts: to fit it on: texts or token ids [text pos], padded as in `capture_residuals`; None lets the
            model write them, with a seed that no study uses.
        n_texts, length: of those that the model writes; fewer tokens where its context is shorter.
        skip: first positions of each text that are no body; 16, or half of the longest text if that is less.
        dimensions: for "without_dimensions"; by default the three a layer with the largest mean contribution
            to the cosines of neighbours in those texts.
        seed: of the texts that the model writes.
        prepend_bos, final_norm, layers: as in `capture_residuals`; the same as in the measurement.
        progress: called as (label, done, total).

    Raises:
        InputError: an unknown name, no text with a body, dimensions that the model does not have, or all of
            them.

    Source: definition of the experiment; arXiv 2109.04404 for standardising and for rogue dimensions.
    """
    check_model(model)
    texts, padding = without_pads(model, texts)
    if padding:
        warnings.warn(padding, UserWarning, stacklevel=2)
    options = {"texts": texts, "n_texts": n_texts, "length": length, "skip": skip, "dimensions": dimensions}
    how = {"prepend_bos": prepend_bos, "final_norm": final_norm, "layers": layers}
    return fit_geometries(model, [name], **options, seed=seed, **how, progress=progress)[name]


def fit_geometries(
    model: Any,
    names: Sequence[str],
    *,
    dimensions: Any = None,
    final_norm: bool = False,
    layers: Any = None,
    progress: Progress | None = None,
    **options: Any,
) -> dict[str, Geometry]:
    """Several geometries at the cost of one; arguments and errors as in `fit_geometry`."""
    check_model(model)
    for name in names:
        check_name(name)
    covered = tuple(sorted(set(layer_indices(layers, int(model.cfg.n_layers)))))
    width = int(model.cfg.d_model)
    chosen = None if dimensions is None else dimension_indices(dimensions, width)
    calibration = None
    if any(name in FITTED or (name == "without_dimensions" and chosen is None) for name in names):
        calibration = calibrate(model, layers=covered, final_norm=final_norm, progress=progress, **options)
    made = {}
    for name in names:
        if name == "raw":
            made[name] = RAW
            continue
        base = Geometry(name, covered, {"d_model": width, "final_norm": bool(final_norm)})
        if name == "layernormed":
            norms, reads = reads_of(model, covered, final_norm)
            base = dataclasses.replace(base, settings={**base.settings, "reads": reads}, _norms=norms)
        elif name == "without_dimensions":
            base = _without(base, chosen, calibration)
        elif name in FITTED:
            assert calibration is not None
            base = _fitted(base, calibration)
        made[name] = base
    return made


def named_geometry(
    model: Any,
    geometry: Any,
    *,
    prepend_bos: bool | None = False,
    final_norm: bool = False,
    layers: Any = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Geometry:
    """The geometry that a study was given: a name, fitted here on texts of the model's own, or one as it is.

    `prepend_bos=None` leaves the BOS unchecked: a meter does not know whether there is one.

    Raises:
        InputError: an unknown name, or a geometry that was fitted with another BOS or final norm.
    """
    how: dict[str, Any] = {"prepend_bos": prepend_bos, "final_norm": final_norm}
    if isinstance(geometry, str):
        check_name(geometry)
        how["prepend_bos"] = bool(prepend_bos)
        return fit_geometry(model, geometry, **how, layers=layers, seed=seed, progress=progress)
    if not isinstance(geometry, Geometry):
        raise InputError(
            f"geometry is a {type(geometry).__name__}; give one of {', '.join(GEOMETRIES)}, or what "
            "fit_geometry returned"
        )
    for key, value in how.items():
        if value is not None and bool(geometry.settings.get(key, value)) != bool(value):
            raise InputError(
                f"geometry {geometry.name!r} was fitted with {key}={geometry.settings[key]}, but "
                f"{key}={value} is measured: use the same"
            )
    return geometry


def geometry_note(geometry: Any) -> str:
    """What a reader must know of angles that are not those of the residual stream itself; empty for raw."""
    name = geometry if isinstance(geometry, str) else getattr(geometry, "name", "raw")
    if name == "raw":
        return ""
    return (
        f"Angles are measured in the geometry {name!r}, not between residual vectors as they are; published "
        "thresholds were set for those"
    )


def check_name(name: Any) -> str:
    """The name of a geometry; InputError for another."""
    if not isinstance(name, str) or name not in GEOMETRIES:
        raise InputError(f"geometry {shown(name)} is unknown: use one of {', '.join(GEOMETRIES)}")
    return str(name)


def _without(base: Geometry, chosen: tuple[int, ...] | None, calibration: Calibration | None) -> Geometry:
    width = int(base.settings["d_model"])
    dropped: dict[int, list[int]] = {}
    for row, layer in enumerate(base.layers):
        if chosen is None:
            assert calibration is not None
            order = calibration.contribution[row].abs().argsort(descending=True)
            dropped[layer] = sorted(order[: min(DROPPED, width - 1)].tolist())
        else:
            dropped[layer] = list(chosen)
    affine = {}
    for layer, gone in dropped.items():
        keep = torch.ones(width, dtype=torch.float64)
        keep[gone] = 0.0
        affine[layer] = (torch.zeros(width, dtype=torch.float64), keep)
    if calibration is None:
        return dataclasses.replace(
            base, settings={**base.settings, "dimensions": list(chosen or ())}, _affine=affine
        )
    by_layer = {str(layer): gone for layer, gone in dropped.items()}
    settings = {**base.settings, **calibration.settings, "dimensions": by_layer}
    return dataclasses.replace(base, settings=settings, _affine=affine, _fitted_on=calibration.rows)


def _fitted(base: Geometry, calibration: Calibration) -> Geometry:
    affine: dict[int, Affine] = {}
    for row, layer in enumerate(base.layers):
        sd = calibration.sd[row]
        # a coordinate that does not vary says nothing about a difference, and has no unit to measure one in
        factor = torch.where(sd > 0, 1 / sd.clamp(min=torch.finfo(sd.dtype).tiny), torch.zeros_like(sd))
        affine[layer] = (calibration.mean[row], factor if base.name == "standardised" else None)
    settings = {**base.settings, **calibration.settings}
    return dataclasses.replace(base, settings=settings, _affine=affine, _fitted_on=calibration.rows)
