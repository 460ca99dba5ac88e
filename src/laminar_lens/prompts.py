"""The 54 sentences, prompts read from files, and the tokens of a target inside a prompt.

Nothing here needs torch: arguments are checked before anything heavy is imported.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from laminar_lens.arguments import characters, checked, shown
from laminar_lens.errors import InputError, a_kind
from laminar_lens.texts.files import read_texts
from laminar_lens.texts.tokenization import Tokenizer, token_offsets

OCCURRENCES: tuple[str, ...] = ("error", "first", "last", "all")
"""What to do where a target occurs more than once in a prompt."""

_HER = """\
They promoted her last spring.
Everyone admired her for it.
Nobody believed her at first.
Rain delayed her by an hour.
We invited her to the wedding.
Peter thanked her and left.
I called her before breakfast.
Somebody warned her about the ice.
Music comforted her that evening.
You frightened her with that story.
He married her in June.
Snow kept her indoors.
Sleep overtook her on the train.
The council elected her by two votes.
My brother met her on the ferry.
The nurse woke her at six.
Two strangers helped her across the road.
The news surprised her very much.
A neighbour found her asleep in the garden.
The judge asked her to repeat the answer.
Our teacher chose her for the leading part.
The dog followed her down to the river.
His letter reached her in the autumn.
The mayor greeted her on the steps.
No one told her the truth.
Both doctors advised her to rest.
The crowd cheered her all the way home.
Mr. Lane paid her in silver.
The whole village loved her like a daughter.
The old captain trusted her with the map.
The children always teased her about the hat.
This time Anna answered her at once.
The two boys watched her from the wall.
At last somebody noticed her by the door.
Every night he drove her to the theatre.
The long climb tired her more than she expected.
My little cousin often visits her on Sundays.
The cold wind made her shiver.
In the end Maria forgave her completely.
By noon the guards released her without a word.
Last year the company sent her to Madrid.
On the stairs Edward stopped her with a question.
The man in grey followed her into the shop.
Before the race the coach gave her some water.
After the concert a stranger handed her a rose.
During the storm an old sailor carried her ashore.
When the music stopped, Daniel kissed her on the cheek.
If the manager had asked, we would have defended her gladly.
As soon as the boat landed, the officers questioned her.
Because the road was dark, Martin walked her to the gate.
It was many years before the family understood her.
Late in the evening, when the guests had gone, he joined her outside.
The people who lived beside the church never forgot her or the song.
Though the work was hard and the pay was poor, it suited her well.
"""


class Target(NamedTuple):
    """Token positions `start` … `end − 1` of one occurrence, counted from the text's first token (no BOS)."""

    start: int
    end: int


HER = "her"
"""How the built-in prompts are called."""


def her_prompts() -> tuple[str, ...]:
    """The 54 sentences of the experiment: " her" once in each, directly after a verb.

    >>> len(her_prompts()), her_prompts()[0]
    (54, 'They promoted her last spring.')

    Returns:
        Our own sentences in the form of the original's: ASCII, none repeated, 5 to 24 tokens under GPT-2's
        tokenizer and novella's, and " her" never among the first two tokens, so that no target pair contains
        position 0.

    Source: the protocol's form is that of the original study; the sentences are not.
    """
    return tuple(_HER.splitlines())


def check_prompts(prompts: object) -> tuple[str, ...]:
    """The prompts as a tuple; one string counts as one prompt.

    Raises:
        InputError: none given, something that is not a string, or a blank prompt (its index is named).
    """
    if isinstance(prompts, str):
        prompts = (prompts,)
    if not isinstance(prompts, Sequence):
        raise InputError(f"prompts is {a_kind(prompts)}: expected a sequence of strings")
    if not prompts:
        raise InputError("prompts is empty: give at least one text")
    for index, prompt in enumerate(prompts):
        if not isinstance(prompt, str):
            raise InputError(f"prompt {index} is {a_kind(prompt)}: expected a string")
        if not prompt.strip():
            raise InputError(f"prompt {index} is blank ({prompt!r}): remove it or fill it in")
        characters(f"prompt {index}", prompt)
    return tuple(prompts)


@checked()
def read_prompts(path: object) -> tuple[str, ...]:
    """The prompts of a text file, one a line, exactly as written (line ends removed, and a byte-order mark at
    the beginning of a line: one stands there where files were joined), or of another file that `texts=` takes
    in `warmup_study`.

    Raises:
        InputError: missing, unreadable, no regular file, empty, not UTF-8 (the byte offset is named), or a
            blank line (its number is named).
    """
    found = read_texts(path, "prompts file", "prompt")
    if found.blank:
        raise InputError(f"prompts file {str(path)!r} has {found.blank} blank prompts: remove them")
    return found.texts


