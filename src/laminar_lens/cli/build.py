"""From the options that commands share to the plain values of a request."""

from pathlib import Path

from laminar_lens.cli import checks
from laminar_lens.cli.requests import ModelChoice, Output

DEFAULT_OUT = Path("laminar-lens-out")


def model_choice(
    name: str,
    device: str,
    dtype: str,
    bridge: bool,
    trust: bool,
    bos: bool,
    final_norm: bool,
    layers: str,
    backend: str,
) -> ModelChoice:
    """The checked choice of a model; that it exists is checked without TransformerLens."""
    from laminar_lens.models import check_name

    chosen = ModelChoice(
        name=name,
        device=checks.device(device),
        dtype=checks.choice("--dtype", dtype, checks.DTYPES),
        bridge=bridge or None,
        trust_remote_code=trust,
        prepend_bos=bos,
        final_norm=final_norm,
        layers=checks.parse_layers(layers),
        backend=checks.choice("--backend", backend, checks.BACKENDS),
    )
    check_name(name)
    return chosen


def output_files(out: Path, stem: str, json: bool, quiet: bool) -> Output:
    """Where the result `stem` and its page go; refused where they cannot be written."""
    return Output(checks.writable(out, [f"{stem}.nc", f"{stem}.html"]), json, quiet)
