"""The command `laminar-lens mask`: parses and checks, and returns a request."""

from typing import Annotated

import typer

from laminar_lens.cli import checks, preflight
from laminar_lens.cli import options as opt
from laminar_lens.cli.build import DEFAULT_OUT, model_choice
from laminar_lens.cli.requests import MaskRequest, Request

FILES = ("masks.safetensors", "masks.json")


def mask(  # one line a parameter: the command's whole surface
    text: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="The texts to mask: one a line, UTF-8.",
            show_default=False,
            rich_help_panel=opt.TEXT,
        ),
    ],
    model: opt.Model = "novella",
    skip: Annotated[
        int | None,
        typer.Option(
            parser=opt.whole_number,
            metavar="K",
            help="Leave out the first K tokens. Default: what the warm-up study says.",
            show_default=False,
            rich_help_panel=opt.MEASURE,
        ),
    ] = None,
    n_texts: opt.NTexts = None,
    sinks: Annotated[
        bool,
        typer.Option(
            "--sinks/--no-sinks",
            help="Also leave out tokens whose vectors are a sink's, wherever they stand.",
            rich_help_panel=opt.MEASURE,
        ),
    ] = True,
    bos: opt.Bos = False,
    layers: opt.Layers = "",
    seed: opt.Seed = 0,
    device: opt.Device = "cpu",
    dtype: opt.Dtype = "float32",
    bridge: opt.Bridge = False,
    trust_remote_code: opt.TrustRemoteCode = False,
    out: opt.Out = DEFAULT_OUT,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> Request:
    """Which tokens to keep in any other analysis of this model: not the first ones, not sinks.

    Writes masks.safetensors and masks.json into --out; position 0 is the BOS with --bos.
    """
    request = MaskRequest(
        model=model_choice(model, device, dtype, bridge, trust_remote_code, bos, layers=layers),
        texts=checks.prompts([text]),
        folder=checks.writable(out, FILES),
        skip=None if skip is None else checks.at_least("--skip", skip, 0),
        n_texts=checks.count(n_texts),
        sinks=sinks,
        seed=checks.seed(seed),
        json=json,
        quiet=quiet,
    )
    return preflight.check_mask(request)
