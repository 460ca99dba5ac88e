"""Which vectors meet: the target's pair, and the baselines that it is compared with.

Every draw is seeded and made for each prompt by itself, so that adding a prompt, or asking for more draws,
leaves the others as they were. Positions count from the first row of the captured prompt (a BOS is then 0).
Where a prompt has no pair of the wanted kind, its entries are −1; that no prompt has one is an error.
"""

from collections.abc import Callable, Sequence
from functools import wraps

import numpy as np
from jaxtyping import Bool, Int

from laminar_lens.errors import InputError
from laminar_lens.stats.streams import stream

BASELINES: tuple[str, ...] = ("published", "adjacent", "matched", "by_position")
FIXED: tuple[tuple[int, int], ...] = ((0, 1), (1, 2), (2, 3), (3, 4))
"""The reveal's pairs, before a skip shifts them."""

Positions = np.ndarray
"""Token positions, or a mask over them."""

_ABSENT = -1


def check_baseline(baseline: object) -> str:
    """The baseline's name.

    Raises:
        InputError: not one of `BASELINES`.
    """
    if baseline not in BASELINES:
        raise InputError(f"baseline {baseline!r} is unknown: use one of {', '.join(BASELINES)}")
    return str(baseline)


def check_skip(skip: object) -> int:
    """The number of first positions to leave out.

    Raises:
        InputError: negative, or not a whole number.
    """
    if isinstance(skip, bool) or not isinstance(skip, (int, np.integer)):
        raise InputError(f"skip {skip!r} is not a whole number: give how many first positions to leave out")
    if skip < 0:
        raise InputError(f"skip {skip} is negative: give 0 or more positions to leave out")
    return int(skip)


def target_mask(
    targets: Sequence[Sequence[tuple[int, int]]], n_tokens: Int[np.ndarray, " prompt"], *, bos: int = 0
) -> Bool[np.ndarray, "prompt pos"]:
    """True at every token of every target; `bos` = 1 where a BOS stands before the text."""
    mask = np.zeros((len(n_tokens), int(n_tokens.max())), dtype=bool)
    for row, found in zip(mask, targets, strict=True):
        for start, end in found:
            row[start + bos : end + bos] = True
    return mask


def target_pairs(
    targets: Sequence[Sequence[tuple[int, int]]], *, skip: object = 0, bos: int = 0
) -> Int[np.ndarray, "prompt occurrence 2"]:
    """The pair (first token − 1, first token) of each target.

    >>> target_pairs([[(2, 3)], [(4, 6), (8, 9)]]).tolist()
    [[[1, 2], [-1, -1]], [[3, 4], [7, 8]]]

    Returns:
        Positions, −1 where a prompt has fewer occurrences or its pair begins before `skip`.

    Raises:
        InputError: a target at position 0, which has no word before it; a skip that leaves no pair.
    """
    k = check_skip(skip)
    pairs = np.full((len(targets), max(map(len, targets)), 2), _ABSENT)
    for index, found in enumerate(targets):
        for slot, (start, _) in enumerate(found):
            second = start + bos
            if second == 0:
                raise InputError(
                    f"target of prompt {index} is its first token: a pair needs a token before it; put a "
                    "word in front, or use prepend_bos=True"
                )
            if second - 1 >= k:
                pairs[index, slot] = second - 1, second
    longest = max(end + bos for found in targets for _, end in found)
    _require((pairs >= 0).any(), "target", k, f"the last target ends at position {longest - 1}")
    return pairs


Rule = Callable[[Positions, int, int, np.random.Generator], Positions | None]
"""(which positions are neither target nor skipped, skip, draws, random numbers) → pairs [draw 2] or None."""


def _drawn(baseline: str) -> Callable[[Rule], Callable[..., Positions]]:
    """A rule for one prompt as a function for all of them, each by itself:

        pairs(n_tokens [prompt], is_target [prompt pos], n_draws=1, skip=0, seed=0) → [draw prompt 2]

    It gives −1 where a prompt has no such pair; InputError for a negative skip, or where no prompt has one.
    """

    def of(rule: Rule) -> Callable[..., Positions]:
        @wraps(rule)
        def pairs(
            n_tokens: Int[np.ndarray, " prompt"],
            is_target: Bool[np.ndarray, "prompt pos"],
            *,
            n_draws: int = 1,
            skip: object = 0,
            seed: int = 0,
        ) -> Int[np.ndarray, "draw prompt 2"]:
            k = check_skip(skip)
            drawn = np.full((n_draws, len(n_tokens), 2), _ABSENT)
            for index, n in enumerate(n_tokens):
                free = ~is_target[index, :n]
                free[:k] = False
                found = rule(free, k, n_draws, _stream(seed, baseline, index))
                if found is not None:
                    drawn[:, index] = found
            _require((drawn >= 0).any(), baseline, k, f"the longest prompt has {n_tokens.max()} tokens")
            return drawn

        return pairs

    return of


