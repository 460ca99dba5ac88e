"""The commands and their arguments: each parses and checks, and returns a request; nothing is computed."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from laminar_lens import __version__
from laminar_lens.cli import faults, parser, screen, streams
from laminar_lens.cli.angles import OPTIONS as OF_ANGLES
from laminar_lens.cli.angles import angles
from laminar_lens.cli.commands import Commands, why_not
from laminar_lens.cli.compare import HELP, Compare, why_not_compared
from laminar_lens.cli.mask import OPTIONS as OF_MASK
from laminar_lens.cli.mask import mask
from laminar_lens.cli.requests import Request
from laminar_lens.cli.show import OPTIONS as OF_SHOW
from laminar_lens.cli.show import UNDECLARED, show
from laminar_lens.errors import InputError, LaminarLensError, ResultError, is_failure
from laminar_lens.escapes import one_line
from laminar_lens.files import recorded

INTERRUPTED = 130
BROKEN_PIPE = 141
FAILED = 2

app = typer.Typer(
    name="laminar-lens",
    cls=Commands,
    help="The angular geometry of the residual stream: what a transformer does to its first tokens.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line. An error is one line on standard error, without traceback.

    Returns:
        The exit status: 0, 2 for any error (a standard output that is closed or full is one, and is said
        after the files are written), 130 after Ctrl-C, 141 for a closed pipe. Standard error is not minded.
    """
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    with streams.standard(), screen.sane_environment():
        return _status(arguments)


def _status(arguments: list[str]) -> int:
    with recorded() as kept:
        try:
            return _answered(arguments)
        except KeyboardInterrupt:
            what = (
                f"kept: {', '.join(kept)}" if kept else "nothing was written, earlier files are as they were"
            )
            return _stop(INTERRUPTED, f"interrupted; {what}")


def _answered(arguments: list[str]) -> int:
    commands = typer.main.get_command(app)
    try:
        request = _request(commands, arguments)
        if isinstance(request, Request):
            _carry_out(request)
        sys.stdout.flush()
        return 0 if isinstance(request, Request) else int(request or 0)
    except KeyboardInterrupt:
        raise
    except streams.UnheardError as error:
        return BROKEN_PIPE if error.is_closed_pipe else _stop(FAILED, f"error: {error}")
    except BrokenPipeError:
        streams.silence(sys.stdout)
        return BROKEN_PIPE
    except LaminarLensError as error:
        return _stop(FAILED, f"error: {parser.in_options(str(error), parser.flags_of(commands))}")
    except BaseException as error:
        if hasattr(error, "format_message"):  # the parser's own, which typer has moved between versions
            return _stop(FAILED, f"error: {_usage(error)}")
        if isinstance(error, Exception) or not is_failure(error):
            raise
        return _stop(FAILED, f"error: native code failed ({error}): check the model's files and the texts")


def _request(commands: Any, arguments: list[str]) -> Any:
    """What the arguments ask for; what Python or the system have against a value is said of its option."""
    try:
        return commands.main(arguments, prog_name="laminar-lens", standalone_mode=False)
    except BrokenPipeError:
        raise
    except faults.OF_VALUES as error:
        raise InputError(faults.said(error, arguments)) from None


def _carry_out(request: Request) -> None:
    """Does the work; what the machine cannot do (a full disk, no memory) is no bug, all else is."""
    from laminar_lens.cli.run import execute

    try:
        execute(request)
    except BrokenPipeError:
        raise
    except faults.OF_THE_MACHINE as error:
        raise ResultError(faults.said(error)) from error


def _usage(error: Any) -> str:
    """What the parser objects to, and where help is."""
    message = str(error.format_message()).strip()
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "laminar-lens"
    kind, flag = command.partition(" ")[2], str(getattr(error, "option_name", ""))
    study = kind.removeprefix("compare ")
    reason = why_not(study, flag) or (why_not_compared(flag) if study != kind else "")
    if reason:
        return f"{flag} is no option of {kind}: {reason}"
    return f"{message.rstrip('.')}; see {command} --help"


def _stop(status: int, message: str) -> int:
    """Says why in one line, without control characters, and gives the exit status."""
    print(f"laminar-lens: {one_line(message)}", file=sys.stderr, flush=True)
    return status


def _version(wanted: bool) -> bool:
    if wanted:
        from importlib.metadata import version

        below = ", ".join(f"{name} {version(name)}" for name in ("transformer-lens", "torch"))
        typer.echo(f"laminar-lens {__version__} ({below})")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Versions, and out.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


app.add_typer(typer.Typer(cls=Compare, help=HELP, no_args_is_help=True), name="compare")
app.command("mask")(parser.signed(mask, OF_MASK))
app.command("angles")(parser.signed(angles, OF_ANGLES))
app.command("show", context_settings=UNDECLARED)(parser.signed(show, OF_SHOW))
