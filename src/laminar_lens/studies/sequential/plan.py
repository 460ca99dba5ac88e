"""What a sequential study will measure: targets, seeded pairs and donors, settled before the capture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from laminar_lens.errors import InputError
from laminar_lens.models.sample import check_seed
from laminar_lens.pairs import (
    BASELINES,
    adjacent_pairs,
    by_position_pairs,
    check_baseline,
    check_skip,
    matched_pairs,
    published_pairs,
    target_mask,
)
from laminar_lens.prompts import check_prompts, check_target, find_targets
from laminar_lens.stats.streams import stream
from laminar_lens.studies.measurement import Adjacent
from laminar_lens.studies.target_prompts import TargetPrompts, left_out, target_prompts
from laminar_lens.texts.tokenization import Tokenizer

DRAWN = {"published": published_pairs, "adjacent": adjacent_pairs, "by_position": by_position_pairs}


@dataclass(frozen=True)
class Settings:
    """The arguments of a sequential study that decide what is compared."""

    target: str = " her"
    occurrence: str = "error"
    regex: bool = False
    baseline: str = "published"
    skip: int = 0
    seed: int = 0
    prepend_bos: bool = False
    n_draws: int = 200


@dataclass(frozen=True)
class Plan(TargetPrompts):
    """Pairs of every kind for every prompt; see `TargetPrompts`.

    Attributes:
        draws: by baseline, [draw prompt 2]; a baseline that no prompt allows is missing, `notes` says why.
        permuted: [prompt pair 2], the adjacent pairs after a permutation of the text's positions.
    """

    draws: dict[str, np.ndarray]
    permuted: np.ndarray


def check_settings(prompts: object, settings: Settings) -> tuple[str, ...]:
    """The prompts, once every argument that needs no model makes sense.

    Raises:
        InputError: naming the argument, its value and what is expected.
    """
    texts = check_prompts(prompts)
    check_baseline(settings.baseline)
    check_skip(settings.skip)
    check_target(settings.target, settings.occurrence, settings.regex)
    check_seed(settings.seed)
    if settings.n_draws < 1:
        raise InputError(f"n_draws={settings.n_draws} draws no baseline: give at least 1, usually 200")
    return texts


def make_plan(tokenizer: Tokenizer | None, prompts: object, settings: Settings) -> Plan:
    """Targets found, pairs drawn.

    Raises:
        InputError: a prompt of one token, a target that is absent, ambiguous or first, a skip that leaves
            nothing to the target or to the chosen baseline, prompts that are mostly repeats.
    """
    texts = check_settings(prompts, settings)
    bos = int(settings.prepend_bos)
    found = target_prompts(
        tokenizer, texts, settings.target, settings.occurrence, settings.regex, skip=settings.skip, bos=bos
    )
    marked = found.targets
    if settings.occurrence != "all":
        assert tokenizer is not None
        # "first" and "last" choose the pair, but none of the other occurrences is a non-target
        marked = find_targets(tokenizer, found.prompts, settings.target, "all", settings.regex)
    mask = target_mask(marked, found.n_tokens, bos=bos)
    draws = _draws(found.n_tokens, mask, settings, found.notes)
    found.checked.tell(found.notes)
    return Plan(**vars(found), draws=draws, permuted=_permuted(found.n_tokens, settings.seed))


def draw_matched(plan: Plan, donors: Adjacent, settings: Settings, notes: list[str]) -> np.ndarray | None:
    """Donor text, i, i + 1 of each prompt [draw prompt 3]; None where no donor fits (a note says so).

    Raises:
        InputError: a donor is a prompt of the study; no donor fits and `matched` is the chosen baseline.
    """
    _refuse_prompts_among(donors.tokens, plan, bos=int(settings.prepend_bos))
    try:
        drawn = matched_pairs(
            plan.target, donors.tokens, sorted(plan.forbidden), n_draws=settings.n_draws, seed=settings.seed
        )
    except InputError as error:
        if settings.baseline == "matched":
            raise
        notes.append(f"No matched baseline: {error}.")
        return None
    has = (drawn[0] >= 0).all(axis=-1) | (plan.target < 0).all(axis=(1, 2))
    notes.extend(left_out(has, "matched", settings.skip))
    return drawn


def _refuse_prompts_among(tokens: np.ndarray, plan: Plan, *, bos: int) -> None:
    """Refuses a donor that is a prompt, the beginning of one, or begins with one."""
    for donor, row in enumerate(tokens):
        ids = row[row >= 0][bos:].tolist()
        for index, prompt in enumerate(plan.ids):
            n = min(len(ids), len(prompt))
            if n >= 2 and ids[:n] == prompt[:n]:
                raise InputError(
                    f"donor {donor} begins like prompt {index} ({plan.prompts[index]!r}): donors must be "
                    "texts from outside the study"
                )


def check_donors(donors: Sequence[str], prompts: Sequence[str]) -> tuple[str, ...]:
    """The donor texts, which must not be prompts of the study.

    Raises:
        InputError: none, one that is blank, or one that is also a prompt.
    """
    texts = check_prompts(donors)
    same = set(texts) & set(prompts)
    if same:
        raise InputError(f"donor {min(same)!r} is also a prompt: donors must be texts from outside the study")
    return texts


def _draws(
    n_tokens: np.ndarray, is_target: np.ndarray, settings: Settings, notes: list[str]
) -> dict[str, np.ndarray]:
    draws: dict[str, np.ndarray] = {}
    for name in BASELINES:
        if name not in DRAWN:
            continue
        try:
            draws[name] = DRAWN[name](
                n_tokens, is_target, n_draws=settings.n_draws, skip=settings.skip, seed=settings.seed
            )
        except InputError as error:
            if settings.baseline == name:
                raise
            notes.append(f"No {name} baseline: {error}.")
            continue
        notes.extend(left_out((draws[name][0] >= 0).all(axis=-1), name, settings.skip))
    return draws


def _permuted(n_tokens: np.ndarray, seed: int) -> np.ndarray:
    """Neighbours after a random permutation of each text's positions, the same for all layers."""
    pairs = np.full((len(n_tokens), int(n_tokens.max()) - 1, 2), -1)
    for index, n in enumerate(n_tokens):
        order = stream(seed, "donors of a prompt", index).permutation(n)
        pairs[index, : n - 1] = np.column_stack((order[:-1], order[1:]))
    return pairs
