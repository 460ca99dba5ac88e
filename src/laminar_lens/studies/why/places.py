"""Which texts of a why-study exchange their beginnings, and where in a text its bigram is put.

A text's first bigram gets into the body by the first t tokens of another text put before it. Texts exchange
these beginnings within small sets, whose texts then depend on each other and on no other text: a set is one
observation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from laminar_lens.arguments import wholes
from laminar_lens.axes import Wholes
from laminar_lens.errors import InputError
from laminar_lens.stats.streams import stream
from laminar_lens.stats.warmup import reference_pairs

COMPARED = 16
"""Texts are one observation only if at least so many tokens agree, or all that there are."""


@dataclass(frozen=True)
class Exchange:
    """Which text's beginning goes before which, and what is one observation.

    Attributes:
        donor: by text, the text whose first tokens go before it; never one of its own group.
        unit: by text, a label; texts of one unit share tokens with each other and with no other text.
    """

    donor: Int[np.ndarray, " text"]
    unit: Int[np.ndarray, " text"]


def exchange(n: int, groups: np.ndarray | None, seed: int) -> Exchange:
    """Texts of two groups (of three, where their number is odd) get each other's beginnings.

    Raises:
        InputError: fewer than two groups.
    """
    labels = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    n_groups = int(labels.max()) + 1
    if n_groups < 2:
        raise InputError(
            "all texts are of one group, but a bigram is put behind another group's text: give texts of at "
            "least 2 groups"
        )
    order = stream(seed, "texts that exchange their beginnings").permutation(n_groups)
    members = [np.flatnonzero(labels == group) for group in order]
    donor, unit = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    starts = list(range(0, n_groups - 1, 2))
    for number, start in enumerate(starts):
        stop = n_groups if start == starts[-1] else start + 2
        for k in range(start, stop):
            other = members[k + 1 if k + 1 < stop else start]
            donor[members[k]] = np.resize(other, len(members[k]))
            unit[members[k]] = number
    return Exchange(donor, unit)


def places(at: Wholes, length: int) -> Int[np.ndarray, " place"]:
    """Positions t of the bigram (t, t+1) in the body: those given, or every reference pair of a text.

    Raises:
        InputError: not whole numbers, or none, or one that a text of this length does not have.
    """
    if at is None:
        window = reference_pairs(length - 1)
        return np.arange(window.start, window.stop)
    expected = (
        f"expected positions 1 … {length - 2} of a text of {length} tokens, so that a context goes before "
        "the bigram (at, at + 1)"
    )
    try:
        given = wholes("at", at)
    except InputError as error:
        raise InputError(f"{str(error).partition(';')[0]}; {expected}") from None
    for t in given:
        if not 1 <= t <= length - 2:
            raise InputError(f"at is {t}; {expected}")
    return np.unique(np.array(given))


def reach(at: Wholes, length: int) -> int:
    """On so many first tokens of a text depend its effects, but for T, which its last third has a part in.

    At least `COMPARED`, as beginnings of a few tokens are common to texts that are otherwise independent.
    """
    return min(length, max(COMPARED, int(places(at, length).max()) + 2))


def assign(n: int, where: Sequence[int], seed: int) -> Int[np.ndarray, " text"]:
    """For each text one of the places; all of them equally often, up to one."""
    return np.asarray(stream(seed, "places in a text").permutation(np.resize(np.array(where), n)))
