"""What was measured as a dataset and back: a frozen dataclass whose fields name their axes.

A field annotated with `Axes` is a variable over them; every other field is an attribute, and None is nothing.
Both ways are exact, so that an answer from a file is the answer from memory.
"""

from dataclasses import MISSING, dataclass, fields
from typing import Any, TypeVar, get_args, get_type_hints

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from laminar_lens.results.complete import lacking

M = TypeVar("M")


@dataclass(frozen=True)
class Axes:
    """The axes of an array, its unit and what it is: `Annotated[np.ndarray, Axes("text layer", "rad")]`."""

    names: str
    unit: str = ""
    about: str = ""

    def variable(self, values: ArrayLike) -> xr.Variable:
        """The array with its axes, laid out as in a file: sums in another order may differ."""
        known = {"units": self.unit, "long_name": self.about}
        return xr.Variable(
            self.names.split(), np.asarray(values, order="C"), {k: v for k, v in known.items() if v}
        )


def to_dataset(found: Any, **attrs: Any) -> xr.Dataset:
    """The variables and attributes of a measurement, and more attributes."""
    variables, arrays = {}, _arrays(type(found))
    for one in fields(found):
        value = getattr(found, one.name)
        if value is not None and one.name in arrays:
            variables[one.name] = arrays[one.name].variable(value)
        elif value is not None:
            attrs[one.name] = value
    return xr.Dataset(variables, attrs=attrs)


def of_dataset(kind: type[M], dataset: xr.Dataset) -> M:
    """The measurement that `to_dataset` took apart.

    Raises:
        ResultError: the dataset lacks a part of it.
    """
    values, arrays = {}, _arrays(kind)
    for one in fields(kind):  # type: ignore[arg-type]
        known = dataset.variables if one.name in arrays else dataset.attrs
        if one.name not in known and one.default is MISSING:
            raise lacking("what this result measured", one.name)
        if one.name in known:
            values[one.name] = dataset[one.name].values if one.name in arrays else dataset.attrs[one.name]
    return kind(**values)


def _arrays(kind: object) -> dict[str, Axes]:
    """The axes of the fields that have some, also of those that may be None."""
    hints = get_type_hints(kind, include_extras=True).items()
    marked = (
        (name, mark) for name, hint in hints for part in (hint, *get_args(hint)) for mark in _marks(part)
    )
    return dict(marked)


def _marks(hint: object) -> list[Axes]:
    return [one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Axes)]
