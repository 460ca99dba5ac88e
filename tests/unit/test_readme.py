"""README's numbers and pictures are those of one run, whose file `tests/readme.py` read."""

import json
import re
from typing import Any

import numpy as np
import pytest

from laminar_lens.studies.sequential.claims import TEXTS
from laminar_lens.words import capitalised
from tests import readme
from tests.synthetic import sequential_dataset, warmup_dataset, with_warmup

LINES = 150
"""Of README, at most."""


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(readme.FACTS.read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def text() -> str:
    return readme.README.read_text(encoding="utf-8")


def shape(value: Any) -> Any:
    """Keys of dictionaries, what lists hold, and what is a number or a text; None may stand for a number."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "text" if isinstance(value, str) else "number"


def test_readme_says_what_the_run_said(text: str, said: dict[str, Any]) -> None:
    assert readme.rewritten(text, readme.blocks(said)) == text, (
        "README differs from docs/readme.json: run `make demo`, then `python -m tests.readme "
        "laminar-lens-out/sequential.nc`"
    )


def test_the_pictures_are_the_run_s(said: dict[str, Any], text: str) -> None:
    assert readme.picture_hashes(readme.PICTURES) == said["pictures"]
    drawn = set(re.findall(r"\(tutorials/images/(\w+)\.png\)", text))
    assert drawn == set(readme.FIGURES) == {path.stem for path in readme.PICTURES.glob("*.png")}


def test_the_file_is_what_the_package_writes(said: dict[str, Any]) -> None:
    """Claims, tolerances and costs of another result have the same keys, and the claims the same texts."""
    taus, layers = [0.05, 0.1], sequential_dataset().sizes["layer"]
    found = {f"tolerance_{name}": ("tolerance", [2, 1]) for name in ("k_hi", "k_lo")}
    each = {f"{name}_by_layer": (("tolerance", "layer"), np.ones((2, layers), int)) for name in found}
    warmup = warmup_dataset().assign({**found, **each}).assign_coords(tolerance=taus)
    found = readme.facts(with_warmup(sequential_dataset(), warmup))
    kept = {key: value for key, value in said.items() if key != "pictures"}
    assert shape(kept).keys() == shape(found).keys()
    for key in kept:
        if key not in ("split", "narrow"):  # which may be empty
            assert shape(kept[key]) == shape(found[key]), key
    assert {row["claim"]: row["text"] for row in said["claims"]} == {
        name: capitalised(claimed) for name, claimed in TEXTS.items()
    }


def test_blocks_are_written_once_and_stay(text: str, said: dict[str, Any]) -> None:
    other = {**said, "sentence": r"Leave out \1 nothing."}
    changed = readme.rewritten(text, readme.blocks(other))
    assert r"> Leave out \1 nothing." in changed
    assert readme.rewritten(changed, readme.blocks(said)) == text
    with pytest.raises(ValueError, match="README marks 'nowhere' not once"):
        readme.rewritten(text, {"nowhere": ""})


def test_readme_is_short_in_order_and_cites_its_sources(text: str) -> None:
    assert len(text.splitlines()) < LINES
    headings = re.findall(r"^## (.*)$", text, re.M)
    assert headings[:4] == [
        "Install",
        "Your model, in five lines",
        "Questions, and the commands that answer them",
        "The published claims, on smollm2",
    ]
    first = text.index("baseline_split.png")
    assert first < text.index(readme.BLOCK.format("sentence")) < text.index("## Install")
    for source in (
        "https://github.com/mikexcohen/LLM_course",
        "https://arxiv.org/abs/2309.17453",
        "https://arxiv.org/abs/2402.17762",
    ):
        assert source in text
    for symbol, definition in (("CI", r"\*CI\*:"), ("IQR", r"\*IQR\*:"), ("layer", r"\*Layer\* l is")):
        assert re.search(definition, text), symbol


@pytest.mark.parametrize(
    ("k_hi", "wide", "words"),
    [
        (18, 4, "*18 are enough at ±0.05 rad, 4 at ±0.1*"),
        (None, 4, "*no number shown at ±0.05 rad, 4 at ±0.1*"),
        (None, None, "*no number shown at ±0.05 rad*"),
    ],
)
def test_words_of_tolerances(said: dict[str, Any], k_hi: int | None, wide: int | None, words: str) -> None:
    rows = [
        {"tolerance": tau, "k_hi": k_hi if tau == 0.05 else wide, "k_lo": 1} for tau in (0.05, 0.1, 0.2, 0.3)
    ]
    assert readme.blocks({**said, "tolerance": rows})["tolerance"] == words
