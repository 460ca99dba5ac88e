"""From options to what the parser wants, and back: what a number is, what a message calls an option."""

import re
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature
from typing import Annotated, Any

import typer
from rich.markup import escape

from laminar_lens.cli.requests import Request
from laminar_lens.studies.fields import Option


def whole_number(value: str | int) -> int:
    """`value` as an integer; the parser's own message does not show what was given."""
    try:
        return int(_ascii(value))
    except ValueError:
        raise typer.BadParameter(f"{value!r} is no whole number") from None


def decimal_number(value: str | float) -> float:
    """`value` as a float, likewise."""
    try:
        return float(_ascii(value))
    except ValueError:
        raise typer.BadParameter(f"{value!r} is no number") from None


def _ascii(value: object) -> str:
    """The text of a number; Python also takes the digits of other scripts, which look like other numbers, and
    1_0 for 10."""
    text = str(value)
    if not text.isascii() or "_" in text:
        raise ValueError
    return text


def signed(ask: Callable[[dict[str, Any]], Request], options: Mapping[str, Option]) -> Any:
    """A function with these options for parameters, as the parser wants it: it reads them, and asks."""

    def call(**given: Any) -> Request:
        return ask({name: one.value(given[name]) for name, one in options.items()})

    parameters = [_parameter(name, one) for name, one in options.items()]
    call.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {one.name: one.annotation for one in parameters}
    call.__doc__ = ask.__doc__
    return call


def _parameter(name: str, one: Option) -> Parameter:
    default = Parameter.empty if one.default is ... else one.default
    kind = one.kind | None if default is None else one.kind
    how: dict[str, Any] = {"metavar": one.metavar, "help": escape(one.help)}
    if one.positional:
        about: Any = typer.Argument(**how, show_default=False)
    else:
        how["parser"] = NUMBERS.get(one.kind)
        about = typer.Option(*filter(None, ("/".join(one.ways), one.short)), **how, rich_help_panel=one.panel)
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, about])


NUMBERS: dict[Any, Callable[[Any], Any]] = {int: whole_number, float: decimal_number}


def flags_of(commands: Any) -> dict[str, str]:
    """How the options of a group's commands are written, by the keyword of the library."""
    every = [one for command in commands.commands.values() for one in command.params]
    return {one.name: one.opts[0] for one in every if one.opts[0].startswith("--")}


def in_options(message: str, flags: Mapping[str, str]) -> str:
    """A message of the library with its keywords as options: `regex=True` is `--regex` here.

    >>> flags = {"occurrence": "--occurrence", "prepend_bos": "--bos"}
    >>> in_options("choose occurrence='first', 'last' or 'all', or prepend_bos=False", flags)
    'choose --occurrence first, last or all, or --no-bos'
    >>> in_options("prepend_bos is 3; expected True or False", flags)
    '--bos is 3; expected True or False'
    """
    named = "|".join(name for name in flags if "_" in name)
    message = re.sub(rf"^(?:{named})(?= (?:is|has|holds) )", lambda match: flags[match[0]], message)
    keyword = re.compile(
        rf"(?<![\w-])(?P<name>{'|'.join(flags)})="
        r"(?P<value>True|False|'[^']*'(?:, '[^']*')*(?: or '[^']*')?|-?[\w.]*)"
    )

    def option(match: re.Match[str]) -> str:
        name, value = flags[match["name"]], match["value"].replace("'", "")
        if value == "False":
            return f"--no-{name[2:]}"
        return name if value in ("", "True") else f"{name} {value}"

    return keyword.sub(option, message.replace(", positions=", ""))  # the only keyword without an option
