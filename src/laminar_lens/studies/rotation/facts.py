"""What a rotation study's claims and sentence rest on."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from laminar_lens.stats.bootstrap import Interval, band_or_nothing
from laminar_lens.stats.permutation import SignFlip, flips_or_nothing
from laminar_lens.studies.rotation.measure import AT, Measurement

PLACES = ("target", "before", "shuffled")
PARTS = ("first block", "middle blocks", "last block", "every block")
LEVEL = 0.05


@dataclass(frozen=True)
class Facts:
    """A measurement with its intervals.

    Attributes:
        measured: by prompt.
        word: the target, as it was asked for.
        tau: rotations that differ by less are alike.
        n_perm: sign flips.
        seed: of resampling and flips.
    """

    measured: Measurement
    word: str
    tau: float
    n_perm: int
    seed: int

    @property
    def layers(self) -> list[int]:
        """Hidden states that have one before them."""
        found: list[int] = self.measured.layer.tolist()
        return found

    @property
    def middle(self) -> np.ndarray:
        """True at the layers that come out of neither the first nor the last block."""
        layer = self.measured.layer
        return np.asarray((layer > 1) & (layer < self.measured.n_layers))

    @property
    def between(self) -> str:
        """What the layers that come out of a middle block are called, as some may not be chosen."""
        if self.middle.sum() == self.measured.n_layers - 2:
            return "the middle layers"
        return "the chosen layers" if self.middle.all() else "the chosen middle layers"

    @property
    def is_whole(self) -> bool:
        """Whether every layer was measured."""
        return len(self.layers) == self.measured.n_layers

    @property
    def has_both_ends(self) -> bool:
        """Whether the layers of the first and of the last block were measured."""
        return {1, self.measured.n_layers} <= set(self.layers)

    @cached_property
    def rotations(self) -> np.ndarray:
        """[prompt place layer]."""
        return np.stack([getattr(self.measured, name) for name in PLACES], axis=1)

    @cached_property
    def by_layer(self) -> Interval:
        """Of every place and layer at once, [place layer]."""
        return band_or_nothing(self.rotations, seed=self.seed)

    @cached_property
    def by_part(self) -> Interval:
        """Means over the blocks of each part, of every place and part at once, [place part]."""
        return band_or_nothing(self.parts, seed=self.seed)

    @cached_property
    def parts(self) -> np.ndarray:
        """[prompt place part]; a prompt with an undefined layer has no mean."""
        layer = self.measured.layer
        of = (layer == 1, self.middle, layer == self.measured.n_layers, np.ones(len(layer), bool))
        found = np.full((*self.rotations.shape[:2], len(of)), np.nan)
        for part, chosen in enumerate(of):
            if chosen.any():
                found[..., part] = self.rotations[..., chosen].mean(-1)
        return found

    @cached_property
    def difference(self) -> Interval:
        """Target minus the word before it, in all layers at once."""
        return band_or_nothing(self._paired, seed=self.seed)

    @cached_property
    def flips(self) -> SignFlip | None:
        """The paired test, adjusted for the maximum over layers."""
        return flips_or_nothing(self._paired, n_perm=self.n_perm, seed=self.seed)

    @property
    def _paired(self) -> np.ndarray:
        return np.asarray(self.measured.target - self.measured.before)

    @cached_property
    def ends_over_middle(self) -> Interval:
        """How much more the first and the last block turn the target than each one between, [end middle]."""
        ends = self.measured.target[:, [0, -1], None]
        return band_or_nothing(ends - self.measured.target[:, None, self.middle], seed=self.seed)

    @cached_property
    def influence(self) -> Interval:
        """Block influence, in all layers at once."""
        return band_or_nothing(self.measured.influence, seed=self.seed)

    @cached_property
    def pruning(self) -> Interval:
        """Angle over π between any two layers of the last token, in all pairs at once: [state to_state], NaN
        where to_state does not come after state."""
        distance = self.measured.between[:, AT.index("last")] / np.pi
        later = np.triu(np.ones(distance.shape[1:], bool), 1)
        return band_or_nothing(np.where(later, distance, np.nan), seed=self.seed)

    def different(self, sign: int) -> list[int]:
        """Layers where the target is shown to turn more (1) or less (−1) than the word before it."""
        if self.flips is None:
            return []
        found = (self.flips.p <= LEVEL) & (np.sign(self.flips.t) == sign)
        return [layer for layer, is_one in zip(self.layers, found, strict=True) if is_one]
