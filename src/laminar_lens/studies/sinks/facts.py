"""What the claims S1–S6 rest on, from what was measured."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from laminar_lens.errors import CaptureError
from laminar_lens.stats.bootstrap import Interval, mean_interval, simultaneous_band
from laminar_lens.stats.sinks import NORM_RATIO
from laminar_lens.studies.layers import named_layers
from laminar_lens.studies.lengths import over
from laminar_lens.studies.sinks.numbers import Sinks

HALF = 0.5


@dataclass(frozen=True, eq=False)
class Facts:
    """What the claims rest on.

    Attributes:
        ratio: [text layer pos], length over the text's median.
        by_place: [layer pos], its geometric mean with a simultaneous band.
        heads: [block head], mean attention to position 0 with a simultaneous band.
        first: [text block head], the same by text.
        massive: [variant text layer pos].
    """

    ratio: np.ndarray
    by_place: Interval
    heads: Interval | None
    first: np.ndarray | None
    massive: np.ndarray
    measured: Sinks
    groups: np.ndarray | None
    seed: int

    @property
    def geometry(self) -> str:
        """In which lengths and activations are measured."""
        return self.measured.geometry

    @property
    def layers(self) -> list[int]:
        """The hidden states that were measured."""
        found: list[int] = self.measured.layer.tolist()
        return found

    @property
    def peak(self) -> int:
        """Row of the hidden state in which position 0 is longest against the median.

        Raises:
            CaptureError: it has no length in any.
        """
        there = self.by_place.estimate[:, 0]
        if not np.isfinite(there).any():
            raise CaptureError(
                "position 0 has the zero vector in every hidden state of every text, so that its length "
                "cannot be compared; look at the model's embedding of first tokens"
            )
        return int(np.nanargmax(there))

    @property
    def long_layers(self) -> list[int]:
        """Hidden states in which position 0 is shown to be a sink by its length."""
        return [self.layers[row] for row in np.flatnonzero(self.by_place.low[:, 0] > NORM_RATIO)]

    @property
    def longest(self) -> int:
        """The hidden state in which position 0 is longest against the median."""
        return self.layers[self.peak]

    @property
    def chosen(self) -> bool:
        """Whether only some of the model's hidden states were measured."""
        return len(self.layers) <= self.measured.last

    def stretch(self, *, written: bool) -> slice:
        """Rows of the blocks before the hidden state where it is longest, or of those after it."""
        at = int(np.searchsorted(self.measured.block, self.longest))
        return slice(0, at) if written else slice(at, None)

    def is_whole(self, *, written: bool) -> bool:
        """Whether every hidden state up to that one was measured, or from it on."""
        if written:
            return self.peak == self.longest
        return len(self.layers) - self.peak == self.measured.last + 1 - self.longest

    @property
    def absent(self) -> bool:
        """Whether position 0 is shown to be no sink by its length in any layer."""
        return bool((self.by_place.high[:, 0] < NORM_RATIO).all())

    @property
    def of_blocks(self) -> str:
        """Of which blocks heads are, where not of all."""
        if not self.chosen:
            return ""
        return f" of {named_layers(self.measured.block, kind='block')}"

    @property
    def unseen(self) -> str:
        """Why no attention was measured."""
        return "The model shows no attention." if len(self.measured.block) else "No block was measured."

    @cached_property
    def sinks(self) -> np.ndarray:
        """Whether a token is a sink by its length in some layer, [text pos]."""
        return np.asarray((np.nan_to_num(self.ratio) > NORM_RATIO).any(axis=1))

    @cached_property
    def embedded(self) -> float:
        """Position 0's length in the embedding over that in `peak`, if shown to be more than half; 0 if not,
        if there is no sink, or if the embedding was not measured."""
        if self.absent or self.layers[0] > 0:
            return 0.0
        norm = self.measured.norm[:, :, 0]
        there = norm[:, self.peak]
        found = mean_interval(over(norm[:, 0], there), groups=self.groups, seed=self.seed)
        return float(found.estimate) if found.low > HALF else 0.0

    @cached_property
    def erased(self) -> Interval:
        """Share of its length over the median that is gone from `peak` to the last hidden state."""
        first = self.ratio[:, [self.peak, -1], 0]
        return mean_interval(1 - over(first[:, 1], first[:, 0]), groups=self.groups, seed=self.seed)

    @cached_property
    def growth(self) -> tuple[float, str]:
        """What writes to position 0 are shares of, and its name."""
        norm = self.measured.norm[:, :, 0]
        grown = float((norm[:, self.peak] - norm[:, 0]).mean())
        if grown > 0 and not self.embedded and self.layers[0] == 0:
            return grown, "its growth to the longest"
        return float(norm[:, self.peak].mean()), "its length where it is longest against the median"

    @cached_property
    def writes(self) -> Interval | None:
        """[block component], growth of position 0's length over `growth`, with a simultaneous band.

        None where no step is decomposed.
        """
        if self.measured.write is None:
            return None
        shares = self.measured.write[..., 0] / self.growth[0]
        if not np.isfinite(shares).any():
            return None
        return simultaneous_band(shares, groups=self.groups, seed=self.seed)

    def undecomposed(self, blocks: slice) -> list[int]:
        """Those of some blocks whose steps could not be decomposed into their writes."""
        inside = self.measured.block[blocks]
        if self.writes is not None:
            inside = inside[~np.isfinite(self.writes.estimate[blocks]).all(axis=1)]
        found: list[int] = inside.tolist()
        return found
