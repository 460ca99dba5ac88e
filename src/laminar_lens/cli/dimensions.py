"""The command `laminar-lens dimensions`: parses and checks, and returns a request."""

from laminar_lens.cli import options as opt
from laminar_lens.cli import preflight
from laminar_lens.cli.build import DEFAULT_OUT, model_choice, output_files, text_options
from laminar_lens.cli.requests import DimensionsRequest, Request


def dimensions(  # one line a parameter: the command's whole surface
    model: opt.Model = "novella",
    texts: opt.TextFiles = None,
    n_texts: opt.NTexts = None,
    length: opt.Length = None,
    bos: opt.Bos = False,
    final_norm: opt.FinalNorm = False,
    layers: opt.Layers = "",
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
    """Whether three dimensions make over half of a cosine, and what the angle is without them (D1–D4).

    Of the first pair, between position 0 and the body, of neighbours in it.
    Writes dimensions.nc and dimensions.html into --out.
    """
    least = preflight.INDEPENDENT
    request = DimensionsRequest(
        model=model_choice(model, device, dtype, bridge, trust_remote_code, bos, final_norm, layers),
        **text_options(texts, n_texts, length, geometry, seed, least=least),
        output=output_files(out, "dimensions", json, quiet),
    )
    return preflight.check_texts_study(request, least=least)
