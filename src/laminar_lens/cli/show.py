"""The command `laminar-lens show`: parses and checks, and returns a request.

Beside its own options it takes those of the result's study, with which the study answers again from what was
measured; which these are is known when the file is read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from laminar_lens.cli import checks
from laminar_lens.cli import options as opt
from laminar_lens.cli.requests import Request, ShowRequest
from laminar_lens.errors import InputError

UNDECLARED = {"ignore_unknown_options": True}
"""Settings of the command: options of studies are let through."""


def show(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A result that a study wrote.", show_default=False)
    ],
    again: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="STUDY-OPTION",
            help="Such as --tau 0.1: answered again from what was measured; the file stays as it is.",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="PAGE.html", help="Write the page again.", show_default=False)
    ] = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> Request:
    """A saved result again: its sentence, its tables and, on request, its page."""
    name, options = _split([file, *(again or ())])
    path = checks.readable_file(Path(name))
    return ShowRequest(path, checks.page(path, report), json, quiet, options)


def options_again(kind: str, given: Mapping[str, str]) -> dict[str, Any]:
    """The options of a study from their text, as `StudyResult.answer` takes them.

    Raises:
        InputError: an option that does not answer this study again, or a value of the wrong kind.
    """
    from laminar_lens.studies.registry import study_of

    study = study_of(kind)
    names = [] if study is None else [one.name for one in fields(study) if one.name not in study.remeasured]
    known = {f"--{name.replace('_', '-')}": name for name in names}
    for option in given:
        if option not in known:
            has = f"has {', '.join(known)}" if known else "cannot be answered again with other options"
            raise InputError(f"{option} is no option to show this result with: a {kind} result {has}")
    types = get_type_hints(study) if given else {}
    return {known[option]: _value(option, text, types[known[option]]) for option, text in given.items()}


def _split(words: Sequence[str]) -> tuple[str, dict[str, str]]:
    """FILE, and the options of a study with their values, from what the parser did not know."""
    files, options, left = [], {}, iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        if not word.startswith("-") or word == "-":
            files.append(word)
        elif not word.startswith("--") or (not equals and (value := next(left, "--")).startswith("--")):
            raise InputError(
                f"{name[:80]!r} is no option of show, or lacks its value: give --report PAGE.html, --json, "
                "--quiet, or an option of the result's study, such as --tau 0.1"
            )
        else:
            options[name] = value
    if len(files) != 1:
        given = ", ".join(repr(file[:80]) for file in files) or "none"
        raise InputError(f"show takes one FILE, the .nc file that a study wrote; given: {given}")
    return files[0], options


def _value(option: str, text: str, kind: Any) -> Any:
    """The value of an option; what is no number and no truth stays text."""
    plain = next((one for one in (*get_args(kind), kind) if one in _READ), str)
    try:
        return _READ[plain](text)
    except typer.BadParameter as error:
        raise InputError(f"{option}: {error.message}") from None


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise typer.BadParameter(f"{text!r} is neither true nor false")
    return text == "true"


_READ: dict[Any, Any] = {float: opt.decimal_number, int: opt.whole_number, bool: _truth, str: str}
