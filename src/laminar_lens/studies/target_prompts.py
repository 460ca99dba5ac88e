"""Prompts with the place of each one's target, settled before anything is run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np

from laminar_lens.errors import InputError
from laminar_lens.models.passages import GIVEN
from laminar_lens.pairs import target_pairs
from laminar_lens.prompts import HER, Target, check_target, find_targets, her_prompts, token_spans
from laminar_lens.studies.observations import Observations, prompt_observations
from laminar_lens.texts.tokenization import Tokenizer


@dataclass(frozen=True)
class TargetPrompts:
    """Prompts and where their targets stand; positions count from the first captured token, −1 = none.

    Attributes:
        prompts: those that are observations; `checked` says which of the prompts that there were they are.
        ids: token ids of each prompt, without a BOS.
        n_tokens: of each, with it.
        target: [prompt occurrence 2], the token before the target and the target's first.
        notes: what a reader must know.
    """

    prompts: tuple[str, ...]
    ids: list[list[int]]
    n_tokens: np.ndarray
    targets: list[list[Target]]
    target: np.ndarray
    notes: list[str]
    checked: Observations

    @property
    def groups(self) -> None:
        """Prompts are independent."""

    @property
    def rows(self) -> list[list[int]]:
        """Token ids of each prompt, without a BOS."""
        return self.ids

    @property
    def hashed(self) -> Any:
        """What provenance takes the hash of."""
        return self.prompts

    @property
    def settings(self) -> dict[str, Any]:
        """What a study records of them."""
        source = HER if self.prompts == her_prompts() else GIVEN
        return {"texts": source, "n_prompts": len(self.checked.keep), "observations": self.checked.n}

    def ends(self, sentence: str) -> str:
        """As `Texts.ends`."""
        return self.checked.ends(sentence)

    @property
    def forbidden(self) -> set[int]:
        """Token ids that a target begins with."""
        return {ids[t.start] for ids, found in zip(self.ids, self.targets, strict=True) for t in found}


def target_prompts(
    tokenizer: Tokenizer | None,
    texts: Sequence[str],
    target: str,
    occurrence: str,
    regex: bool,
    *,
    skip: int = 0,
    bos: int = 0,
) -> TargetPrompts:
    """Prompts that are observations, with the target of each; `notes` do not tell yet what is left out.

    Raises:
        InputError: a model without tokenizer; a prompt of one token; a target that is absent, ambiguous or
            first; a skip that leaves nothing to it; prompts that are mostly repeats.
    """
    check_target(target, occurrence, regex)
    return prompts_with(
        tokenizer,
        texts,
        lambda known: find_targets(known, texts, target, occurrence, regex),
        skip=skip,
        bos=bos,
    )


def prompts_with(
    tokenizer: Tokenizer | None,
    texts: Sequence[str],
    find: Callable[[Tokenizer], list[list[Target]]],
    *,
    skip: int = 0,
    bos: int = 0,
) -> TargetPrompts:
    """The same, with the targets of each text that `find` finds by the tokenizer."""
    if tokenizer is None:
        raise InputError("the model has no tokenizer: a target cannot be found in text; set model.tokenizer")
    ids = [token_spans(tokenizer, text)[0] for text in texts]
    n_tokens = np.array([len(row) + bos for row in ids])
    for index in np.flatnonzero(n_tokens < 2).tolist():
        raise InputError(
            f"prompt {index} ({texts[index]!r}) has one token: an angle needs two; lengthen it or remove it"
        )
    targets = find(tokenizer)
    target_pairs(targets, skip=skip, bos=bos)  # what one has wrong is said of the prompts as given
    checked = prompt_observations(ids, tokenizer, targets)
    kept = list(compress(targets, checked.keep))
    found = target_pairs(kept, skip=skip, bos=bos)
    return TargetPrompts(
        prompts=tuple(compress(texts, checked.keep)),
        ids=list(compress(ids, checked.keep)),
        n_tokens=n_tokens[checked.keep],
        targets=kept,
        target=found,
        notes=left_out(np.asarray((found >= 0).any(axis=(1, 2))), "target", skip),
        checked=checked,
    )


def left_out(has: np.ndarray, kind: str, skip: int) -> list[str]:
    """How many prompts have no pair of a kind, where some have none."""
    count = int((~has).sum())
    why = f" behind the first {skip} positions" if skip else ""
    return (
        [f"{count} of {len(has)} prompts have no {kind} pair{why} and are left out there."] if count else []
    )


def check_tokens(plan: TargetPrompts, captured: np.ndarray, *, bos: int) -> None:
    """Refuses a capture whose tokens are not those among which the targets were found.

    Raises:
        InputError: naming the prompt.
    """
    for index, ids in enumerate(plan.ids):
        got = captured[index][captured[index] >= 0][bos:].tolist()
        if got != ids:
            raise InputError(
                f"prompt {index} became tokens {got[:8]} in the model but {ids[:8]} in its tokenizer: the "
                "target's place is not certain; give a model whose tokenizer adds nothing to a text"
            )
