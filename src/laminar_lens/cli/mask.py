"""The command `laminar-lens mask`: which tokens of each text of a file to keep."""

from typing import Any

from laminar_lens.cli import checks, preflight
from laminar_lens.cli.options import LOADED, OUT, SAID, WHICH, model_choice, output_files, those_of
from laminar_lens.cli.requests import MaskRequest
from laminar_lens.studies.fields import TEXT, Option, between, named
from laminar_lens.studies.options import MOST, USUAL_TEXTS, counted, some

FILES = ("masks.safetensors", "masks.json")

SHARED = {"n_texts": counted(USUAL_TEXTS), **some("document_starts", "prepend_bos", "layers", "seed")}
TEXTS = Option(
    "The texts to mask: one a line, UTF-8.", "FILE", lambda _, name: checks.prompts([name]), str, panel=TEXT
)
SKIP = Option(
    "Leave out the first K tokens. Default: what the warm-up study says.", "K", between(0, MOST), int, None
)
BY_VECTORS = Option(
    "Also leave out tokens whose vectors are a sink's, wherever they stand.",
    None,
    None,
    bool,
    True,
    "--sinks",
)
OPTIONS = {
    **named({"texts": TEXTS}),
    **WHICH,
    **named({"skip": SKIP, "by_vectors": BY_VECTORS}),
    **SHARED,
    **LOADED,
    **OUT,
    **SAID,
}


def mask(given: dict[str, Any]) -> MaskRequest:
    """Which tokens to keep in any other analysis of this model: not the first ones, not sinks.

    Writes masks.safetensors and masks.json into --out; position 0 is the BOS with --bos.
    """
    output = output_files(given, FILES)
    request = MaskRequest(
        model=model_choice(given),
        texts=given["texts"],
        folder=output.folder,
        skip=given["skip"],
        sinks=given["by_vectors"],
        options=those_of(SHARED, given),
        json=output.json,
        quiet=output.quiet,
    )
    preflight.check_mask(request)
    return request
