"""The command `laminar-lens compare STUDY MODEL MODEL …`: one study on several models, in one page."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typer.core import TyperGroup

from laminar_lens.cli import checks
from laminar_lens.cli.commands import asked, options_of, parsed
from laminar_lens.cli.options import WHICH, output_files
from laminar_lens.cli.parser import signed
from laminar_lens.cli.requests import CompareRequest, StudyRequest
from laminar_lens.errors import InputError
from laminar_lens.studies.fields import MODEL, Option
from laminar_lens.studies.registry import STUDIES
from laminar_lens.studies.study import Study

HELP = (
    "One study on several models or checkpoints, along a common depth.\n\n"
    "For example: laminar-lens compare STUDY novella smollm2 ./mine"
)
ENDS = ("nc", "html")
STEM = "compare"
STATE = "@"
"""Before a checkpoint's step or a revision's name."""
OF_ONE = {
    "model": "models stand side by side, such as novella ./mine",
    "revision": f"give NAME{STATE}REVISION for a model",
    "checkpoint": f"give NAME{STATE}STEP for a model",
    "grid": "it is of one model, run the study with it",
}
"""Options that belong to one model, and what is given in their place."""


def why_not_compared(flag: str) -> str:
    """Why the comparison of a study lacks an option that the study has; empty where nothing is said."""
    return OF_ONE.get(flag.removeprefix("--"), "")


class Compare(TyperGroup):
    """A command for every study, made when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The package's own: those of others are not imported for a list."""
        return list(STUDIES.shipped)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The comparison of a study; None where there is no such study."""
        return compare_command(STUDIES.get(cmd_name)) if cmd_name in STUDIES else None


def compare_command(study: type[Study]) -> Any:
    """The command that compares a study's results on several models."""
    options = {name: one for name, one in options_of(study).items() if name not in OF_ONE}
    models = Option(
        f"At least two models as of --model, NAME{STATE}STEP for a checkpoint of training, "
        f"NAME{STATE}REVISION for a branch or commit, or .nc files of results of this study.",
        "MODEL|FILE.nc",
        kind=list[str],
        default=...,
        panel=MODEL,
        positional=True,
    )

    def ask(given: dict[str, Any]) -> CompareRequest:
        return _request(study, given)

    help = (
        f"{study.title or study.kind}: the same on several models, side by side.\n\n"
        f"Writes {study.kind}-MODEL.nc of each, {STEM}-{study.kind}.nc and {STEM}-{study.kind}.html into "
        "--out."
    )
    return parsed(study.kind, signed(ask, {"models": models, **options}), help)


def _request(study: type[Study], given: dict[str, Any]) -> CompareRequest:
    """What is compared, checked before anything is run."""
    names = list(given.pop("models"))
    if len(names) < 2:
        raise InputError(f"compare {study.kind} {names[0]!r} is one model: give at least two to compare")
    labels = _labels(names)
    parts = {label: _part(study, name, label, given) for name, label in zip(names, labels, strict=True)}
    stem = f"{STEM}-{study.kind}"
    output = output_files(given, [f"{stem}.{end}" for end in ENDS])
    run = [f"{study.kind}-{label}" for label, part in parts.items() if not isinstance(part, Path)]
    _check_kept(parts, [output.folder / f"{name}.nc" for name in (*run, stem)])
    return CompareRequest(study.kind, parts, output, stem)


def _check_kept(parts: Mapping[str, StudyRequest | Path], made: list[Path]) -> None:
    """Refuses a file that is read and would be replaced by one that is made."""
    replaced = {os.path.realpath(path) for path in made}
    for part in parts.values():
        if isinstance(part, Path) and os.path.realpath(part) in replaced:
            raise InputError(
                f"{str(part)!r} is to be compared and would be replaced by a result: give another --out"
            )


def _part(study: type[Study], name: str, label: str, given: dict[str, Any]) -> StudyRequest | Path:
    """A run of the study, or the file of one."""
    if name.endswith(".nc"):
        return checks.readable_file(Path(name))
    model, state = _split(name)
    which = {**dict.fromkeys(OF_ONE), "model": WHICH["model"].value(model)}
    if state:
        which |= {"checkpoint": int(state)} if state.isdigit() and state.isascii() else {"revision": state}
    try:
        return asked(study, {**which, **given}, stem=f"{study.kind}-{label}")
    except InputError as error:
        raise InputError(f"{name!r}: {error}" if state else str(error)) from None


def _split(name: str) -> tuple[str, str]:
    """A model and its state; a path that there is has none."""
    model, found, state = name.rpartition(STATE)
    return (model, state) if found and model and state and not Path(name).exists() else (name, "")


def _labels(names: list[str]) -> list[str]:
    """What each is called on the page and in file names: see `_label`, and its place where two are alike.

    >>> _labels(["a/x", "b/x", "c/y.nc", "org/z@refs/pr/3"])
    ['x-1', 'x-2', 'y', 'z@refs_pr_3']
    """
    found = [_label(name) for name in names]
    while len(set(found)) < len(found):  # a place may make what another is called
        found = [one if found.count(one) == 1 else f"{one}-{row}" for row, one in enumerate(found, 1)]
    return found


def _label(name: str) -> str:
    """The last part of a model's name, with its state."""
    model, state = _split(name)
    last = Path(model).name or Path(model).resolve().name  # of ".", what the folder is called
    called = f"{last}{STATE}{state}" if state else last
    short = "".join(c if c.isalnum() or c in "._-@" else "_" for c in called)
    return short.removesuffix(".nc") or short
