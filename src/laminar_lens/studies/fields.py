"""What a field of a study is as an option: its words, and how what is given is read.

Nothing heavy is imported here, so that a command is built, and a mistake answered, at once.
"""

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from laminar_lens.arguments import LARGEST, MOST_DRAWS
from laminar_lens.errors import InputError

MODEL, TEXT, MEASURE, OUTPUT = "Model", "Text", "Measurement", "Output"
"""Headings of a command's help."""

Read = Callable[[str, Any], Any]
"""Called as (option, value) with what was given; returns what is meant, and refuses the rest."""

_KEY = "laminar_lens"


@dataclass(frozen=True)
class Option:
    """One option of a command.

    Attributes:
        help: the line that `--help` shows.
        metavar: what its value is called there.
        read: what is made of a value that was given.
        kind: of the value that `read` gets; the field's own type by default.
        default: where it is not given, if not the field's; ... where it must be given.
        flag: how it is written; --the-field by default.
        panel: heading under which `--help` shows it.
        negated: of a bool, whether there is a --no-… beside it.
        short: its one letter, if it has one.
        positional: whether it stands without a name.
    """

    help: str = ""
    metavar: str | None = None
    read: Read | None = None
    kind: Any = None
    default: Any = ...
    flag: str = ""
    panel: str = MEASURE
    negated: bool = True
    short: str = ""
    positional: bool = False

    @property
    def ways(self) -> list[str]:
        """How it can be written: of a bool, also its opposite."""
        return [self.flag, *([f"--no-{self.flag[2:]}"] if self.kind is bool and self.negated else [])]

    def value(self, given: object) -> Any:
        """What is meant; None, the study's own default, where nothing was given."""
        return given if given is None or self.read is None else self.read(self.flag, given)


def option(
    default: Any, /, help: str, metavar: str | None = None, read: Read | None = None, **how: Any
) -> Any:
    """A dataclass field that says what it is as an option; see `Option`."""
    return field(default=default, metadata={_KEY: Option(help, metavar, read, **how)})


def no_option(default: Any, reason: str) -> Any:
    """A dataclass field that no command line gives, and why."""
    return field(default=default, metadata={_KEY: reason})


def switch(help: str, panel: str = MEASURE, short: str = "") -> Option:
    """What is off without it."""
    return Option(help, kind=bool, default=False, panel=panel, negated=False, short=short)


def declared(of: object) -> dict[str, Option]:
    """The options of a dataclass: what its fields declare, else what their types tell."""
    return {name: one for name, one in _told(of).items() if isinstance(one, Option)}


def left_out(of: object) -> dict[str, str]:
    """The fields that are no option, and why."""
    return {name: one for name, one in _told(of).items() if isinstance(one, str)}


def needed(of: Any) -> list[str]:
    """The fields that have no default."""
    return [one.name for one in fields(of) if one.default is one.default_factory is MISSING]


def named(options: Mapping[str, Option]) -> dict[str, Option]:
    """Options with how they are written."""
    return {
        name: replace(one, flag=one.flag or f"--{name.replace('_', '-')}") for name, one in options.items()
    }


def _told(of: Any) -> dict[str, Option | str]:
    try:
        hints = get_type_hints(of)
    except Exception:  # names that only a type checker knows
        hints = {}
    found = {one.name: _field(one, hints.get(one.name)) for one in fields(of) if one.init}
    return found | named({name: one for name, one in found.items() if isinstance(one, Option)})


def _field(one: Field[Any], hint: Any) -> Option | str:
    said: Option | str | None = one.metadata.get(_KEY)
    if isinstance(said, str):
        return said
    default = ... if one.default is MISSING else one.default
    default = default if one.default_factory is MISSING else one.default_factory()
    plain = _plain(hint)
    if said is None:
        return _by_type(plain, default) or f"no text gives {getattr(plain, '__name__', None) or plain}"
    kept = default if said.default is ... else said.default
    kind = said.kind or (plain if plain in _METAVARS else str)
    metavar, read = said.metavar or _METAVARS.get(kind), said.read or _READ.get(kind)
    return replace(said, kind=kind, metavar=metavar, read=read, default=kept)


