"""What README says of a run, from the run's file: `python -m tests.readme laminar-lens-out/sequential.nc`.

Writes README's marked blocks, the pictures beside the tutorials, and `docs/readme.json`: what the blocks say,
and hashes of the numbers and of the pictures. A test compares README with that file, and that file with what
the package writes.
"""

import argparse
import hashlib
import json
import re
import shutil
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import laminar_lens as ll
from laminar_lens.studies.layers import named_layers
from laminar_lens.words import decimal, estimate_text

ROOT = Path(__file__).parents[1]
README, FACTS, PICTURES = ROOT / "README.md", ROOT / "docs" / "readme.json", ROOT / "tutorials" / "images"
FIGURES = ("baseline_split", "warmup_tolerance", "warmup_cost")
WIDTH = 130
NARROW_RAD = 0.3
"""Below it lie pairs of vectors that point the same way, such as two sinks'."""
SPAN = 64
"""Tokens of the texts whose cost is said."""
VERSIONS = ("laminar-lens", "transformer-lens")
CLAIM = ("claim", "text", "verdict", "estimate", "low", "high", "unit")
BLOCK = "<!-- run: {} -->"
END = "<!-- end -->"


def facts(result: Any) -> dict[str, Any]:
    """What is said of a sequential study with its warm-up, JSON-safe and without pictures."""
    summary, data = result.summary(), result.dataset
    layers = data["layer"].values
    model, how = summary["provenance"]["model"], result.part("warmup").settings
    claims = [{key: row[key] for key in CLAIM} for row in summary["claims"]]
    tolerance = [{key: row[key] for key in ("tolerance", "k_hi", "k_lo")} for row in summary["by_tolerance"]]
    two, narrow = data["two_modes"].values == 1, data["baseline_angle"].values < NARROW_RAD
    narrow[layers == 0] = False
    angles = data["baseline_angle"].values[narrow]
    return {
        "model": model["name"],
        "versions": {name: summary["provenance"]["versions"][name] for name in VERSIONS},
        "seed": summary["provenance"]["seed"],
        "prompts": int(data.sizes["prompt"]),
        "texts": int(how["n_texts"]),
        "length": int(how["length"]),
        "tau": float(how["tau"]),
        "numbers_sha256": summary["provenance"]["numbers_sha256"],
        "sentence": summary["sentence"],
        "claims": claims,
        "tolerance": tolerance,
        "cost": cost(summary["tables"]["costs"]["title"], summary["costs"]),
        "split": [int(layer) for layer in layers[two]],
        "narrow": {
            "lines": int(narrow.any(axis=0).sum()),
            "layers": [int(layer) for layer in layers[narrow.any(axis=1)]],
            "least": float(angles.min()) if angles.size else None,
            "most": float(angles.max()) if angles.size else None,
        },
    }


