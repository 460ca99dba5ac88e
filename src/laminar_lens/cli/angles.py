"""The command `laminar-lens angles`: every angle of one kind, of each prompt of a file."""

from typing import Any

from laminar_lens.cli import checks, preflight
from laminar_lens.cli.options import LOADED, OUT, QUIET, WHICH, model_choice, those_of
from laminar_lens.cli.requests import AnglesRequest
from laminar_lens.measures import MEASURES
from laminar_lens.studies.fields import OUTPUT, Option, named, one_of
from laminar_lens.studies.options import some

SHARED = some("prepend_bos", "final_norm", "layers", "geometry", "backend")
FILE = Option(
    "One prompt a line, UTF-8.", "FILE", lambda _, name: checks.prompts([name]), str, positional=True
)
WHAT = Option(
    f"One of {', '.join(MEASURES.shipped)}, or of an installed package.",
    "NAME",
    None,
    str,
    MEASURES.shipped[0],
)
FORMAT = Option("nc (netCDF) or csv.", "NAME", one_of(*checks.FORMATS), str, "nc", panel=OUTPUT)
OPTIONS = {
    "file": FILE,
    **WHICH,
    **named({"what": WHAT, "format": FORMAT}),
    **SHARED,
    **LOADED,
    **OUT,
    **QUIET,
}


def angles(given: dict[str, Any]) -> AnglesRequest:
    """Every angle of one kind, for each prompt of FILE: written as angles.nc or angles.csv into --out."""
    name = f"angles.{given['format']}"
    request = AnglesRequest(
        model=model_choice(given),
        prompts=given["file"],
        what=checks.angles_of(given["what"], given["layers"]),
        format=given["format"],
        path=checks.writable(given["out"], [name]) / name,
        quiet=given["quiet"],
        options=those_of(SHARED, given),
    )
    preflight.check_angles(request)
    return request