def _plain(hint: Any) -> Any:
    """A type without None beside it."""
    some = [one for one in get_args(hint) if one is not NoneType]
    return some[0] if get_origin(hint) in (Union, UnionType) and len(some) == 1 else hint


def _by_type(kind: object, default: Any) -> Option | None:
    """The option of a field that declares none; None where no text gives its type."""
    if kind in _METAVARS:
        return Option(metavar=_METAVARS[kind], read=_READ.get(kind), kind=kind, default=default)
    if get_origin(kind) is Literal:
        by_text = {str(one): one for one in get_args(kind)}
        shown = default if default in (..., None) else str(default)
        names = ", ".join(by_text)
        return Option(
            f"One of {names}.",
            "NAME",
            lambda flag, text: by_text[choice(flag, text, list(by_text))],
            kind=str,
            default=shown,
        )
    if kind == tuple[int, ...]:
        shown = default if default in (..., None) else ",".join(map(str, default))
        return Option("For example 1,3,8.", "LIST", _wholes, kind=str, default=shown)
    return None


def choice(flag: str, value: str, allowed: Sequence[str]) -> str:
    """`value` if it is one of `allowed`; InputError with the near match otherwise."""
    if value in allowed:
        return value
    near = difflib.get_close_matches(value.lower().replace("-", "_"), allowed, n=1, cutoff=0.5)
    guess = f"did you mean {near[0]}? " if near else ""
    raise InputError(f"{flag} {value!r} is unknown: {guess}choose from {', '.join(allowed)}")


def listed(names: Sequence[str]) -> str:
    """`a, b or c`."""
    return " or ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def one_of(*allowed: str) -> Read:
    """Reads one of several names."""
    return lambda flag, value: choice(flag, value, allowed)


def at_least(flag: str, value: int, minimum: int, most: int = LARGEST) -> int:
    """`value` if it is `minimum` or more, and no more than `most`."""
    if value < minimum:
        raise InputError(f"{flag} {value} is too small: give {minimum} or more")
    if value > most:
        raise InputError(f"{flag} {value} is too large: give {most} or less")
    return value


def between(minimum: int, most: int) -> Read:
    """Reads a whole number from `minimum` to `most`."""
    return lambda flag, value: at_least(flag, value, minimum, most)


def tolerance(flag: str, value: float) -> float:
    """A tolerance in radians: finite, above 0, below π."""
    if not (math.isfinite(value) and 0 < value < math.pi):
        raise InputError(
            f"{flag} {value} is no angle to compare with: give radians between 0 and π, for example 0.05"
        )
    return value


def _finite(flag: str, value: float) -> float:
    if not math.isfinite(value):
        raise InputError(f"{flag} {value} is no finite number: give another, for example 0.5")
    return value


def _wholes(flag: str, text: str) -> tuple[int, ...]:
    """`"1,3,8"` as (1, 3, 8), in the order given; an empty text as none."""
    parts = text.split(",") if text else []
    for part in parts:
        digits = part.strip(" ").removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) < len(str(LARGEST))):
            raise InputError(f"{flag} {text!r}: {part!r} is no whole number; write for example 1,3,8")
    return tuple(map(int, parts))


_METAVARS: dict[Any, str | None] = {bool: None, int: "N", float: "X", str: "TEXT"}
_READ: dict[Any, Read] = {int: between(-LARGEST, LARGEST), float: _finite}

TAU = ("Angles closer than this to the reference are alike, in radians.", "RAD", tolerance)
"""A tolerance is the same option in every study."""
N_PERM = ("Sign flips of each test.", "N", between(1, MOST_DRAWS))
"""So is the number of sign flips."""


def check_flips(n_perm: int) -> None:
    """Refuses a test without a sign flip."""
    if n_perm < 1:
        raise InputError(f"n_perm={n_perm} draws no sign flip: give at least 1, usually 10000")
