"""The commands of studies, each made from the fields of its study and from what it shares with others."""

import re
from functools import cache
from inspect import cleandoc
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from laminar_lens.cli import checks, preflight
from laminar_lens.cli.options import (
    LOADED,
    OUT,
    PROMPTS,
    SAID,
    TEXTS,
    WHICH,
    model_choice,
    output_files,
    those_of,
)
from laminar_lens.cli.parser import signed
from laminar_lens.cli.requests import StudyRequest
from laminar_lens.cli.unimported import about
from laminar_lens.errors import InputError
from laminar_lens.studies.command import command_of
from laminar_lens.studies.fields import Option, declared, left_out, needed
from laminar_lens.studies.options import Options, shared
from laminar_lens.studies.registry import STUDIES
from laminar_lens.studies.study import Study
from laminar_lens.words import joined


class Commands(TyperGroup):
    """Every command: of studies, the package's own and those of other packages, and the rest.

    What another package brings is imported when its command is run, so that nothing else waits for it, or
    fails with it.
    """

    def __init__(self, *, commands: Any = None, **how: Any) -> None:
        studies = {name: _command(name) for name in STUDIES.names()}
        super().__init__(commands={**studies, **commands}, **how)
        self._others = [name for name in studies if name not in STUDIES.shipped and name not in commands]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As of any group."""
        if args[0] in self._others:
            self.commands[args[0]] = _foreign(args[0])
        return super().resolve_command(ctx, args)


def _command(name: str) -> Any:
    """The command of a study; of another package's only its name, and what it says of itself."""
    if name in STUDIES.shipped:
        return _shipped(name)
    known, source = STUDIES.find(name), STUDIES.source(name)
    said = about(source) if known is None else _written(known).partition("\n")[0]
    return parsed(name, lambda: None, f"{said} ({source})" if said else f"A study of {source}.")


@cache
def _shipped(name: str) -> Any:
    """The command of one of the package's own, which does not change; all are made for each command line."""
    return study_command(STUDIES.get(name))


def _foreign(name: str) -> Any:
    """The command of another package's study; InputError for whatever keeps it from being one."""
    study = STUDIES.get(name)
    try:
        return study_command(study)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"study {name!r} has no command: {type(error).__name__}: {error}") from error


def parsed(name: str, call: Any, help: str, epilog: str = "") -> Any:
    """A command that calls a signed function."""
    alone = typer.Typer(add_completion=False)
    alone.command(name, help=escape(help), epilog=escape(epilog) or None)(call)
    return typer.main.get_command(alone)


def study_command(study: type[Study]) -> Any:
    """The command of a study.

    Raises:
        InputError: a field that has the name of another option, or that must be given and is none.
    """
    options = options_of(study)

    def ask(given: dict[str, Any]) -> StudyRequest:
        return asked(study, given)

    help = f"{_written(study)}\n\nWrites {study.kind}.nc and {study.kind}.html into --out."
    return parsed(study.kind, signed(ask, options), help, _epilog(study))


def _written(study: type[Study]) -> str:
    """What a study says of itself: its documentation up to its fields, each paragraph on a line, or its
    title."""
    written = cleandoc(study.__doc__ or "").partition("\nAttributes:")[0].strip()
    automatic = written.startswith(f"{study.__name__}(")  # what a dataclass says of itself
    return study.title if automatic else re.sub(r"(?<!\n)\n(?=\w)", " ", written) or study.title


def options_of(study: type[Study]) -> dict[str, Option]:
    """All that a study's command takes, in the order of its help."""
    texts = PROMPTS if "n_texts" in study.without else TEXTS
    parts = (WHICH, texts, declared(study), command_of(study).own, shared(study), LOADED, OUT, SAID)
    every = [(name, one) for part in parts for name, one in part.items()]
    taken = ["--help", *(name for name, _ in every), *(way for _, one in every for way in one.ways)]
    if twice := next((name for name in taken if taken.count(name) > 1), None):
        raise InputError(f"study {study.kind!r} has no command: it has {twice!r} twice; rename its field")
    for name, reason in left_out(study).items():
        if name in needed(study):
            raise InputError(
                f"study {study.kind!r} has no command: its field {name!r} has no default, and {reason}"
            )
    return dict(every)


def asked(study: type[Study], given: dict[str, Any], stem: str = "") -> StudyRequest:
    """What is asked of a study, checked; files are called `stem`, or else as the study."""
    does, texts, name = command_of(study), given.get("texts"), None
    if "n_texts" in study.without:
        prompts = given["prompts"] or checks.prompts(None)
        texts, name = prompts.groups or prompts.texts, prompts.name
        if prompts.groups and not study.in_groups:
            raise InputError(
                f"--prompts {name!r} has prompts in groups, which {study.kind} does not take: give one list"
            )
    own = those_of(does.own, given)
    ends = ("nc", "html", "grid.csv") if own.get("grid") else ("nc", "html")
    request = StudyRequest(
        study(**those_of(declared(study), given)),
        texts,
        those_of(shared(study), given),
        own,
        model_choice(given),
        output_files(given, [f"{stem or study.kind}.{end}" for end in ends]),
        name,
    )
    does.check(request)
    preflight.check_study(request, does)
    return request


def _epilog(study: type[Study]) -> str:
    """What is said of fields and shared options that its command does not have."""
    left, has = {**left_out(study), **left_out(Options)}, options_of(study)
    parts = {
        "Not on the command line": {name: left[name] for name in left if name not in study.without},
        "Not in this study": {
            one.flag: study.without[name]
            for name, one in declared(Options).items()
            if name in study.without and name not in has
        },
    }
    said = {title: ", ".join(f"{name} ({why})" for name, why in of.items()) for title, of in parts.items()}
    return " ".join(f"{title}: {names}." for title, names in said.items() if names)


def why_not(kind: str, flag: str) -> str:
    """Why the command of a shipped study lacks an option that others have; empty where nothing is said."""
    study = STUDIES.get(kind) if kind in STUDIES.shipped else None
    if study is None or _has(study, flag):
        return ""
    found = [name for name, one in declared(Options).items() if flag in one.ways]
    if reason := next((study.without[name] for name in found if name in study.without), ""):
        return reason
    for other, what in (("--texts", "prompts"), ("--prompts", "texts")):
        if flag == other:
            return f"it measures {what}, give --{what} FILE"
    others = [name for name in STUDIES.shipped if _has(STUDIES.get(name), flag)]
    return f"it is an option of {joined(others)}" if others else ""


def _has(study: type[Study], flag: str) -> bool:
    return any(flag in one.ways for one in options_of(study).values())
