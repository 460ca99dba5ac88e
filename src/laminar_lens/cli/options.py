"""The options that commands share, each with the line that `--help` shows."""

import re
from pathlib import Path
from typing import Annotated

import typer


def whole_number(value: str | int) -> int:
    """`value` as an integer; the parser's own message does not show what was given."""
    try:
        return int(_ascii(value))
    except ValueError:
        raise typer.BadParameter(f"{value!r} is no whole number") from None


def decimal_number(value: str | float) -> float:
    """`value` as a float, likewise."""
    try:
        return float(_ascii(value))
    except ValueError:
        raise typer.BadParameter(f"{value!r} is no number") from None


def _ascii(value: object) -> str:
    """The text of a number; Python also takes the digits of other scripts, which look like other numbers, and
    1_0 for 10."""
    text = str(value)
    if not text.isascii() or "_" in text:
        raise ValueError
    return text


OPTIONS = {
    "prepend_bos": "--bos",
    "final_norm": "--final-norm",
    "trust_remote_code": "--trust-remote-code",
    "n_texts": "--n-texts",
    **{
        name: f"--{name}"
        for name in (
            *("baseline", "at", "bridge", "device", "dtype", "layers", "length", "occurrence", "reference"),
            *("geometries", "geometry", "regex", "seed", "skip", "target", "tau", "texts", "warmup"),
        )
    },
}
"""The option for each keyword that the library's messages advise."""

_KEYWORD = re.compile(
    rf"(?<![\w-])(?P<name>{'|'.join(OPTIONS)})="
    r"(?P<value>True|False|'[^']*'(?:, '[^']*')*(?: or '[^']*')?|[\w.]*)"
)


def in_options(message: str) -> str:
    """A message of the library with its keywords as options: `regex=True` is `--regex` here.

    >>> in_options("choose occurrence='first', 'last' or 'all', or prepend_bos=False")
    'choose --occurrence first, last or all, or --no-bos'
    """

    def option(match: re.Match[str]) -> str:
        name, value = OPTIONS[match["name"]], match["value"].replace("'", "")
        if value == "False":
            return f"--no-{name[2:]}"
        return name if value in ("", "True") else f"{name} {value}"

    return _KEYWORD.sub(option, message.replace(", positions=", ""))  # the only keyword without an option


MODEL = "Model"
TEXT = "Text"
MEASURE = "Measurement"
OUTPUT = "Output"

Model = Annotated[
    str,
    typer.Option(
        metavar="NAME|FOLDER",
        help="novella (the embedded model), a TransformerLens name, or a Hugging Face folder.",
        rich_help_panel=MODEL,
    ),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="cpu, cuda, cuda:1 or mps.", rich_help_panel=MODEL)]
Dtype = Annotated[
    str, typer.Option(metavar="NAME", help="float32, float16, bfloat16 or float64.", rich_help_panel=MODEL)
]
Bridge = Annotated[
    bool,
    typer.Option("--bridge", help="TransformerBridge, also on TransformerLens 3.", rich_help_panel=MODEL),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Let the model's own code run.", rich_help_panel=MODEL),
]
Bos = Annotated[
    bool,
    typer.Option(
        "--bos/--no-bos",
        help="Put the beginning-of-text token in front; it then is position 0.",
        rich_help_panel=MODEL,
    ),
]
FinalNorm = Annotated[
    bool,
    typer.Option("--final-norm", help="Last state after the final LayerNorm.", rich_help_panel=MODEL),
]
Layers = Annotated[
    str,
    typer.Option(
        metavar="LIST",
        help="Hidden states, for example 0,3-8 (0 is the embedding). Default: all.",
        rich_help_panel=MODEL,
    ),
]
Backend = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="Angle kernels: auto, reference, eager, cpu or fused.", rich_help_panel=MODEL
    ),
]

Prompts = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE|her",
        help="One prompt a line, UTF-8; `her` is the built-in set of 54 sentences. Default: her.",
        rich_help_panel=TEXT,
    ),
]
PromptFile = Annotated[
    str, typer.Argument(metavar="FILE", help="One prompt a line, UTF-8.", show_default=False)
]
Target = Annotated[
    str, typer.Option(metavar="TEXT", help="The token whose turn is measured.", rich_help_panel=TEXT)
]
Occurrence = Annotated[
    str,
    typer.Option(
        metavar="CHOICE",
        help="A target that occurs more than once: error, first, last or all.",
        rich_help_panel=TEXT,
    ),
]
Regex = Annotated[
    bool, typer.Option("--regex", help="--target is a regular expression.", rich_help_panel=TEXT)
]
TextFiles = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME|FILE[:FIELD]",
        help="passages (default), sampled (the model writes them; novella's default), or a file: one text "
        "a line, .json, .jsonl, .parquet, .gz, a data set's folder; of several text files each is one text.",
        rich_help_panel=TEXT,
        show_default=False,
    ),
]
NTexts = Annotated[
    int | None,
    typer.Option(
        parser=whole_number,
        metavar="N",
        help="How many passages, or texts that the model writes.",
        rich_help_panel=TEXT,
        show_default=False,
    ),
]
Length = Annotated[
    int | None,
    typer.Option(
        parser=whole_number,
        metavar="N",
        help="Tokens a text. Default: 64, or what the context holds.",
        rich_help_panel=TEXT,
        show_default=False,
    ),
]

At = Annotated[
    str,
    typer.Option(
        metavar="LIST",
        help="Positions of the pair inside a text, for example 42-62. Default: the last third of a text.",
        rich_help_panel=TEXT,
    ),
]

Baseline = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Pairs to compare with: published, adjacent, matched or by_position.",
        rich_help_panel=MEASURE,
    ),
]
Skip = Annotated[
    int,
    typer.Option(
        parser=whole_number,
        metavar="K",
        help="Leave the first K positions out of every baseline.",
        rich_help_panel=MEASURE,
    ),
]
Tau = Annotated[
    float,
    typer.Option(
        parser=decimal_number,
        metavar="RAD",
        help="Angles closer than this to the reference are alike, in radians.",
        rich_help_panel=MEASURE,
    ),
]
Reference = Annotated[
    str,
    typer.Option(
        metavar="A-B",
        help="Pairs that the others are compared with: 42-62, or last-half. Default: the last third.",
        rich_help_panel=MEASURE,
    ),
]
Seed = Annotated[
    int,
    typer.Option(parser=whole_number, metavar="N", help="Same seed, same numbers.", rich_help_panel=MEASURE),
]
Geometry = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="In which angles and lengths are measured: raw, centred, mean_over_d_model, "
        "standardised, without_dimensions or layernormed.",
        rich_help_panel=MEASURE,
    ),
]
Geometries = Annotated[
    bool,
    typer.Option(
        "--geometries/--no-geometries",
        help="Also how the headline changes in each geometry, on at most 200 texts.",
        rich_help_panel=MEASURE,
    ),
]
Random = Annotated[
    bool,
    typer.Option(
        "--random/--no-random",
        help="Also the same with random weights.",
        rich_help_panel=MEASURE,
    ),
]
Grid = Annotated[
    bool,
    typer.Option(
        "--grid",
        help="Also the sensitivity grid: BOS × final norm × tolerance × reference window.",
        rich_help_panel=MEASURE,
    ),
]

Out = Annotated[
    Path,
    typer.Option(metavar="DIR", help="Folder for the result and its page.", rich_help_panel=OUTPUT),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Only the summary, as JSON, on standard output.", rich_help_panel=OUTPUT),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", help="Only the paths that were written, and errors.", rich_help_panel=OUTPUT
    ),
]
