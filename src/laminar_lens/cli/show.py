"""The command `laminar-lens show`: parses and checks, and returns a request.

Beside its own options it takes those of the result's study, with which the study answers again from what was
measured; which these are is known when the file is read.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from laminar_lens.cli import checks
from laminar_lens.cli.options import SAID, folder
from laminar_lens.cli.parser import NUMBERS
from laminar_lens.cli.requests import ShowRequest
from laminar_lens.errors import InputError, nearest
from laminar_lens.studies.fields import OUTPUT, Option, declared, listed, named, one_of
from laminar_lens.studies.registry import study_of

FORMATS = ("svg", "png", "pdf")
UNDECLARED = {"ignore_unknown_options": True}
"""Settings of the command: options of studies are let through."""

OPTIONS = {
    "file": Option("A result that a study wrote.", "FILE", kind=str, positional=True),
    "again": Option(
        "Such as --tau 0.1: answered again from what was measured; the file stays as it is.",
        "STUDY-OPTION", kind=list[str], default=None, positional=True,
    ),
    **named(
        {
            "report": Option("Write the page again.", "PAGE.html", kind=Path, default=None, panel=OUTPUT),
            "figures": Option(
                "Write every figure into a folder; needs Chromium and Playwright.", "DIR", folder, str,
                None, panel=OUTPUT,
            ),
            "format": Option(
                f"Of the figures: {listed(FORMATS)}. Default: {FORMATS[0]}.", "NAME", one_of(*FORMATS), str,
                None, panel=OUTPUT,
            ),
        }
    ),
    **SAID,
}  # fmt: skip


def show(given: dict[str, Any]) -> ShowRequest:
    """A saved result again: its sentence, its tables and, on request, its page and figures."""
    name, options = _split([given["file"], *(given["again"] or ())])
    kind = given["format"] or FORMATS[0]
    if given["format"] and given["figures"] is None:
        raise InputError(f"--format {kind} is of figures: add --figures DIR, or leave it out")
    path = checks.readable_file(Path(name))
    if given["figures"] is not None:
        checks.writable(given["figures"], [f"{path.stem}.{kind}"], "--figures")
    page = checks.page(path, given["report"])
    return ShowRequest(path, page, given["json"], given["quiet"], options, (given["figures"], kind))


def options_again(kinds: Sequence[str], given: Mapping[str, str]) -> dict[str, Any]:
    """The options of a study and of those that it rests on, from their text, as `StudyResult.answer` takes
    them.

    Args:
        kinds: the study's, then those that it rests on.

    Raises:
        InputError: an option that does not answer this study again, or a value of the wrong kind.
    """
    every: dict[str, tuple[str, Option]] = {}
    known: dict[str, tuple[str, Option]] = {}
    for study in filter(None, map(study_of, kinds)):
        own = {one.flag: (name, one) for name, one in declared(study).items() if one.flag not in every}
        every |= own
        known |= {flag: one for flag, one in own.items() if one[0] not in study.remeasured}
    for option in given:
        if option not in every:
            raise InputError(f"{option} is no option of this result: {nearest(option, known)}")
        if option not in known:
            takes = f"takes {listed([*known])}" if known else "takes no options"
            raise InputError(
                f"{option} decides what is measured: without the model, the answer of a {kinds[0]} study "
                f"{takes}"
            )
    return {known[option][0]: _value(known[option][1], text) for option, text in given.items()}


def _split(words: Sequence[str]) -> tuple[str, dict[str, str]]:
    """FILE, and the options of a study with their values, from what the parser did not know."""
    files: list[str] = []
    options: dict[str, str] = {}
    left = iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        if not word.startswith("-") or word == "-":
            files.append(word)
        elif not word.startswith("--") or (not equals and (value := next(left, "--")).startswith("--")):
            raise InputError(
                f"{name[:80]!r} is no option of show, or lacks its value: give --report PAGE.html, --json, "
                "--quiet, or an option of the result's study, such as --tau 0.1"
            )
        elif name in options:
            raise InputError(
                f"{name[:80]} is given twice, {options[name][:40]!r} and {value[:40]!r}: give one"
            )
        else:
            options[name] = value
    if len(files) != 1:
        given = ", ".join(repr(file[:80]) for file in files) or "none"
        raise InputError(f"show takes one FILE, the .nc file that a study wrote; given: {given}")
    return files[0], options


def _value(option: Option, text: str) -> Any:
    """The value of an option."""
    try:
        return option.value(_truth(text) if option.kind is bool else NUMBERS.get(option.kind, str)(text))
    except typer.BadParameter as error:
        raise InputError(f"{option.flag}: {error.message}") from None


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise typer.BadParameter(f"{text!r} is neither true nor false")
    return text == "true"
