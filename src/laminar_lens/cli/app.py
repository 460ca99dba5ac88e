"""The commands and their arguments: each parses and checks, and returns a request; nothing is computed."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from laminar_lens import __version__
from laminar_lens.cli import checks, faults, preflight, screen, streams
from laminar_lens.cli import options as opt
from laminar_lens.cli.build import DEFAULT_OUT, model_choice, output_files, text_options
from laminar_lens.cli.dimensions import dimensions
from laminar_lens.cli.mask import mask
from laminar_lens.cli.requests import (
    AnglesRequest,
    Request,
    SequentialRequest,
    WarmupRequest,
)
from laminar_lens.cli.show import UNDECLARED, show
from laminar_lens.cli.sinks import sinks
from laminar_lens.cli.why import why
from laminar_lens.errors import InputError, LaminarLensError, ResultError, is_failure
from laminar_lens.escapes import one_line
from laminar_lens.measures import MEASURES

INTERRUPTED = 130
BROKEN_PIPE = 141
FAILED = 2

app = typer.Typer(
    name="laminar-lens",
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
    try:
        request = _request(arguments)
        if isinstance(request, Request):
            _carry_out(request)
        sys.stdout.flush()
        return 0 if isinstance(request, Request) else int(request or 0)
    except KeyboardInterrupt:
        return _stop(INTERRUPTED, "interrupted; earlier output is kept")
    except streams.UnheardError as error:
        return BROKEN_PIPE if error.is_closed_pipe else _stop(FAILED, f"error: {error}")
    except BrokenPipeError:
        streams.silence(sys.stdout)
        return BROKEN_PIPE
    except LaminarLensError as error:
        return _stop(FAILED, f"error: {opt.in_options(str(error))}")
    except BaseException as error:
        if hasattr(error, "format_message"):  # the parser's own, which typer has moved between versions
            return _stop(FAILED, f"error: {_usage(error)}")
        if isinstance(error, Exception) or not is_failure(error):
            raise
        return _stop(FAILED, f"error: native code failed ({error}): check the model's files and the texts")


def _request(arguments: list[str]) -> Any:
    """What the arguments ask for; what Python or the system have against a value is said of its option."""
    try:
        return typer.main.get_command(app).main(arguments, prog_name="laminar-lens", standalone_mode=False)
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


@app.command()
def sequential(  # one line a parameter: the command's whole surface
    model: opt.Model = "novella",
    prompts: opt.Prompts = None,
    target: opt.Target = " her",
    occurrence: opt.Occurrence = "error",
    regex: opt.Regex = False,
    baseline: opt.Baseline = "published",
    skip: opt.Skip = 0,
    bos: opt.Bos = False,
    final_norm: opt.FinalNorm = False,
    layers: opt.Layers = "",
    tau: opt.Tau = 0.05,
    n_texts: opt.NTexts = None,
    warmup: Annotated[
        bool, typer.Option("--warmup/--no-warmup", help="Also how many first tokens to leave out.")
    ] = True,
    geometry: opt.Geometry = "raw",
    geometries: opt.Geometries = True,
    grid: opt.Grid = False,
    seed: opt.Seed = 0,
    device: opt.Device = "cpu",
    dtype: opt.Dtype = "float32",
    backend: opt.Backend = "auto",
    bridge: opt.Bridge = False,
    trust_remote_code: opt.TrustRemoteCode = False,
    out: opt.Out = DEFAULT_OUT,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> Request:
    """The sequential-angle study: a target token's turn against baselines, and the claims made about it.

    Writes sequential.nc and sequential.html into --out.
    """
    request = SequentialRequest(
        target=checks.target(target, occurrence, regex),
        occurrence=occurrence,
        regex=regex,
        baseline=checks.choice("--baseline", baseline, checks.BASELINES),
        skip=checks.at_least("--skip", skip, 0),
        tau=checks.tolerance(tau),
        n_texts=checks.count(n_texts),
        warmup=warmup,
        geometry=checks.geometry(geometry),
        geometries=geometries,
        grid=grid,
        seed=checks.seed(seed),
        prompts=checks.prompts(prompts),
        model=model_choice(model, device, dtype, bridge, trust_remote_code, bos, final_norm, layers, backend),
        output=output_files(out, "sequential", json, quiet, grid=grid),
    )
    return preflight.check_sequential(request)


@app.command()
def warmup(
    model: opt.Model = "novella",
    texts: opt.TextFiles = None,
    n_texts: opt.NTexts = None,
    length: opt.Length = None,
    tau: opt.Tau = 0.05,
    reference: opt.Reference = "",
    bos: opt.Bos = False,
    final_norm: opt.FinalNorm = False,
    layers: opt.Layers = "",
    geometry: opt.Geometry = "raw",
    geometries: opt.Geometries = True,
    grid: opt.Grid = False,
    seed: opt.Seed = 0,
    device: opt.Device = "cpu",
    dtype: opt.Dtype = "float32",
    backend: opt.Backend = "auto",
    bridge: opt.Bridge = False,
    trust_remote_code: opt.TrustRemoteCode = False,
    out: opt.Out = DEFAULT_OUT,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> Request:
    """How many first tokens to leave out of a statistic on this model, or that it cannot be told.

    Writes warmup.nc and warmup.html into --out.
    """
    choice = model_choice(model, device, dtype, bridge, trust_remote_code, bos, final_norm, layers, backend)
    request = WarmupRequest(
        model=choice,
        tau=checks.tolerance(tau),
        reference=checks.parse_window(reference),
        geometries=geometries,
        grid=grid,
        **text_options(texts, n_texts, length, geometry, seed),
        output=output_files(out, "warmup", json, quiet, grid=grid),
    )
    return preflight.check_warmup(request)


app.command()(why)
app.command()(sinks)
app.command()(dimensions)
app.command()(mask)


@app.command()
def angles(
    file: opt.PromptFile,
    model: opt.Model = "novella",
    what: Annotated[
        str,
        typer.Option(
            metavar="NAME", help=f"One of {', '.join(MEASURES.shipped)}, or of an installed package."
        ),
    ] = "sequential",
    format: Annotated[str, typer.Option(metavar="NAME", help="nc (netCDF) or csv.")] = "nc",
    bos: opt.Bos = False,
    final_norm: opt.FinalNorm = False,
    layers: opt.Layers = "",
    geometry: opt.Geometry = "raw",
    device: opt.Device = "cpu",
    dtype: opt.Dtype = "float32",
    backend: opt.Backend = "auto",
    bridge: opt.Bridge = False,
    trust_remote_code: opt.TrustRemoteCode = False,
    out: opt.Out = DEFAULT_OUT,
    quiet: opt.Quiet = False,
) -> Request:
    """Every angle of one kind, for each prompt of FILE: written as angles.nc or angles.csv into --out."""
    choice = model_choice(model, device, dtype, bridge, trust_remote_code, bos, final_norm, layers, backend)
    name = f"angles.{checks.choice('--format', format, checks.FORMATS)}"
    request = AnglesRequest(
        model=choice,
        prompts=checks.prompts([file]),
        what=checks.angles_of(what, choice.layers),
        format=format,
        path=checks.writable(out, [name]) / name,
        quiet=quiet,
        geometry=checks.geometry(geometry),
    )
    return preflight.check_angles(request)


app.command(context_settings=UNDECLARED)(show)
