"""What every geometry is: a map of residual vectors, how it is made for a model, and what it may measure."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from laminar_lens.arguments import whole
from laminar_lens.axes import Progress, Wholes
from laminar_lens.errors import InputError
from laminar_lens.kernels._checks import check_vectors
from laminar_lens.models.calibration import Calibration, calibrate
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.padding import PADDING
from laminar_lens.models.selection import dimension_indices, increasing_layers
from laminar_lens.models.steps import widened
from laminar_lens.registered import qualified_name


@dataclasses.dataclass
class Fitting:
    """What a geometry is made for, and what it may take from it.

    Attributes:
        model: is measured.
        layers: hidden states to cover.
        final_norm: whether the last one is taken after the final norm.
        dimensions: those that were named; None where none were.
        calibrated: gives the moments of other texts; see `calibration`.
        settings: JSON-safe; what a geometry adds is recorded.
        rows: the other texts' tokens, once `calibration` was asked for.
    """

    model: HookedModel
    layers: tuple[int, ...]
    final_norm: bool
    dimensions: tuple[int, ...] | None
    calibrated: Callable[[], Calibration]
    settings: dict[str, Any]
    rows: tuple[tuple[int, ...], ...] = ()

    @property
    def calibration(self) -> Calibration:
        """Moments of other texts' residual vectors, rows as `layers`; asking for them runs the texts."""
        found = self.calibrated()
        self.settings |= found.settings
        self.rows = found.rows
        return found


@dataclasses.dataclass(frozen=True, eq=False)
class Geometry:
    """A map of residual vectors before they are compared, the same for every text.

    A geometry is a class: `name`, `map` and, if it takes something from a model or from other texts, `fit`.

    Attributes:
        name: by which it is asked for, once its class is registered.
        needs_texts: whether `fit` takes moments of other texts, unless dimensions are given.
        centred: whether the mean of other texts is taken away.
        widens: whether `map` wants half precision as float32.
        layers: hidden states that it covers; all of them where none is named.
        settings: how it was made, JSON-safe.
        values: what `fit` found for each hidden state.
    """

    name: ClassVar[str] = ""
    needs_texts: ClassVar[bool] = False
    centred: ClassVar[bool] = False
    widens: ClassVar[bool] = True
    layers: tuple[int, ...] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    values: Mapping[int, Any] = dataclasses.field(default_factory=dict, repr=False)
    _fitted_on: tuple[tuple[int, ...], ...] = dataclasses.field(default=(), repr=False)

    @classmethod
    def fit(cls, on: Fitting) -> Mapping[int, Any]:
        """What `map` needs of each hidden state; nothing by default."""
        return {}

    def map(self, layer: int, state: Tensor) -> Tensor:
        """Vectors [… d_model] of hidden state `layer`, as they are compared; it does not write into them."""
        raise NotImplementedError

    @classmethod
    def made(cls, on: Fitting) -> "Geometry":
        """The geometry of a model."""
        values = cls.fit(on)
        return cls(on.layers, on.settings, values, on.rows)

    def describe(self) -> dict[str, Any]:
        """Name and settings, JSON-safe: number and SHA-256 of the calibration texts, positions left out,
        dimensions, what the next block reads; of a user's own, its class, which itself is not recorded."""
        own = (
            {} if type(self).__module__.startswith("laminar_lens.") else {"class": qualified_name(type(self))}
        )
        return {"name": self.name, **self.settings, **own}

    def apply(self, layer: int, state: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The vectors of hidden state `layer` in this geometry; half precision becomes float32.

        Raises:
            InputError, ShapeError: a layer that the geometry was not made for, or what are no vectors of its
                width.
        """
        layer = whole("layer", layer)
        check_vectors("state", state, "... d_model")
        if self.layers and layer not in self.layers:
            raise InputError(
                f"geometry {self.name!r} was made for hidden states {list(self.layers)}, not {layer}: "
                "make it with those layers"
            )
        width = int(self.settings.get("d_model", state.shape[-1]))
        if state.shape[-1] != width:
            raise InputError(
                f"geometry {self.name!r} was made for vectors of {width}, these have {state.shape[-1]}: make "
                "it with this model"
            )
        found = widened(self.map(layer, widened(state) if self.widens else state))
        if found.shape != state.shape:
            raise InputError(
                f"geometry {self.name!r} made {list(found.shape)} of vectors {list(state.shape)}; expected "
                "the same shape"
            )
        return found

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

    def for_model(self, model: HookedModel) -> "Geometry":
        """The same geometry of another model, such as the random twin: fitted on the same texts.

        Raises:
            InputError: the texts or dimensions do not fit that model.
        """
        if not self.settings:
            return self
        options: dict[str, Any] = {
            key: self.settings[key] for key in ("skip", "prepend_bos") if key in self.settings
        }
        if self._fitted_on:
            options |= {"texts": padded(self._fitted_on), "source": self.settings["texts"]}
        elif "dimensions" in self.settings:
            options["dimensions"] = self.settings["dimensions"]
        final_norm = bool(self.settings.get("final_norm", False))
        return fit_classes(model, [type(self)], **options, final_norm=final_norm, layers=self.layers)[0]


def fit_classes(
    model: HookedModel,
    classes: Sequence[type[Geometry]],
    *,
    dimensions: Wholes = None,
    final_norm: bool = False,
    layers: Wholes = None,
    progress: Progress | None = None,
    **options: Any,
) -> list[Geometry]:
    """Geometries of one model; those that need other texts share one pass over them."""
    covered = increasing_layers(layers, int(model.cfg.n_layers))
    width = int(model.cfg.d_model)
    chosen = None if dimensions is None else dimension_indices(dimensions, width)

    @cache
    def calibrated() -> Calibration:
        return calibrate(model, layers=covered, final_norm=final_norm, progress=progress, **options)

    settings = {"d_model": width, "final_norm": bool(final_norm)}
    return [
        one.made(Fitting(model, covered, bool(final_norm), chosen, calibrated, dict(settings)))
        for one in classes
    ]


def padded(rows: Sequence[Sequence[int]]) -> Int[Tensor, "text pos"]:
    """Token ids in one tensor, −1 after a text's end."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[PADDING] * (width - len(row))] for row in rows])