def cost(title: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What keeping all does to a mean angle over `SPAN` tokens, and what is then left out for it."""
    kept = next(row for row in rows if row["T"] == SPAN and row["k"] == 0)
    names = {"bias": "mean_bias", "low": "mean_bias_low", "high": "mean_bias_high", "texts": "mean_from"}
    layer = int(title.rsplit(" ", 1)[1])
    return {"layer": layer, "tokens": SPAN, **{name: kept[key] for name, key in names.items()}}


def blocks(said: Mapping[str, Any]) -> dict[str, str]:
    """README's marked blocks, by name."""
    by_tau = {row["tolerance"]: row for row in said["tolerance"]}
    wide = next((tau for tau in (0.1, 0.2, 0.3) if by_tau[tau]["k_hi"] is not None), None)
    enough = by_tau[said["tau"]]["k_hi"]
    first = "no number shown" if enough is None else f"{enough} are enough"
    rest = "" if wide is None or wide == said["tau"] else f", {by_tau[wide]['k_hi']} at ±{wide:g}"
    return {
        "caption": textwrap.fill(_caption(said), WIDTH),
        "sentence": textwrap.fill(said["sentence"], WIDTH, initial_indent="> ", subsequent_indent="> "),
        "tolerance": f"*{first} at ±{said['tau']:g} rad{rest}*",
        "claims": "\n".join(_claims(said["claims"])),
        "cost": textwrap.fill(_cost(said["cost"]), WIDTH),
        "run": textwrap.fill(
            f"(`make demo`, seed {said['seed']}: {said['prompts']} prompts, {said['texts']} passages of "
            f"{said['length']} tokens, TransformerLens {said['versions']['transformer-lens']}.)",
            WIDTH,
        ),
    }


def _caption(said: Mapping[str, Any]) -> str:
    """Under the split baseline."""
    text = (
        f"*Angles between two tokens of a prompt, one line for each of {said['prompts']} prompts, on "
        "SmolLM2-135M-Instruct."
    )
    if said["split"]:
        text += (
            f" The pairs that contain position 0 (orange) are a group of their own in "
            f"{named_layers(said['split'])}, and a mean over all (dashed) describes neither."
        )
    if (narrow := said["narrow"])["lines"]:
        lines = "line" if narrow["lines"] == 1 else f"{narrow['lines']} lines"
        text += (
            f" The {lines} below {NARROW_RAD:g} rad in {named_layers(narrow['layers'])} "
            f"{'is a pair' if lines == 'line' else 'are pairs'} of two attention sinks: there a later "
            "token's vector points as position 0's does."
        )
    return text + "*"


def _claims(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    head = ["| | claim | on smollm2 | estimate and 95% interval |", "|---|---|---|---|"]
    return head + [
        f"| {row['claim']} | {row['text']} | {row['verdict']} | {estimate_text(row)} |" for row in rows
    ]


def _cost(said: Mapping[str, Any]) -> str:
    size = f"{decimal(said['bias'], 3)} rad"
    ends = (
        "" if said["low"] is None else f" (95% band {decimal(said['low'], 3)} to {decimal(said['high'], 3)})"
    )
    texts = (
        "not shown to matter"
        if said["texts"] is None
        else f"more than chance from {said['texts']:,} texts on"
    )
    return (
        f"Where it matters most (layer {said['layer']}), a mean angle over {said['tokens']} tokens is off by "
        f"{size}{ends} if none is left out: {texts}."
    )


def rewritten(readme: str, made: Mapping[str, str]) -> str:
    """README with its blocks; what stands in a line of its own keeps its lines.

    Raises:
        ValueError: a block that README does not mark, or marks twice.
    """
    for name, text in made.items():
        pattern = re.escape(BLOCK.format(name)) + r"(\n?).*?(\n?)" + re.escape(END)
        if len(re.findall(pattern, readme, re.DOTALL)) != 1:
            raise ValueError(f"README marks {name!r} not once: write {BLOCK.format(name)} … {END}")
        whole = rf"{BLOCK.format(name)}\g<1>{{}}\g<2>{END}".replace("{}", text.replace("\\", "\\\\"))
        readme = re.sub(pattern, whole, readme, flags=re.DOTALL)
    return readme


def picture_hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each picture."""
    return {name: hashlib.sha256((folder / f"{name}.png").read_bytes()).hexdigest() for name in FIGURES}


def main(argv: Sequence[str] | None = None) -> int:
    """Write all three."""
    from laminar_lens.report.pictures import write_figures

    parser = argparse.ArgumentParser(prog="python -m tests.readme", description=__doc__)
    parser.add_argument("result", type=Path, help="what `make demo` wrote: sequential.nc")
    result = ll.load_result(parser.parse_args(argv).result)
    said = facts(result)
    with tempfile.TemporaryDirectory() as folder:
        drawn = write_figures(result, folder, "png")
        for name in FIGURES:
            shutil.copy(drawn[name], PICTURES / f"{name}.png")
    said["pictures"] = picture_hashes(PICTURES)
    FACTS.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    README.write_text(rewritten(README.read_text(encoding="utf-8"), blocks(said)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
