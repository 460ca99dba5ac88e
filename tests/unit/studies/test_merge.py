"""Parts of a study that were measured apart, and what cannot be put together."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.errors import InputError
from laminar_lens.geometry import fit_geometry
from laminar_lens.studies.sinks.study import Sinks
from laminar_lens.studies.warmup.study import Warmup

HOW: dict[str, Any] = {"random_init": False, "interventions": ll.remove_write("mlp", 1)}


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    return torch.randint(3, 300, (48, 10), generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def half(novella: Any, tokens: torch.Tensor) -> ll.StudyResult:
    return ll.run(Sinks(), novella, tokens[:20], **HOW)


def test_parts_from_files_make_the_whole_under_every_condition(
    novella: Any, tokens: torch.Tensor, half: ll.StudyResult, tmp_path: Any
) -> None:
    whole = ll.run(Sinks(), novella, tokens, **HOW)
    rest = ll.run(Sinks(), novella, tokens[20:], **HOW)
    parts = [ll.load_result(part.save(tmp_path / f"{n}.nc")) for n, part in enumerate((half, rest))]
    merged = ll.load_result(ll.merge(parts).save(tmp_path / "merged.nc"))
    assert merged.conditions == whole.conditions
    for name in whole.conditions:
        a, b = merged.condition(name), whole.condition(name)
        assert (a.dataset["ratio"].values == b.dataset["ratio"].values).all()
        assert (a.dataset["massive_dimension"].values == b.dataset["massive_dimension"].values).all()
        assert a.dataset["attention"].values == pytest.approx(b.dataset["attention"].values, rel=1e-6)
        assert a.sentence == b.sentence
    assert merged.settings == whole.settings
    assert merged.provenance["n_texts"] == 48


def test_what_does_not_fit_together_is_named(
    novella: Any, tokens: torch.Tensor, half: ll.StudyResult
) -> None:
    rest = tokens[20:]
    others = {
        "differ in prepend_bos: False, True": ll.run(Sinks(), novella, rest, prepend_bos=True, **HOW),
        "differ in length: 10, 9": ll.run(Sinks(), novella, rest[:, :9], **HOW),
        "have the seeds 0 and 3": ll.run(Sinks(), novella, rest, seed=3, **HOW),
        "differ in conditions": ll.run(Sinks(), novella, rest, random_init=False),
        "differ in kind": ll.run(Warmup(), novella, rest, **HOW),
        "with groups": ll.run(Sinks(), novella, rest, groups=[k // 2 for k in range(28)], **HOW),
        "text 0 of part 1 is text 5 of part 0": ll.run(Sinks(), novella, tokens[5:30], **HOW),
    }
    for words, other in others.items():
        with pytest.raises(InputError, match=words):
            ll.merge([half, other])
    for given in ([half], "parts", [half, 3], []):
        with pytest.raises(InputError, match="parts"):
            ll.merge(given)


def test_another_model_is_no_part(novella: Any, tokens: torch.Tensor, half: ll.StudyResult) -> None:
    twin = ll.run(Sinks(), ll.random_twin(novella), tokens[20:], **HOW)
    with pytest.raises(InputError, match="different weights"):
        ll.merge([half, twin])


@pytest.mark.parametrize("study", [Warmup(), Sinks()])
def test_what_is_measured_on_the_first_texts_alone_is_of_the_first_alone(novella: Any, study: Any) -> None:
    """Random weights on 100 texts or 60, other geometries on 200, means of vectors on 64."""
    rows = torch.randint(3, 300, (230, 6), generator=torch.Generator().manual_seed(8))
    how = {"geometries": ["centred"]} if "geometries" not in study.without else {}
    whole, *parts = (ll.run(study, novella, part, **how) for part in (rows, rows[:70], rows[70:]))
    merged = ll.merge(parts)
    assert whole.measured is not None
    assert merged.measured is not None
    for name, one in whole.measured.variables.items():
        exact = "text" in " ".join(map(str, one.dims)) or one.dtype.kind != "f"
        same = np.testing.assert_array_equal if exact else partial(np.testing.assert_allclose, rtol=1e-6)
        same(merged.measured[name].values, one.values, err_msg=str(name))
    assert merged.sentence == whole.sentence


def test_leading_axes_are_of_the_first_part(novella: Any, tokens: torch.Tensor) -> None:
    parts = [ll.run(Warmup(), novella, rows, random_init=False) for rows in (tokens[:20], tokens[20:])]
    with pytest.raises(InputError, match="part 0 of a warmup study has 20 texts"):
        ll.merge(parts)


def test_the_same_name_of_something_else_is_no_part(novella: Any, tokens: torch.Tensor) -> None:
    """A geometry that was fitted on other texts; a patch of other states."""
    first, rest = tokens[:24], tokens[24:]
    fits = [fit_geometry(novella, "centred", texts=rows + 300, skip=0) for rows in (first, rest)]
    patches = [ll.patch_residual(ll.capture_residuals(novella, rows), layers=[3]) for rows in (first, rest)]
    for name, given, words in (
        ("geometry", fits, "geometries that were fitted apart"),
        ("interventions", patches, "interventions that differ"),
    ):
        parts = [
            ll.run(Sinks(), novella, rows, random_init=False, **{name: one})
            for rows, one in zip((first, rest), given, strict=True)
        ]
        with pytest.raises(InputError, match=words):
            ll.merge(parts)
