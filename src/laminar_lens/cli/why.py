"""The command `laminar-lens why`: parses and checks, and returns a request."""

from typing import Annotated

import typer

from laminar_lens.cli import checks, preflight
from laminar_lens.cli import options as opt
from laminar_lens.cli.build import DEFAULT_OUT, model_choice, output_files, text_options
from laminar_lens.cli.requests import Request, WhyRequest


def why(  # one line a parameter: the command's whole surface
    model: opt.Model = "novella",
    texts: opt.TextFiles = None,
    n_texts: opt.NTexts = None,
    length: opt.Length = None,
    at: opt.At = "",
    tau: opt.Tau = 0.05,
    final_norm: opt.FinalNorm = False,
    layers: opt.Layers = "",
    random: opt.Random = True,
    geometry: opt.Geometry = "raw",
    geometries: Annotated[
        bool,
        typer.Option(
            "--geometries/--no-geometries",
            help="Also how E11 changes in each geometry.",
            rich_help_panel=opt.MEASURE,
        ),
    ] = True,
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
    """Why first pairs stand apart: position, context, either, jointly, none or undetermined (claim C8).

    The same two tokens are measured inside a text as they are, with their context cut off, with restarted
    positions, and both. Writes why.nc and why.html into --out.
    """
    request = WhyRequest(
        model=model_choice(
            model, device, dtype, bridge, trust_remote_code, False, final_norm, layers, backend
        ),
        at=checks.parse_places(at),
        tau=checks.tolerance(tau),
        random=random,
        geometries=geometries,
        **text_options(texts, n_texts, length, geometry, seed, least=preflight.INDEPENDENT),
        output=output_files(out, "why", json, quiet),
    )
    return preflight.check_why(request)