def token_spans(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Token ids of a text without special tokens, and the characters [start, end) that each stands for.

    A fast tokenizer gives the map itself; a slow one is asked by decoding ever longer prefixes.

    Raises:
        InputError: the decoded tokens do not give the text back, so that no map exists.
    """
    ids, offsets = token_offsets(tokenizer, text)
    if offsets is not None:
        return ids, offsets
    whole = _decode(tokenizer, ids)
    lost = len(text) - len(text.lstrip()) if not text.startswith(whole) else 0
    if text[lost:] != whole:
        raise InputError(
            f"tokens of {text!r} decode to {whole!r}: a slow tokenizer must return the text for a target to "
            "be found; use a fast one"
        )
    ends = [lost + _agreeing(text[lost:], _decode(tokenizer, ids[: k + 1])) for k in range(len(ids))]
    return ids, list(zip([0, *ends[:-1]], ends, strict=True))


def find_target(
    tokenizer: Tokenizer, text: str, target: str, occurrence: str = "error", regex: bool = False
) -> list[Target]:
    """Where a target stands among a text's tokens.

    A plain target is met as whole words (" her" is not in " here") and must cover whole tokens. A regular
    expression takes every token that its match touches.

    Args:
        tokenizer: of Hugging Face's kind, fast or slow.
        occurrence: "error" wants exactly one; "first", "last" and "all" choose among several.

    Returns:
        At least one `Target`, from left to right.

    Raises:
        InputError: no occurrence, several with "error", a target that cuts a token, an unknown `occurrence`,
            an empty target or a wrong regular expression.
    """
    found = _occurrences(tokenizer, text, check_target(target, occurrence, regex), target, regex)
    if not found:
        raise InputError(f"target {target!r} does not occur in {text!r}: change the target or the prompt")
    return _chosen(found, text, target, occurrence)


def find_targets(
    tokenizer: Tokenizer, prompts: Sequence[str], target: str, occurrence: str = "error", regex: bool = False
) -> list[list[Target]]:
    """`find_target` for every prompt; all prompts that lack the target are reported at once.

    Raises:
        InputError: as `find_target`; prompts without the target are counted and named.
    """
    pattern = check_target(target, occurrence, regex)
    found = [_occurrences(tokenizer, text, pattern, target, regex) for text in prompts]
    absent = [index for index, targets in enumerate(found) if not targets]
    if len(absent) == len(prompts):
        raise InputError(
            f"target {target!r} occurs in none of the {len(prompts)} prompts: change the target (a leading "
            "space counts)"
        )
    if absent:
        named = ", ".join(map(str, absent[:10])) + (", …" if len(absent) > 10 else "")
        raise InputError(
            f"target {target!r} is absent in {len(absent)} of {len(prompts)} prompts (index {named}; the "
            f"first is {prompts[absent[0]]!r}): remove them or change the target"
        )
    return [_chosen(targets, text, target, occurrence) for targets, text in zip(found, prompts, strict=True)]


def check_target(target: str, occurrence: str = "error", regex: bool = False) -> re.Pattern[str]:
    """The pattern that finds a target in a text, once its arguments make sense.

    Raises:
        InputError: an empty target, a wrong regular expression, an unknown `occurrence`.
    """
    if not isinstance(occurrence, str) or occurrence not in OCCURRENCES:
        raise InputError(f"occurrence {shown(occurrence)} is unknown: use one of {', '.join(OCCURRENCES)}")
    if not isinstance(target, str):
        raise InputError(f"target {shown(target)} is {a_kind(target)}: give a text, such as ' her'")
    if not target.strip():
        raise InputError(f"target {target!r} is blank: give the text to look for, such as ' her'")
    if regex:
        try:
            return re.compile(target)
        except (re.error, OverflowError, RecursionError) as error:
            raise InputError(f"target {target!r} is not a regular expression: {error}") from None
    before = r"(?<!\w)" if re.match(r"\w", target) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", target) else ""
    return re.compile(before + re.escape(target) + after)


def _occurrences(
    tokenizer: Tokenizer, text: str, pattern: re.Pattern[str], target: str, regex: bool
) -> list[Target]:
    matches = [match.span() for match in pattern.finditer(text)]
    if not matches:
        return []
    _, spans = token_spans(tokenizer, text)
    found = []
    for match in matches:
        if match[0] == match[1]:
            raise InputError(
                f"target {target!r} matches nothing at character {match[0]} of {text!r}: widen it"
            )
        start, end = trimmed(text, match)
        touched = [k for k, span in enumerate(spans) if _overlap(trimmed(text, span), (start, end))]
        if not touched:
            raise InputError(
                f"target {target!r} matches only white space at character {start} of {text!r}: widen it"
            )
        first, last = touched[0], touched[-1]
        cut = trimmed(text, spans[first])[0] < start or trimmed(text, spans[last])[1] > end
        if cut and not regex:
            piece = text[spans[first][0] : spans[last][1]]
            raise InputError(
                f"target {target!r} cuts the tokens of {piece!r} in {text!r}: use regex=True to take "
                "whole tokens"
            )
        found.append(Target(first, last + 1))
    return list(dict.fromkeys(found))  # several matches inside one token are one occurrence


def _chosen(found: list[Target], text: str, target: str, occurrence: str) -> list[Target]:
    if occurrence == "error" and len(found) > 1:
        raise InputError(
            f"target {target!r} occurs {len(found)} times in {text!r}: choose occurrence='first', "
            "'last' or 'all'"
        )
    return {"first": found[:1], "last": found[-1:]}.get(occurrence, found)


def trimmed(text: str, span: tuple[int, int]) -> tuple[int, int]:
    """The span without white space at its ends: tokenizers differ on whose the space is."""
    piece = text[span[0] : span[1]]
    if not piece.strip():
        return span
    return span[0] + len(piece) - len(piece.lstrip()), span[1] - len(piece) + len(piece.rstrip())


def _overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return max(a[0], b[0]) < min(a[1], b[1])


def _decode(tokenizer: Tokenizer, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def _agreeing(text: str, prefix: str) -> int:
    """Length of the common beginning: half a character decodes to a replacement mark."""
    pairs: Iterator[tuple[str, str]] = zip(text, prefix, strict=False)
    return next((k for k, (a, b) in enumerate(pairs) if a != b), min(len(text), len(prefix)))
