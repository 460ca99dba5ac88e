"""Text of others, made harmless to look at: control characters are shown, never sent to a terminal."""

import unicodedata

LONGEST_WORD = 400  # characters of one value in a line about it; the middle of a longer one is left out


def printable(text: object) -> str:
    r"""`text` on one line, whose control characters are seen and do nothing.

    Everything that Unicode calls a control, a format character (the bidirectional overrides), a line end or
    unassigned is written as an escape; letters, marks, symbols and spaces of any language stay.

    >>> printable("red \x1b[31m, left \u202e, line\n, and 東京 ✓")
    'red \\x1b[31m, left \\u202e, line\\n, and 東京 ✓'
    """
    plain = str(text)
    if plain.isprintable():
        return plain
    return "".join(
        letter if letter.isprintable() or unicodedata.category(letter) == "Zs" else ascii(letter)[1:-1]
        for letter in plain
    )


def one_line(message: object) -> str:
    """A message in one printable line; a value of thousands of letters keeps its two ends.

    >>> one_line("first\\n  second")
    'first second'
    """
    return " ".join(printable(_shortened(word)) for word in str(message).split())


def _shortened(word: str) -> str:
    if len(word) <= LONGEST_WORD:
        return word
    half = LONGEST_WORD // 2
    return f"{word[:half]}…({len(word) - 2 * half:,} letters more)…{word[-half:]}"
