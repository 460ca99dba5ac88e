"""The prompts of each group, settled before anything is run: the same ones with each word in the target's
place, or those that the user has for each word."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from laminar_lens.arguments import shown
from laminar_lens.errors import InputError
from laminar_lens.pairs import target_pairs
from laminar_lens.prompts import Target, check_prompts, check_target, find_target, find_targets, token_spans
from laminar_lens.studies.target_prompts import TargetPrompts, prompts_with
from laminar_lens.texts.tokenization import Tokenizer
from laminar_lens.words import joined

if TYPE_CHECKING:
    from laminar_lens.studies.trajectories.study import Trajectories

OBSERVED = "but a prompt is one observation: give at least 2, better 50"


@dataclass(frozen=True)
class GroupedPrompts(TargetPrompts):
    """The prompts of all groups, one group after another.

    Attributes:
        words: of the groups, the target first.
        group: which of them each prompt is of.
        row: which observation each prompt is of: prompts that differ by the word alone are one.
    """

    words: tuple[str, ...]
    group: np.ndarray
    row: np.ndarray

    @property
    def n(self) -> int:
        """Observations."""
        return int(self.row.max()) + 1

    @property
    def paired(self) -> bool:
        """Whether every observation is in every group."""
        return self.n < len(self.row)

    @property
    def settings(self) -> dict[str, Any]:
        """What a study records of them; of groups of their own, how many prompts each has."""
        sizes = {} if self.paired else {"prompts_a_group": np.bincount(self.group).tolist()}
        return {**super().settings, **sizes}


def grouped(tokenizer: Any, of: TargetPrompts, asked: "Trajectories", *, bos: int) -> GroupedPrompts:
    """Prompts with the target, and with each other word in its place.

    Raises:
        InputError: one prompt a group; a word that does not stand there as whole tokens.
    """
    n, words = len(of.prompts), (asked.target, *asked.instead)
    if n < 2:
        raise InputError(f"each group has one prompt, {of.prompts[0]!r} with another word, {OBSERVED}")
    texts, targets = list(of.prompts), list(of.targets)
    for word in asked.instead:
        for text in of.prompts:
            swapped, found = _swapped(tokenizer, text, asked, word)
            texts.append(swapped)
            targets.append([found])
    ids = [token_spans(tokenizer, text)[0] for text in texts]
    group = np.repeat(np.arange(len(words)), n)
    return GroupedPrompts(
        prompts=tuple(texts),
        ids=ids,
        n_tokens=np.array([len(row) + bos for row in ids]),
        targets=targets,
        target=target_pairs(targets, bos=bos),
        notes=[*of.notes, *_split(words, group, targets)],
        checked=of.checked,
        words=words,
        group=group,
        row=np.tile(np.arange(n), len(words)),
    )


def own_groups(
    tokenizer: Tokenizer | None, given: Mapping[Any, Any], asked: "Trajectories", *, bos: int
) -> GroupedPrompts:
    """Prompts that were given by the word of their group, each an observation of its own.

    Raises:
        InputError: as `checked_groups`; a prompt without the word of its group; one prompt of a group that
            repeats no other.
    """
    groups = checked_groups(given, asked)

    def find(known: Tokenizer) -> list[list[Target]]:
        each = (find_targets(known, texts, word, asked.occurrence) for word, texts in groups.items())
        return [found for some in each for found in some]

    made = prompts_with(tokenizer, [text for texts in groups.values() for text in texts], find, bos=bos)
    made.checked.tell(made.notes)
    group = np.repeat(np.arange(len(groups)), list(map(len, groups.values())))[made.checked.keep]
    for word, n in zip(groups, np.bincount(group, minlength=len(groups)), strict=True):
        if n < 2:
            raise InputError(f"group {word!r} has one prompt that repeats no other, {OBSERVED}")
    notes = [
        *_shared(tuple(groups), group, made.prompts),
        *made.notes,
        *_split(tuple(groups), group, made.targets),
    ]
    return GroupedPrompts(
        **vars(made) | {"notes": notes}, words=tuple(groups), group=group, row=np.arange(len(group))
    )


def checked_groups(given: Mapping[Any, Any], asked: "Trajectories") -> dict[str, tuple[str, ...]]:
    """The prompts of each group.

    Raises:
        InputError: a target, other words or a regular expression beside them; one group; a group of one
            prompt; a name that is no word.
    """
    asked.check_groups(given)
    return {word: _prompts_of(word, texts) for word, texts in given.items()}


def _prompts_of(word: str, texts: object) -> tuple[str, ...]:
    """The prompts of one group.

    Raises:
        InputError: none, one, or something else; the group is named.
    """
    try:
        found = check_prompts(texts)
    except InputError as error:
        raise InputError(f"group {word!r}: {error}") from None
    if len(found) < 2:
        raise InputError(f"group {word!r} has one prompt, {shown(found[0])}, {OBSERVED}")
    return found


def _shared(words: Sequence[str], group: np.ndarray, texts: Sequence[str]) -> list[str]:
    """What to say of prompts that another group has too, with its own word: they are not independent."""
    patterns, first = [check_target(word) for word in words], dict[str, int]()
    beside = [patterns[which].sub("\0", text) for which, text in zip(group, texts, strict=True)]
    again = sum(first.setdefault(text, which) != which for text, which in zip(beside, group, strict=True))
    if not again:
        return []
    are = "is another group's" if again == 1 else "are another group's"
    return [
        f"{again} of {len(group)} prompts {are}, but for the word: groups with prompts of their own are "
        "compared as if independent, so that distances come out too small and intervals too wide. Give the "
        "prompts of one word, and the others by instead=."
    ]


def _split(words: Sequence[str], group: np.ndarray, targets: Sequence[Sequence[Target]]) -> list[str]:
    """What to say of words that are several tokens."""
    sizes = np.array([found[0].end - found[0].start for found in targets])
    several = [repr(word) for at, word in enumerate(words) if (sizes[group == at] > 1).any()]
    if not several:
        return []
    are = "is" if len(several) == 1 else "are"
    return [
        f"{joined(several)} {are} several tokens: the first of them is followed, so that groups may differ "
        "by their tokens, too."
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
