"""From what was measured to what is said: the shortest way, for a study of one's own."""

import xarray as xr

from laminar_lens.arguments import checked, wholes
from laminar_lens.axes import Wholes
from laminar_lens.errors import InputError, a_kind
from laminar_lens.stats.bootstrap import simultaneous_band
from laminar_lens.studies.layers import named_layers


@checked()
def band(values: object, *, seed: int = 0) -> xr.Dataset:
    """Means over texts with a band that covers all entries at once.

    Args:
        values: by text, such as [text layer]; a text with NaN is left out of that entry. Texts of one `group`
            (a coordinate along `text`) are one observation.
        seed: of the resampling.

    Returns:
        Variables `<name>`, `<name>_low` and `<name>_high` without `text`, in the unit of `values`, as the
        page of a study draws them. Below 40 texts the ends are NaN, and the attribute `withheld` says why.

    Raises:
        InputError: no axis `text`, no name, or fewer than 2 texts with a value.

    Source: see `laminar_lens.stats.bootstrap.simultaneous_band`.
    """
    if not isinstance(values, xr.DataArray) or "text" not in values.dims or values.name is None:
        raise InputError(f"values is {a_kind(values)}; expected a named DataArray with an axis text")
    one, name = values.transpose("text", ...), str(values.name)
    groups = one["group"].values if "group" in one.coords else None
    found = simultaneous_band(one.values, groups=groups, seed=seed)
    about = f"{one.attrs.get('long_name') or name}, mean over texts"
    ends = {
        name: (found.estimate, about, ""),
        f"{name}_low": (found.low, "lower end of its simultaneous 95% band", found.withheld),
        f"{name}_high": (found.high, "upper end of its simultaneous 95% band", found.withheld),
    }
    units = str(one.attrs.get("units", "1"))
    variables = {
        key: (
            one.dims[1:],
            x,
            {"units": units, "long_name": said} | ({"withheld": withheld} if withheld else {}),
        )
        for key, (x, said, withheld) in ends.items()
    }
    coords = {key: x for key, x in one.coords.items() if "text" not in x.dims}
    return xr.Dataset(variables, coords)


@checked(layers=None)
def named(layers: Wholes) -> str:
    """Layers as they are said.

    Args:
        layers: their numbers, or true and false by `layer`.

    >>> named([2, 3, 4, 7])
    'layers 2–4 and 7'
    """
    if isinstance(layers, xr.DataArray):
        if layers.dims != ("layer",) or layers.dtype != bool:
            raise InputError(f"layers is {layers.dtype} over {layers.dims}; expected true and false by layer")
        return named_layers(layers["layer"].values, layers.values)
    none = isinstance(layers, list | tuple) and not layers
    return named_layers(() if none else wholes("layers", layers))
