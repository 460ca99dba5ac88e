"""From the options that commands share to the plain values of a request."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from laminar_lens.cli import checks
from laminar_lens.cli.requests import ModelChoice, Output

DEFAULT_OUT = Path("laminar-lens-out")


def model_choice(
    name: str,
    device: str,
    dtype: str,
    bridge: bool,
    trust: bool,
    bos: bool = False,
    final_norm: bool = False,
    layers: str = "",
    backend: str = "auto",
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


def text_options(
    texts: Sequence[str] | None,
    n_texts: int | None,
    length: int | None,
    geometry: str,
    seed: int,
    *,
    least: int = 2,
) -> dict[str, Any]:
    """The checked fields that studies of texts share; the model writes `least` texts or more."""
    return {
        "n_texts": checks.count(n_texts, least),
        "length": None if length is None else checks.at_least("--length", length, 4),
        "geometry": checks.geometry(geometry),
        "seed": checks.seed(seed),
        "texts": checks.texts(texts),
    }


def output_files(out: Path, stem: str, json: bool, quiet: bool, *, grid: bool = False) -> Output:
    """Where the result `stem`, its page and its grid go; refused where they cannot be written."""
    kinds = ("nc", "html", "grid.csv") if grid else ("nc", "html")
    return Output(checks.writable(out, [f"{stem}.{kind}" for kind in kinds]), json, quiet)
