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
SMALL_SHARE = 0.1
"""One that is smaller has one digit more in per cent."""
NEAR = 0.1
"""A ratio that is nearer to 1 has three digits."""
DIGITS = ((100, 0), (10, 1), (1, 2))
"""Behind the point, of numbers of at least a size; three of those that are smaller."""


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
    return "–" if _missing(value) else percent(value, digits + (0 < value < SMALL_SHARE))


def radians(value: float, low: float = math.nan, high: float = math.nan, digits: int = 3) -> str:
    """An angle with its interval, where there is one: `0.123 [0.121, 0.125]`; a dash where there is none."""
    return bracketed(value, low, high, digits) or "–"


def alike(
    values: Sequence[float],
    digits: int = 2,
    *,
    write: Callable[[Any, int], str] = decimal,
    marks: Sequence[float] = (0,),
) -> list[str]:
    """An estimate and its ends with the same digits behind the point: the fewest from `digits` on, at most
    `MOST_DIGITS` more, that tell most of them apart, and the ends from the `marks` they are held against.

    >>> alike([1.001, 0.996, 1.007], marks=[1]), alike([0.11, 0.1, 0.12])
    (['1.001', '0.996', '1.007'], ['0.11', '0.10', '0.12'])
    """

    def said(more: int) -> list[str]:
        return [write(one, digits + more) for one in (*values, *marks)]

    def told(more: int) -> int:
        shown = list(map(_value, said(more)))
        return len({*shown[: len(values)]}) + len({*shown[1:]})

    return said(max(range(MOST_DIGITS + 1), key=told))[: len(values)]


def with_ends(
    value: float,
    low: float,
    high: float,
    digits: int = 2,
    *,
    join: str = "–",
    write: Callable[[Any, int], str] = decimal,
    marks: Sequence[float] = (0,),
) -> tuple[str, str]:
    """A number and the ends of its interval, in the same digits (see `alike`); no ends where there are none.

    >>> with_ends(0.24, 0.238, 0.2418), with_ends(0.24, math.nan, math.nan)
    (('0.240', '0.238–0.242'), ('0.24', ''))
    """
    if not math.isfinite(low):
        return write(value, digits), ""
    said, *ends = alike([value, low, high], digits, write=write, marks=marks)
    return said, join.join(dict.fromkeys(ends))


def share_with_ends(value: float, low: float, high: float, join: str = "–") -> tuple[str, str]:
    """The same of a share of 1, in per cent.

    >>> share_with_ends(0.62, 0.58, 0.66), share_with_ends(0.004, 0.001, 0.006)
    (('62%', '58%–66%'), ('0.4%', '0.1%–0.6%'))
    """
    if not math.isfinite(low):
        return share(value), ""
    return with_ends(value, low, high, int(0 < high < SMALL_SHARE), join=join, write=percent, marks=(0, 1))


def bracketed(value: float, low: float, high: float, digits: int = 2, **how: Any) -> str:
    """The same in one text, `0.240 [0.238, 0.242]`; empty where there is no number."""
    if not math.isfinite(value):
        return ""
    said, ends = with_ends(value, low, high, digits, join=", ", **how)
    return f"{said} [{ends}]" if ends else said


def banded(
    value: float,
    low: float,
    high: float,
    digits: int = 2,
    *,
    unit: str = "",
    kind: str = "band",
    **how: Any,
) -> str:
    """The same in a sentence: `0.240 rad (95% band 0.238–0.242)`; without ends where they are withheld."""
    said, ends = with_ends(value, low, high, digits, **how)
    return f"{said}{unit}{f' (95% {kind} {ends})' if ends else ''}"


def said_of(where: Sequence[str], text: str) -> str:
    """A sentence behind what it is said of, in so many words.

    >>> said_of(["in the geometry 'centred'", "of layer 3"], "No sink at position 0.")
    "In the geometry 'centred', of layer 3, no sink at position 0."
    """
    return capitalised(", ".join([*where, text[0].lower() + text[1:]]) if where else text)


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
    return f" {capitalised(reason).rstrip('.')}." if reason else ""


def capitalised(text: str) -> str:
    """A sentence with its first letter large; the rest stays as it is.

    >>> capitalised("layers 1–3 of GPT-2")
    'Layers 1–3 of GPT-2'
    """
    return text[:1].upper() + text[1:]


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
    given = [row.get(name) for name in ("estimate", "low", "high")]
    values = [None if value is None or not math.isfinite(value) else float(value) for value in given]
    if values[0] is None:
        return "–"
    unit = str(row.get("unit") or "")
    shown = iter(_same_digits([value for value in values if value is not None], unit))
    said, *ends = ("–" if value is None else next(shown) for value in values)
    brackets = "" if ends == ["–", "–"] else f" [{', '.join(ends)}]"
    return f"{said}{brackets} {unit_text(unit)}".rstrip()


def _same_digits(values: Sequence[float], unit: str) -> list[str]:
    """An estimate and its ends, in as few digits as their size asks for."""
    largest = max(map(abs, values))
    if largest > 1 and all(value.is_integer() for value in values):
        return [number(int(value)) for value in values]
    is_share, is_ratio = unit.startswith("of "), unit.startswith("times")
    near = is_ratio and abs(values[0] - 1) < NEAR
    if (len(values) == 1 and not near) or 0 < largest < LEAST:
        return [(share if is_share else number)(value) for value in values]
    if is_share:
        return alike(values, int(0 < largest < SMALL_SHARE), write=percent, marks=(0, 1))
    digits = 3 if near else _digits(largest)
    return alike(values, digits, write=_grouped, marks=(1,) if is_ratio else (0,))


def _digits(size: float) -> int:
    return next((digits for least, digits in DIGITS if size >= least), 3)


def _grouped(value: float, digits: int) -> str:
    """With a comma between thousands."""
    return _said(f"{value:,.{digits}f}")


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
    if value == 0 or abs(value) >= 10**-digits:
        return _grouped(value, digits if abs(value) < 1 else _digits(abs(value)) + max(0, digits - 3))
    text = f"{value:.1g}" if abs(value) < LEAST else format(Decimal(f"{value:.1g}"), "f")
    return text.replace("-", "−")


def _said(text: str) -> str:
    negative_zero = text.startswith("-") and not text.strip("-0.,")
    return (text[1:] if negative_zero else text).replace("-", "−")


def _value(text: str) -> float:
    return float(text.replace("−", "-").replace(",", "").rstrip("%"))
