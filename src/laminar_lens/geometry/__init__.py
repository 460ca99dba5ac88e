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

A geometry is a class, `Geometry`, in `base.py`; these are in `shipped.py`, and your own is
`register_geometry(Mine)` or an entry point of the group `laminar_lens.geometries`.

`layernormed` applies the next block's first norm with its scale and shift, RMSNorm as it is, and folded norms
as they are left; after the last block, the final norm. In parallel blocks (NeoX) that is what attention
reads; the MLP reads its own norm of the same vector. A block that norms its output instead of its input
(OLMo 2) reads the vector as it is. `describe()["reads"]` says which was found in a run.
"""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch  # noqa: F401  (for the example below)

from laminar_lens.arguments import checked
from laminar_lens.axes import Progress, Prompts, Wholes
from laminar_lens.errors import InputError, a_kind
from laminar_lens.geometry.base import Fitting as Fitting
from laminar_lens.geometry.base import Geometry as Geometry
from laminar_lens.geometry.base import fit_classes
from laminar_lens.geometry.base import padded as padded
from laminar_lens.geometry.shipped import Raw
from laminar_lens.models.forward import check_model
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.padding import without_pads
from laminar_lens.registered import GEOMETRIES as REGISTRY

GEOMETRIES = REGISTRY.shipped
RAW: Geometry = Raw()

if TYPE_CHECKING:
    GeometryLike = str | Geometry
    """A name of `GEOMETRIES`, or what `fit_geometry` returned."""
else:  # refused in words of ours
    GeometryLike = Any


def register_geometry(geometry: object) -> Any:
    """A geometry of your own, by the `name` of its class: for the meter, the studies, and the provenance.

    >>> @register_geometry
    ... class Unit(Geometry):
    ...     name = "unit"
    ...     def map(self, layer, state):
    ...         return state / state.norm(dim=-1, keepdim=True)
    >>> Unit().apply(0, torch.tensor([[3.0, 4.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929]]

    `Unit()` itself, or the name, is then given as `geometry=`. A class that takes something from the model or
    from other texts has `fit` besides, and is made by `fit_geometry` or by its name.

    Raises:
        InputError: no subclass of `Geometry` with a `map`, or a name that is shipped or no name.
    """
    REGISTRY.add(getattr(geometry, "name", None), geometry)
    return geometry


@checked()
def fit_geometry(
    model: HookedModel,
    name: str,
    *,
    texts: Prompts = None,
    n_texts: int = 64,
    length: int = 64,
    skip: int | None = None,
    dimensions: Wholes = None,
    seed: int = 0,
    prepend_bos: bool = False,
    final_norm: bool = False,
    layers: Wholes = None,
    progress: Progress | None = None,
) -> Geometry:
    """A geometry by name, fitted on texts that are not measured where it needs any.

    Args:
        model: any TransformerLens model.
        name: one of `GEOMETRIES`, or of `register_geometry`.
        texts: to fit it on: "sampled" (the default: the model writes them, with a seed that no study uses),
            "passages" (for a study that measures others), or texts, a file of texts as in `warmup_study`, or
            token ids [text pos], padded as in `capture_residuals`.
        n_texts, length: of those that are not given; fewer tokens where the model's context is shorter.
        skip: first positions of each text that are no body; 16, or half of the longest text if that is less.
        dimensions: for "without_dimensions"; by default the three a layer with the largest mean contribution
            to the cosines of neighbours in those texts.
        seed: of the texts that are not given.
        prepend_bos, final_norm, layers: as in `capture_residuals`; the same as in the measurement.
        progress: called as (label, done, total).

    Raises:
        InputError: an unknown name, no text with a body, dimensions that the model does not have, or all of
            them.

    Source: docs/definition.md, §1; arXiv 2109.04404 for standardising and for rogue dimensions.
    """
    check_model(model)
    texts, padding = without_pads(model, texts)
    if padding:
        warnings.warn(padding, UserWarning, stacklevel=2)
    options = {"texts": texts, "n_texts": n_texts, "length": length, "skip": skip, "dimensions": dimensions}
    how = {"prepend_bos": prepend_bos, "final_norm": final_norm, "layers": layers}
    return fit_geometries(model, [name], **options, seed=seed, **how, progress=progress)[name]


def fit_geometries(model: HookedModel, names: Sequence[str], **options: Any) -> dict[str, Geometry]:
    """Several geometries at the cost of one; arguments and errors as in `fit_geometry`."""
    check_model(model)
    classes = [REGISTRY.get(name) for name in names]
    return dict(zip(names, fit_classes(model, classes, **options), strict=True))


def named_geometry(
    model: HookedModel,
    geometry: GeometryLike,
    *,
    prepend_bos: bool | None = False,
    final_norm: bool = False,
    layers: Wholes = None,
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
            f"geometry is {a_kind(geometry)}; give one of {', '.join(REGISTRY.names())}, or what "
            "fit_geometry returned"
        )
    for key, value in how.items():
        if value is not None and bool(geometry.settings.get(key, value)) != bool(value):
            raise InputError(
                f"geometry {geometry.name!r} was fitted with {key}={geometry.settings[key]}, but "
                f"{key}={value} is measured: use the same"
            )
    return geometry


def geometry_note(geometry: GeometryLike) -> str:
    """What a reader must know of angles that are not those of the residual stream itself; empty for raw."""
    name = geometry if isinstance(geometry, str) else getattr(geometry, "name", "raw")
    if name == "raw":
        return ""
    return (
        f"Angles are measured in the geometry {name!r}, not between residual vectors as they are; published "
        "thresholds were set for those"
    )


def check_name(name: object) -> str:
    """The name of a geometry; InputError for another."""
    REGISTRY.get(name)
    return str(name)
