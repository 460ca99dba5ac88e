"""What a speech study's claims and sentence rest on."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from laminar_lens.stats.bootstrap import MIN_TEXTS, Interval, band_or_nothing
from laminar_lens.stats.means import mean
from laminar_lens.stats.permutation import SignFlip, flips_or_nothing
from laminar_lens.studies.lengths import logarithm, over, tortuosity
from laminar_lens.studies.speech.classes import CLASSES, check_classes
from laminar_lens.studies.speech.effects import by_text, pairs
from laminar_lens.studies.speech.measure import Measurement
from laminar_lens.studies.speech.plane import in_plane, length

MEASURES = ("path", "tortuosity", "rotation")
HELD = ("as they are", "matched")
MATCHED_ON = ("count", "n_tokens", "position", "n_characters")


@dataclass(frozen=True)
class Facts:
    """A measurement with its intervals.

    Attributes:
        measured: by window of text.
        classes: that are compared.
        n_perm: sign flips.
        seed: of resampling and flips.
    """

    measured: Measurement
    classes: tuple[str, ...]
    n_perm: int
    seed: int

    def __post_init__(self) -> None:
        one = self.measured
        check_classes(self.classes, self.n_texts, one.tagger, one.tags.tolist())

    @property
    def chosen(self) -> list[int]:
        """Places of the classes in `CLASSES`."""
        return [list(CLASSES).index(name) for name in self.classes]

    @cached_property
    def n(self) -> int:
        """Observations: texts, or groups of them."""
        return len(np.unique(self._groups))

    @cached_property
    def n_texts(self) -> dict[str, int]:
        """By class, how many of them have a word of it."""
        has = [(self.measured.kind == at).any(axis=1) for at in range(len(CLASSES))]
        return {name: len(np.unique(self._groups[there])) for name, there in zip(CLASSES, has, strict=True)}

    @cached_property
    def n_words(self) -> list[int]:
        """Of each class that is compared."""
        return [int((self.measured.kind == at).sum()) for at in self.chosen]

    @cached_property
    def lengths(self) -> dict[str, np.ndarray]:
        """By text, layer and word, from the embedding on: path, tortuosity, and mean rotation."""
        one = self.measured
        path = one.step.astype(np.float64).cumsum(axis=1)
        turned = one.rotation.astype(np.float64).cumsum(axis=1)
        so_far = np.arange(1, turned.shape[1] + 1)[:, None]
        return {
            "path": path,
            "tortuosity": tortuosity(path, one.displacement.astype(np.float64)),
            "rotation": turned / so_far,
        }

    @cached_property
    def by_class(self) -> dict[str, np.ndarray]:
        """Means over the words of each class: [text class layer]."""
        of = {**self.lengths, "step": self.measured.step, "turn": self.measured.rotation}
        kind = self.measured.kind
        found = {
            name: np.stack(
                [mean(np.where((kind == at)[:, None], x, np.nan), axis=2) for at in self.chosen], axis=1
            )
            for name, x in of.items()
        }
        return {**found, "path_share": over(found["path"], found["path"].mean(axis=1, keepdims=True))}

    @cached_property
    def curves(self) -> dict[str, Interval]:
        """Their means over texts, in all classes and layers: [class layer]."""
        return {name: self._band(x) for name, x in self.by_class.items()}

    @cached_property
    def effects(self) -> np.ndarray:
        """Logarithm of the ratio of two classes' geometric means through all layers, in each text:
        [text measure pair held]."""
        ends = (self.lengths[name][:, -1] for name in MEASURES)
        return np.stack(
            [by_text(logarithm(x), self.measured.kind, self.chosen, self._fixed) for x in ends], axis=1
        )

    @cached_property
    def path_effects(self) -> np.ndarray:
        """The same of paths so far, by layer: [text pair held layer]."""
        so_far = np.moveaxis(self.lengths["path"], 1, 2)
        return by_text(logarithm(so_far), self.measured.kind, self.chosen, self._fixed)

    @cached_property
    def effect(self) -> Interval:
        """Mean over texts, of all at once: [measure pair held]."""
        return self._band(self.effects)

    @cached_property
    def flips(self) -> SignFlip | None:
        """The test that each is 0 on average, adjusted for the largest of all."""
        how = {"n_perm": self.n_perm, "seed": self.seed}
        return flips_or_nothing(self.effects, groups=self.measured.group, **how)

    @cached_property
    def p(self) -> np.ndarray:
        """Its p of each: [measure pair held]; NaN where the band is withheld."""
        if self.flips is None:
            return np.full(self.effect.low.shape, np.nan)
        return np.where(np.isfinite(self.effect.low), self.flips.p.reshape(self.effect.low.shape), np.nan)

    def withheld(self, *at: int) -> str:
        """Why the band of one ratio, or of any, is withheld; empty where it is not.

        Args:
            at: places of the measure, the pair and how it is held; none of all.
        """
        n = np.atleast_1d(self.effect.n_valid[at])
        few, least = n[n < MIN_TEXTS["band"]], MIN_TEXTS["band"]
        if not few.size:
            return ""
        where = f" in {few.size} of {n.size} ratios" if few.size < n.size else ""
        told = {"as they are": "", "matched": " that can be matched"}
        which = told[HELD[at[-1]]] if at else " that can be told apart"
        return (
            f"interval withheld{where}: {self._counted(few)} both classes{which}, and the coverage of this "
            f"interval (band) was validated from {least} up"
        )

    def _counted(self, few: np.ndarray) -> str:
        fewest, most = int(few.min()), int(few.max())
        many = self.measured.observed
        one = "text" if many == "texts" else "window of one text"
        if fewest == most == 1:
            return f"1 {one} has"
        return f"{most} {many} have" if fewest == most else f"{fewest} to {most} {many} have"

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """The classes of each pair."""
        return [(self.classes[a], self.classes[b]) for a, b in pairs(len(self.classes))]

    @cached_property
    def plane(self) -> np.ndarray:
        """Each class's mean state in their common plane: [class state 2]."""
        return in_plane(self.measured.mean_state[self.chosen])

    @cached_property
    def published(self) -> dict[str, np.ndarray]:
        """Length of the path of each class's mean state [class], in that plane and in all dimensions."""
        return {"plane": length(self.plane), "mean": length(self.measured.mean_state[self.chosen])}

    @property
    def _fixed(self) -> np.ndarray:
        """What words are matched on: [text word number]."""
        numbers = [getattr(self.measured, name).astype(np.float64) for name in MATCHED_ON]
        return np.stack([logarithm(x) for x in numbers], axis=-1)

    @property
    def _groups(self) -> np.ndarray:
        one = self.measured
        return np.arange(len(one.kind)) if one.group is None else one.group

    def _band(self, x: np.ndarray) -> Interval:
        return band_or_nothing(x, groups=self.measured.group, seed=self.seed)
