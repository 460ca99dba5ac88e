"""Runs of blocks in a row: by which angle over π each turns the last token, and which run turns it least.

Source: Gromov et al., arXiv 2403.17887: d = arccos(cos(x[l], x[l + n]))/π at the last token, least over l.
"""

from dataclasses import dataclass

import numpy as np

from laminar_lens.stats.bootstrap import Interval

QUARTER = 4
"""The sentence tells of a quarter of the blocks."""


@dataclass(frozen=True)
class Runs:
    """The least-turning run of each length.

    Attributes:
        blocks: how many blocks in a row.
        first: the first block of the least-turning run.
        estimate, low, high: its distance, with the ends of a band over all runs of every length.
        rivals: how many other runs of that length reach below its upper end; −1 where that is not known.
        quarter: which entry is nearest to a quarter of the model's blocks.
    """

    blocks: np.ndarray
    first: np.ndarray
    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rivals: np.ndarray
    quarter: int


def least_turning(distance: Interval, state: np.ndarray, n_layers: int) -> Runs | None:
    """Of every length for which two layers were read; None where no distance is defined.

    Args:
        distance: [state to_state], NaN where to_state does not come after state.
        state: hidden states; the run between a and b is blocks a … b − 1.
        n_layers: blocks of the model.
    """
    span = state[None, :] - state[:, None]
    found = []
    for length in range(1, int(span.max()) + 1):
        at = np.argwhere((span == length) & np.isfinite(distance.estimate))
        if not len(at):
            continue
        one, low, high = (end[tuple(at.T)] for end in (distance.estimate, distance.low, distance.high))
        least = int(one.argmin())
        others = int((np.delete(low, least) < high[least]).sum()) if np.isfinite(high[least]) else -1
        found.append((length, state[at[least, 0]], one[least], low[least], high[least], others))
    if not found:
        return None
    blocks, first, one, low, high, rivals = (np.array(column) for column in zip(*found, strict=True))
    quarter = int(np.abs(blocks - max(1, n_layers // QUARTER)).argmin())
    return Runs(blocks, first, one, low, high, rivals, quarter)