@_drawn("published")
def published_pairs(free: Positions, skip: int, n_draws: int, rng: np.random.Generator) -> Positions | None:
    """Two distinct non-target positions drawn without replacement and put in order, not always adjacent.

    >>> n, target = np.array([5]), np.array([[False, False, True, False, False]])
    >>> published_pairs(n, target, n_draws=3).shape
    (3, 1, 2)

    Source: the original's "non-target" condition, with each sentence's own tokens.
    """
    places = np.flatnonzero(free)
    if len(places) < 2:
        return None
    u = rng.random((n_draws, 2))
    first, second = (u[:, 0] * len(places)).astype(int), (u[:, 1] * (len(places) - 1)).astype(int)
    second += second >= first
    return np.sort(places[np.column_stack((first, second))], axis=1)


@_drawn("adjacent")
def adjacent_pairs(free: Positions, skip: int, n_draws: int, rng: np.random.Generator) -> Positions | None:
    """Two neighbouring positions, neither of them the target."""
    return _neighbours(np.flatnonzero(free[:-1] & free[1:]), rng, n_draws)


@_drawn("by_position")
def by_position_pairs(free: Positions, skip: int, n_draws: int, rng: np.random.Generator) -> Positions | None:
    """One of the fixed pairs (0,1), (1,2), (2,3), (3,4), shifted by `skip`, that holds no target."""
    firsts = np.array([first + skip for first, _ in FIXED])
    inside = firsts[firsts + 1 < len(free)]
    return _neighbours(inside[free[inside] & free[inside + 1]], rng, n_draws)


def matched_pairs(
    target: Int[np.ndarray, "prompt occurrence 2"],
    donor_tokens: Int[np.ndarray, "donor pos"],
    forbidden: Sequence[int],
    *,
    n_draws: int = 1,
    seed: int = 0,
) -> Int[np.ndarray, "draw prompt 3"]:
    """The target's own positions in texts from outside the study, where the second token is not the target.

    Donor d belongs to prompt d modulo the number of prompts, and to no other: were donors shared, the
    differences of two prompts from them would not be independent.

    Args:
        target: from `target_pairs`, which has already left out what a skip leaves out.
        donor_tokens: token ids of the donor texts, −1 at padding.
        forbidden: token ids that count as the target.

    Returns:
        Donor text, i, i + 1; −1 where a prompt has no target pair or none of its donors is long enough.

    Raises:
        InputError: fewer donors than prompts, or no donor fits any prompt.
    """
    if len(donor_tokens) < len(target):
        raise InputError(
            f"{len(donor_tokens)} donor texts for {len(target)} prompts: each prompt needs donors of its "
            f"own, give at least {len(target)}"
        )
    allowed = (donor_tokens >= 0) & ~np.isin(donor_tokens, list(forbidden))
    drawn = np.full((n_draws, len(target), 3), _ABSENT)
    for index, row in enumerate(target):
        seconds = [int(second) for first, second in row if first >= 0 and second < donor_tokens.shape[1]]
        own = slice(index, None, len(target))
        fits = [
            (index + len(target) * donor, s - 1, s)
            for s in seconds
            for donor in np.flatnonzero(allowed[own, s])
        ]
        choice = np.array(fits, dtype=int).reshape(-1, 3)
        if len(choice):
            u = _stream(seed, "matched", index).random(n_draws)
            drawn[:, index] = choice[(u * len(choice)).astype(int)]
    if not (drawn >= 0).any():
        raise InputError(
            f"no donor text reaches a target's position (the longest has {donor_tokens.shape[1]} tokens): "
            "give longer donors"
        )
    return drawn


def _stream(seed: int, baseline: str, index: int) -> np.random.Generator:
    """Random numbers that belong to this seed, baseline and prompt alone."""
    return stream(seed, f"pairs of the baseline {baseline}", index)


def _neighbours(firsts: Positions, rng: np.random.Generator, n_draws: int) -> Positions | None:
    if not len(firsts):
        return None
    chosen = firsts[(rng.random(n_draws) * len(firsts)).astype(int)]
    return np.column_stack((chosen, chosen + 1))


def _require(some: object, kind: str, skip: int, limit: str) -> None:
    if not some:
        raise InputError(f"skip={skip} leaves no {kind} pair in any prompt ({limit}): use a smaller skip")
