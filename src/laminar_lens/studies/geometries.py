"""How a study's headline changes with the geometry in which angles are measured: all in the study's pass."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from laminar_lens.arguments import texts
from laminar_lens.axes import Progress
from laminar_lens.errors import InputError
from laminar_lens.geometry import GEOMETRIES, Geometry, check_name, fit_geometries
from laminar_lens.meter import AngleMeter
from laminar_lens.models.forward import Visit
from laminar_lens.models.hooked import HookedModel
from laminar_lens.models.passages import check_language, named_texts
from laminar_lens.stats.bootstrap import Interval, simultaneous_band
from laminar_lens.studies.columns import BAND, with_ends
from laminar_lens.studies.options import Options
from laminar_lens.texts.passages import PASSAGES

MOST_TEXTS = 200
"""So many texts are measured in every geometry: the comparison is beside the study, not the study."""


def chosen_geometries(given: object) -> tuple[str, ...]:
    """Names to compare: none for None or False, all for True; "raw" is always the first.

    Raises:
        InputError: an unknown name.
    """
    if given is None:
        return ()
    if isinstance(given, bool | np.bool_):
        return GEOMETRIES if given else ()
    names = texts("geometries", given)
    if not names:
        raise InputError(f"geometries is empty: give True for all, or some of {', '.join(GEOMETRIES)}")
    return tuple(dict.fromkeys(["raw", *(check_name(name) for name in names)]))


def fitted(
    model: HookedModel, chosen: Options, progress: Progress | None, *, prompts: bool
) -> dict[str, Geometry]:
    """The geometries to compare, by name; one pass over texts that are not measured: the passages where the
    study is of `prompts` and its model reads them, which is quick; else what the model writes for them."""
    names = chosen_geometries(chosen.geometries)
    if not names:
        return {}
    how = {name: getattr(chosen, name) for name in ("prepend_bos", "final_norm", "layers", "seed")}
    texts = PASSAGES if prompts and chosen.geometry == "raw" and _reads_passages(model) else None
    return fit_geometries(model, names, **how, texts=texts, progress=progress)


def fitted_on(beside: Mapping[str, Geometry]) -> dict[str, str]:
    """The setting that says which texts geometries were fitted on; none where they need none."""
    on = [str(one.settings["texts"]) for one in beside.values() if "texts" in one.settings]
    return {"geometries_fitted_on": on[0]} if on else {}


def _reads_passages(model: HookedModel) -> bool:
    """Whether the passages are of the model's language, and what it is studied on by default."""
    try:
        return named_texts(model, None) == PASSAGES and bool(check_language(model))
    except InputError:
        return False


def check_apart(source: object, geometry: Geometry) -> None:
    """Refuses to measure the passages in a geometry that was fitted on them.

    Raises:
        InputError: names the geometry.
    """
    if source == PASSAGES and geometry.settings.get("texts") == PASSAGES:
        raise InputError(
            f"geometry {geometry.name!r} was fitted on the passages, which are measured: fit it on other "
            "texts, or on what the model writes (fit_geometry's default)"
        )


class Beside:
    """Angles of the first texts in every geometry beside the study's own, of the states that the study sees.

    Attributes:
        angle: radians, [geometry layer text pair]: of adjacent pairs, or of those that were asked for.
    """

    def __init__(
        self,
        model: HookedModel,
        geometries: Iterable[Geometry],
        rows: Sequence[Sequence[int]],
        layers: Sequence[int],
        *,
        pairs: np.ndarray | None = None,
        width: int,
        backend: str = "auto",
    ) -> None:
        """Of `rows`, token ids without a BOS, at most `MOST_TEXTS` are measured; `width` is the number of
        pairs of a text.

        Raises:
            InputError: a text that a geometry was fitted on.
        """
        self._geometries, n = tuple(geometries), min(len(rows), MOST_TEXTS)
        for geometry in self._geometries:
            geometry.check_others(rows[:n])
        self._model, self._pairs = model, pairs
        self._how: dict[str, Any] = {"layers": tuple(layers), "backend": backend}
        self._how["measures"] = ("sequential",) if pairs is None else ()
        self.angle = np.full((len(self._geometries), len(layers), n, width), np.nan)

    def of(self, indices: Sequence[int]) -> Visit:
        """What sees the states of a batch of these texts."""
        texts = [text for text in indices if text < self.angle.shape[2]]
        rows = [row for row, text in enumerate(indices) if text < self.angle.shape[2]]
        asked = None if self._pairs is None else self._pairs[texts]
        meters = [AngleMeter(self._model, pairs=asked, geometry=one, **self._how) for one in self._geometries]

        def see(layer: int, state: Tensor) -> None:
            if not texts or layer not in self._how["layers"]:
                return
            for meter in meters:
                meter.observe(layer, state[rows])
            if layer == self._how["layers"][-1]:
                for row, meter in enumerate(meters):
                    angle = meter.result()["sequential" if asked is None else "pair"].cpu().numpy()
                    self.angle[row][:, texts, : angle.shape[2]] = angle

        return see


def by_geometry(
    values: Mapping[str, tuple[np.ndarray, str]],
    geometries: Iterable[str],
    groups: np.ndarray | None,
    seed: int,
    *,
    units: str = "rad",
    interval: Callable[..., Interval] = simultaneous_band,
) -> dict[str, xr.Variable]:
    """Means over texts of quantities [geometry layer text], with 95% intervals that hold in all geometries
    and layers at once, as the layer that is shown is chosen by them.

    Args:
        values: by name, the numbers and what they are.
        geometries: names, in the order of the first axis.
        groups: one label a text.
        seed: of the bootstrap.
        units: of the quantities.
        interval: gives a mean [text …] with its interval.
    """
    found: dict[str, xr.Variable] = {}
    axes = ("geometry", "layer")
    for name, (quantity, meaning) in values.items():
        band = interval(np.moveaxis(quantity, 2, 0), groups=groups, seed=seed)
        found |= with_ends(f"geometry_{name}", axes, band, meaning, units, ends=BAND)
    found["geometry"] = xr.Variable(("geometry",), list(geometries))
    return found
