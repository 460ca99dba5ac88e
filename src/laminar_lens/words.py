"""Numbers as they are said: a true minus sign, no negative zero, and an interval whose ends differ."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, SupportsFloat

MOST_DIGITS = 3
"""So many more digits are given, at most, to tell the ends of an interval apart."""
LEAST = 1e-6
"""What is smaller is written with a power of ten."""


def decimal(value: SupportsFloat, digits: int = 2) -> str:
    """`0.12`, `−0.12`; what rounds to zero has no sign.

    >>> decimal(-0.004)
    '0.00'
    """
    return _said(f"{float(value):.{digits}f}")


def signed(value: SupportsFloat, digits: int = 2) -> str:
    """A difference: `+0.05`, `−0.12`; one below zero that rounds to zero has no sign."""
    return _said(f"{float(value):+.{digits}f}")


def percent(share: SupportsFloat, digits: int = 0) -> str:
    """A share of 1 in per cent.

    >>> percent(-0.00001), percent(0.003, 1), percent(0.25)
    ('0%', '0.3%', '25%')
    """
    return decimal(100 * float(share), digits) + "%"


def joined(names: Sequence[str]) -> str:
    """`a, b and c`.

    >>> joined(["a", "b", "c"]), joined(["a"])
    ('a, b and c', 'a')
    """
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def share(value: Any, digits: int = 0) -> str:
    """A share of 1 in per cent, with one more digit below a tenth; a dash where there is none.

    >>> share(0.62), share(0.0006), share(0)
    ('62%', '0.1%', '0%')
    """
    return "–" if _missing(value) else percent(value, digits + (0 < value < 0.1))


def radians(value: float, low: float = math.nan, high: float = math.nan, digits: int = 3) -> str:
    """An angle with its interval, where there is one: `0.123 [0.121, 0.125]`; a dash where there is none."""
    return bracketed(value, low, high, digits)


def bracketed(value: float, low: float, high: float, digits: int = 2, *, missing: str = "–") -> str:
    """A number with its interval, where there is one: `0.12 [0.10, 0.14]`; else what is `missing`."""
    shown = decimal(value, digits) if math.isfinite(value) else missing
    return f"{shown} [{interval(low, high, digits, join=', ')}]" if math.isfinite(low) else shown


def appended(low: float, high: float, digits: int = 2, *, kind: str = "band", **how: Any) -> str:
    """` (95% band 0.10–0.14)`, the ends as `interval` has them; empty where they are withheld."""
    return f" (95% {kind} {interval(low, high, digits, **how)})" if math.isfinite(low) else ""


def said_of(where: Sequence[str], text: str) -> str:
    """A sentence behind what it is said of, in so many words.

    >>> said_of(["in the geometry 'centred'", "of layer 3"], "No sink at position 0.")
    "In the geometry 'centred', of layer 3, no sink at position 0."
    """
    said = ", ".join([*where, text[0].lower() + text[1:]]) if where else text
    return said[0].upper() + said[1:]


def interval(
    low: SupportsFloat,
    high: SupportsFloat,
    digits: int = 2,
    *,
    join: str = "–",
    write: Callable[[Any, int], str] = decimal,
) -> str:
    """The two ends, with as many digits as tell them apart; one number where `MOST_DIGITS` more do not.

    >>> interval(0.238, 0.2418), interval(0.24, 0.24)
    ('0.238–0.242', '0.24')
    """
    for more in range(MOST_DIGITS + 1):
        ends = write(low, digits + more), write(high, digits + more)
        if _value(ends[0]) != _value(ends[1]):
            return join.join(ends)
    return write(low, digits)


def number(value: Any, digits: int = 3) -> str:
    """A number for a table: few digits, a true minus sign, a dash where there is none."""
    if _missing(value):
        return "–"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    return _number(value, digits)


def because(reason: str) -> str:
    """Why something is missing, as a sentence to append; empty if nothing is.

    >>> because("interval withheld: 12 texts")
    ' Interval withheld: 12 texts.'
    """
    return f" {reason[0].upper()}{reason[1:].rstrip('.')}." if reason else ""


def unit_text(unit: str) -> str:
    """A unit as it is said: none of what has no dimension, whose unit is "1"."""
    return "" if unit == "1" else unit


def with_unit(label: str, unit: str) -> str:
    """What an axis measures, with its unit, where it has one.

    >>> with_unit("length", "tokens"), with_unit("share", "1")
    ('length (tokens)', 'share')
    """
    return f"{label} ({unit_text(unit)})" if unit_text(unit) else label


def estimate_text(row: Mapping[str, Any]) -> str:
    """`0.13 [0.10, 0.16] rad`; only what there is, counts without decimals, and no unit "1".

    A unit that begins with "of" is what shares are of: `62% [58%, 66%] of texts`.
    """
    values = [row.get(name) for name in ("estimate", "low", "high")]
    known = [float(value) for value in values if value is not None and math.isfinite(value)]
    if known and all(value.is_integer() for value in known) and max(map(abs, known)) > 1:
        values = [None if value is None or not math.isfinite(value) else int(value) for value in values]
    unit = row.get("unit") or ""
    write, digits = (share, 0) if unit.startswith("of ") else (number, 3)
    estimate, low, high = (write(value, digits) for value in values)
    if estimate == "–":
        return "–"
    ends = "" if low == high == "–" else f" [{low}, {high}]"
    if low == high != "–" and isinstance(values[1], float) and isinstance(values[2], float):
        ends = f" [{interval(values[1], values[2], digits, join=', ', write=write)}]"
    return f"{estimate}{ends} {unit_text(unit)}".rstrip()


def estimate(value: object, low: object = None, high: object = None, unit: str = "") -> str:
    """The same of numbers: `0.13 [0.10, 0.16] rad`."""
    return estimate_text({"estimate": value, "low": low, "high": high, "unit": unit})


def neutral(message: str, names: Iterable[str]) -> str:
    """A message in words that fit Python and the command line: keywords of these names without their syntax.

    >>> neutral("give a greater length=, or texts='sampled', or warmup=False", ["length", "texts", "warmup"])
    'give a greater length, or texts sampled, or no warmup'
    """
    value = r"True|False|'[^']*'|-?\w+(?:\.\w+)*|"
    keyword = re.compile(rf"\w\([^()]*\)|(?<![\w-])(?P<name>{'|'.join(names)})=(?P<value>{value})")

    def said(match: re.Match[str]) -> str:
        if match["name"] is None:  # a call, such as the label of an intervention
            return match[0]
        name, given = match["name"].replace("_", " "), match["value"].strip("'")
        if given == "False":
            return f"no {name}"
        return name if given in ("", "True") else f"{name} {given}"

    return keyword.sub(said, message)


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _number(value: float, digits: int) -> str:
    more = max(0, digits - 3)
    if abs(value) >= 100:
        text = f"{value:,.{more}f}"
    elif value != 0 and abs(value) < 10**-digits:
        text = f"{value:.1g}" if abs(value) < LEAST else format(Decimal(f"{value:.1g}"), "f")
    else:
        return decimal(value, digits if abs(value) < 1 else more + 2 if abs(value) < 10 else more + 1)
    return text.replace("-", "−")


def _said(text: str) -> str:
    negative_zero = text.startswith("-") and not float(text)
    return (text[1:] if negative_zero else text).replace("-", "−")


def _value(text: str) -> float:
    return float(text.replace("−", "-").replace(",", "").rstrip("%"))
