"""The command `laminar-lens sinks`: parses and checks, and returns a request."""

from laminar_lens.cli import options as opt
from laminar_lens.cli import preflight
from laminar_lens.cli.build import DEFAULT_OUT, model_choice, output_files, text_options
from laminar_lens.cli.requests import Request, SinksRequest


def sinks(  # one line a parameter: the command's whole surface
    model: opt.Model = "novella",
    texts: opt.TextFiles = None,
    n_texts: opt.NTexts = None,
    length: opt.Length = None,
    bos: opt.Bos = False,
    random: opt.Random = True,
    geometry: opt.Geometry = "raw",
    seed: opt.Seed = 0,
    device: opt.Device = "cpu",
    dtype: opt.Dtype = "float32",
    bridge: opt.Bridge = False,
    trust_remote_code: opt.TrustRemoteCode = False,
    out: opt.Out = DEFAULT_OUT,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> Request:
    """Whether position 0, or another token, is a sink: by length, attention and massive activations (S1–S6).

    Also which blocks write its long vector, and which erase it.
    Writes sinks.nc and sinks.html into --out.
    """
    request = SinksRequest(
        model=model_choice(model, device, dtype, bridge, trust_remote_code, bos),
        random=random,
        **text_options(texts, n_texts, length, geometry, seed),
        output=output_files(out, "sinks", json, quiet),
    )
    return preflight.check_texts_study(request)
