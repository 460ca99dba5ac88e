"""One run of a study: the model, the texts and the choices, and every way to measure with them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from torch import Tensor

from laminar_lens.axes import PLAIN, Progress, Prompts
from laminar_lens.errors import InputError, ModelError
from laminar_lens.geometry import RAW, Geometry
from laminar_lens.interventions import Intervention
from laminar_lens.measures import MEASURES
from laminar_lens.models import random_twin
from laminar_lens.models.batches import PromptBatches, prompt_batches
from laminar_lens.models.forward import Visit
from laminar_lens.models.selection import increasing_layers, with_previous
from laminar_lens.studies.geometries import Beside
from laminar_lens.studies.options import Options
from laminar_lens.studies.stream import AngleBatch, iter_angles
from laminar_lens.studies.texts import Chosen, Texts

T = TypeVar("T")
Kept = dict[str, tuple[Any, list[str]]]
"""By name, what was made once, and the notes on it."""


@dataclass(frozen=True)
class Run:
    """What is the same for every study under one condition.

    Attributes:
        model: any causal TransformerLens model.
        options: the choices that studies share.
        texts: what is measured; None until they are chosen.
        geometry: in which angles are measured.
        beside: geometries in which the headline is measured, too.
        condition, changes: name of the condition, and its interventions.
        notes: what a reader must know; studies append to it.
        parts: trees of other studies' plain runs that this one's answer rests on, by their kinds; studies add
            to it.
        about: the model's description, made before it runs; None: not yet.
        kept: what `once` has made, and the notes on it.
        progress: called as `progress(label, done, total)`.
    """

    model: Any
    options: Options
    texts: Chosen | None = None
    geometry: Geometry = RAW
    beside: dict[str, Geometry] = field(default_factory=dict)
    condition: str = PLAIN
    changes: tuple[Intervention, ...] = ()
    notes: list[str] = field(default_factory=list)
    parts: dict[str, xr.DataTree] = field(default_factory=dict)
    about: Mapping[str, object] | None = None
    progress: Progress | None = None
    kept: Kept = field(default_factory=dict)

    @property
    def rows(self) -> list[list[int]]:
        """Token ids of each text, without a BOS."""
        return [] if self.texts is None else self.texts.rows

    @property
    def tokens(self) -> Tensor:
        """Ids [text pos] of the texts, without a BOS."""
        assert isinstance(self.texts, Texts)
        return self.texts.tokens

    @property
    def groups(self) -> np.ndarray | None:
        """Group of each text, as whole numbers; None where each is one by itself."""
        if self.texts is None or self.texts.groups is None:
            return None
        return np.asarray(np.unique(self.texts.groups, return_inverse=True)[1])

    @property
    def layers(self) -> tuple[int, ...]:
        """Hidden states, in increasing order."""
        return increasing_layers(self.options.layers, int(self.model.cfg.n_layers))

    @property
    def captured(self) -> dict[str, Any]:
        """How the residual stream is captured, as arguments of `prompt_batches`."""
        chosen = self.options
        how = {"prepend_bos": chosen.prepend_bos, "final_norm": chosen.final_norm, "layers": self.layers}
        return {**how, "interventions": self.changes, "about": self.about}

    def angles(self, measure: str = "sequential") -> xr.Dataset:
        """One measure of every text: a variable [text layer …] of that name, with unit and axes.

        Layers are hidden states; what compares two of them has none for layer 0. Where texts of one group
        count as one observation, the coordinate `group` along `text` says which.

        Args:
            measure: "sequential" (radians, by default), "rotation", "norm", "step", "turning", "pairwise", or
                one of `register_measure`.
        """
        how, shown = MEASURES.get(measure), self.layers
        shown = tuple(layer for layer in shown if layer > 0) if how.between_layers else shown
        if not shown:
            raise InputError(f"{measure} compares layers: layer 0 has none before it; choose others")
        read = with_previous(shown) if how.between_layers else shown
        batches = list(self.angle_batches(measures=(measure,), layers=read, label=how.long_name))
        rows = [read.index(layer) - how.between_layers for layer in shown]
        order = np.argsort([index for one in batches for index in one.indices], kind="stable")
        found = np.concatenate([one.angles[measure][rows] for one in batches], axis=1)[:, order]
        axes = how.dims_of([found.shape[2:]], [batches[0].tokens.shape[1]])
        about = {"units": how.unit, "long_name": how.long_name}
        variable = xr.Variable(("text", "layer", *axes), found.swapaxes(0, 1), about)
        groups = {} if self.groups is None else {"group": ("text", self.groups)}
        return xr.Dataset({measure: variable}, {"layer": list(shown), **groups}, {"info": batches[-1].info})

    def angle_batches(
        self,
        tokens: Prompts = None,
        measures: Iterable[str] = ("sequential",),
        *,
        label: str = "angles",
        pairs: np.ndarray | None = None,
        layers: tuple[int, ...] | None = None,
        visit: Callable[[Sequence[int]], Visit] | None = None,
    ) -> Iterator[AngleBatch]:
        """Angles of the texts, or of other `tokens` [text pos], batch by batch; see `iter_angles`."""
        how = {**self.captured, "backend": self.options.backend, "geometry": self.geometry}
        how |= {} if layers is None else {"layers": layers}
        return iter_angles(
            self.model,
            self.tokens if tokens is None else tokens,
            measures,
            pairs=pairs,
            visit=visit,
            label=label,
            progress=self.progress,
            **how,
        )

    def measured_beside(self, width: int, *, pairs: np.ndarray | None = None) -> Beside:
        """What measures the first texts in every geometry beside the study's own too: its `of` goes as
        `visit` with `angle_batches`. `width` is the number of pairs of a text."""
        how: dict[str, Any] = {"pairs": pairs, "width": width, "backend": self.options.backend}
        return Beside(self.model, self.beside.values(), self.rows, self.layers, **how)

    def batches(self, tokens: Prompts = None) -> PromptBatches:
        """The texts in batches of equal length, for what no other method measures."""
        return prompt_batches(self.model, self.tokens if tokens is None else tokens, **self.captured)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What `make` gives, made once for all conditions; each of them notes what was noted meanwhile."""
        if name in self.kept:
            self.notes.extend(self.kept[name][1])
        else:
            before = len(self.notes)
            made = make()
            self.kept[name] = made, self.notes[before:]
        found: T = self.kept[name][0]
        return found

    def twin(self, missing: str) -> "Run | None":
        """The same run of the same architecture with random weights; None, noted as `missing`, where it
        cannot be made."""
        made = self.once("random weights of a model", lambda: self._random(missing))
        return None if made is None else replace(self, model=made[0], geometry=made[1], about={})

    def _random(self, missing: str) -> tuple[Any, Geometry] | None:
        try:
            model = random_twin(self.model, seed=self.options.seed)
        except ModelError as error:
            self.notes.append(f"{missing}: {error}.")
            return None
        return model, self.geometry.for_model(model)
