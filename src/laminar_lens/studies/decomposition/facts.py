"""What the claims W1–W4 rest on, from what was measured."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from laminar_lens.stats.bootstrap import (
    MIN_TEXTS,
    Interval,
    band_or_nothing,
    mapped,
    mean_interval,
    nothing,
)
from laminar_lens.stats.false_discovery import LEVEL, discovery_values
from laminar_lens.stats.means import mean
from laminar_lens.stats.permutation import sign_flip
from laminar_lens.stats.sinks import within_shares
from laminar_lens.studies.decomposition.numbers import Measured
from laminar_lens.studies.decomposition.parts import PARTS

N_PERM = 19_999
"""Sign flips: a single one of 96 layers can still be a discovery."""
STEP = PARTS.index("step")


@dataclass(frozen=True, eq=False)
class Facts:
    """What the claims rest on.

    Attributes:
        measured: means over the tokens of each text.
        seed: of the resampling.
    """

    measured: Measured
    seed: int

    @property
    def layers(self) -> list[int]:
        """The hidden states whose steps were measured."""
        found: list[int] = self.measured.layer.tolist()
        return found

    @property
    def every(self) -> str:
        """What "every layer" is where some were not measured or are not decomposed."""
        known = bool(np.isfinite(self.cosine.estimate).all())
        return "every layer" if known and len(self.layers) == self.measured.last else "every layer measured"

    @property
    def n(self) -> int:
        """Independent texts."""
        group = self.measured.group
        return len(self.measured.cosine) if group is None else len(np.unique(group))

    def band(self, values: np.ndarray) -> Interval:
        """Means over texts [text …] with a band that covers all entries at once; nothing where there is no
        number."""
        return band_or_nothing(values, groups=self.measured.group, seed=self.seed)

    @cached_property
    def difference_by_text(self) -> np.ndarray:
        """Cosine of the writes to a token minus that of writes to different tokens, [text layer]."""
        return np.asarray(self.measured.cosine - self.measured.other)

    @cached_property
    def cosine(self) -> Interval:
        """By layer."""
        return self.band(self.measured.cosine)

    @cached_property
    def other(self) -> Interval:
        """By layer, of writes to different tokens."""
        return self.band(self.measured.other)

    @cached_property
    def difference(self) -> Interval:
        """By layer."""
        return self.band(self.difference_by_text)

    @cached_property
    def p(self) -> np.ndarray:
        """By layer, that this difference is symmetric about 0 over texts; each layer by itself."""
        values = self.difference_by_text
        if np.isfinite(values).sum(axis=0).max(initial=0) < 2:
            return np.full(values.shape[1], np.nan)
        found = sign_flip(values, groups=self.measured.group, n_perm=N_PERM, seed=self.seed)
        enough = found.n_valid >= MIN_TEXTS["mean"]
        return np.asarray(np.where(enough, found.p_alone, np.nan))

    @cached_property
    def q(self) -> np.ndarray:
        """The same, adjusted for the false discovery rate over layers."""
        return discovery_values(self.p)

    @property
    def related(self) -> np.ndarray:
        """In which layers the difference is a discovery."""
        return np.asarray(self.q <= LEVEL)

    @cached_property
    def ratio(self) -> Interval:
        """By layer, the MLP's length over attention's; geometric mean."""
        return mapped(np.exp, self.band(self.measured.ratio))

    @cached_property
    def overall(self) -> Interval:
        """The same over all layers."""
        by_text = mean(self.measured.ratio, axis=1)
        if np.isfinite(by_text).sum() < 2:
            return nothing((), "in no layer do both write")
        return mapped(np.exp, mean_interval(by_text, groups=self.measured.group, seed=self.seed))

    @cached_property
    def radial(self) -> Interval:
        """By layer, the share of a step's squared length that is along the residual."""
        return within_shares(self.band(self.measured.radial[..., STEP]))
