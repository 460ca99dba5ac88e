"""The same prompts with each word in the target's place, settled before anything is run."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from laminar_lens.errors import InputError
from laminar_lens.pairs import target_pairs
from laminar_lens.prompts import Target, check_target, find_target, token_spans
from laminar_lens.studies.target_prompts import TargetPrompts
from laminar_lens.words import joined

if TYPE_CHECKING:
    from laminar_lens.studies.trajectories.study import Trajectories


@dataclass(frozen=True)
class GroupedPrompts(TargetPrompts):
    """The prompts of all groups, one group after another, each in the order of the sentences.

    Attributes:
        words: of the groups, the target first.
    """

    words: tuple[str, ...]

    @property
    def sentences(self) -> int:
        """Prompts of each group."""
        return len(self.prompts) // len(self.words)


def grouped(tokenizer: Any, of: TargetPrompts, asked: "Trajectories", *, bos: int) -> GroupedPrompts:
    """Prompts with the target, and with each other word in its place.

    Raises:
        InputError: one prompt a group; a word that does not stand there as whole tokens.
    """
    if len(of.prompts) < 2:
        raise InputError(
            f"each group has one prompt, {of.prompts[0]!r} with another word, but a prompt is one "
            "observation: give at least 2, better 50"
        )
    texts, targets = list(of.prompts), list(of.targets)
    for word in asked.instead:
        for text in of.prompts:
            swapped, found = _swapped(tokenizer, text, asked, word)
            texts.append(swapped)
            targets.append([found])
    ids = [token_spans(tokenizer, text)[0] for text in texts]
    return GroupedPrompts(
        prompts=tuple(texts),
        ids=ids,
        n_tokens=np.array([len(row) + bos for row in ids]),
        targets=targets,
        target=target_pairs(targets, bos=bos),
        notes=[*of.notes, *_split(asked, [n for found in targets for n in [found[0].end - found[0].start]])],
        checked=of.checked,
        words=(asked.target, *asked.instead),
    )


def _split(asked: "Trajectories", sizes: list[int]) -> list[str]:
    """What to say of words that are several tokens."""
    words = (asked.target, *asked.instead)
    several = [
        word for word, n in zip(words, np.reshape(sizes, (len(words), -1)).max(axis=1), strict=True) if n > 1
    ]
    if not several:
        return []
    are = "is" if len(several) == 1 else "are"
    return [
        f"{joined(list(map(repr, several)))} {are} several tokens: the first of them is followed, so that "
        "groups may differ by their tokens, too."
    ]


def _swapped(tokenizer: Any, text: str, asked: "Trajectories", word: str) -> tuple[str, Target]:
    """A text with another word in the target's place, and its tokens."""
    pattern = check_target(asked.target, asked.occurrence, asked.regex)
    match = [*pattern.finditer(text)][-1 if asked.occurrence == "last" else 0]
    swapped = text[: match.start()] + word + text[match.end() :]
    starts = [one.start() for one in check_target(word).finditer(swapped)]
    if match.start() not in starts:
        raise InputError(
            f"{word!r} in the place of {match[0]!r} makes {swapped!r}, where it is no whole word: give it "
            "with its space"
        )
    return swapped, find_target(tokenizer, swapped, word, "all")[starts.index(match.start())]
