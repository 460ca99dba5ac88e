"""The English passages that studies measure where no texts are given."""

from functools import cache
from pathlib import Path

from laminar_lens.errors import InputError
from laminar_lens.texts.reading import read_text

KINDS = (
    *("news report", "fiction", "dialogue", "recipe", "letter", "science", "instructions", "travel"),
    *("review", "minutes", "law", "sport", "history", "code", "list", "chat"),
)
"""One after the other in the file, each of the same 30 subjects in one order."""
SUBJECTS = 30
N_PASSAGES = len(KINDS) * SUBJECTS

PASSAGES, SAMPLED = NAMED = ("passages", "sampled")
"""What `texts=` may say."""

FILE = Path(__file__).with_name("passages.txt")


@cache
def passages() -> tuple[str, ...]:
    """The 480 English passages that studies measure by default: 16 kinds of 30 subjects, kind by kind.

    >>> len(passages()), passages()[0][:31]
    (480, 'Ovens at the Harrow Lane Bakery')

    Returns:
        At least 110 words each, on one line, written for this project; no two share eight words in a row.
    """
    return tuple(read_text(FILE, "passages").splitlines())


def check_number(n_texts: int) -> int:
    """How many passages are to be measured, if there are so many.

    Raises:
        InputError: fewer than 2, or more than there are.
    """
    if n_texts < 2:
        raise InputError(
            f"n_texts is {n_texts}; at least 2 texts are needed, usually all {N_PASSAGES} passages"
        )
    if n_texts > N_PASSAGES:
        raise InputError(
            f"n_texts is {n_texts:,}, but there are {N_PASSAGES} passages: give {N_PASSAGES} or less, or "
            "texts='sampled' to let the model write as many"
        )
    return n_texts
