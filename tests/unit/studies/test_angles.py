"""The table of angles holds what the kernels give, at the right place, and nothing after a prompt's end."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import laminar_lens as ll
from laminar_lens.errors import InputError
from laminar_lens.measures import MEASURES
from laminar_lens.results import StudyResult, load_result
from laminar_lens.studies.angles import angle_rows, angle_table

PROMPTS = ("They admired her courage.", "He drove her to the old house by the river.", "They saw her.")


@pytest.fixture(scope="module")
def model(tiny_gpt2: Path) -> Any:
    return ll.load_model(str(tiny_gpt2))


KERNELS = {
    "sequential": ll.sequential_angles,
    "rotation": ll.rotation_angles,
    "turning": ll.turning_angles,
    "norm": lambda states: states.norm(dim=-1),
    "step": ll.step_lengths,
    "pairwise": ll.pairwise_angles,
}


@pytest.mark.parametrize("what", MEASURES.shipped)
def test_every_kind_agrees_with_its_kernel(model: Any, what: str) -> None:
    table = angle_table(model, PROMPTS, what=what)
    kernel, axes = KERNELS[what], MEASURES.get(what).dims
    since = what in ("rotation", "step")
    assert table[what].dims == ("layer", "prompt", *axes)
    for index, prompt in enumerate(PROMPTS):
        states = ll.capture_residuals(model, prompt)
        expected = kernel(states.values)[:, 0].numpy()
        found = table[what].values[:, index]
        inside = (slice(int(since), None), *map(slice, expected.shape[1:]))
        np.testing.assert_allclose(found[inside], expected, atol=1e-6)
        assert np.isfinite(found).sum() == expected.size
        assert (
            table["token"].values[index, : table["n_tokens"].values[index]].tolist()
            == states.token_strings()[0]
        )


def test_layers_that_are_not_neighbours_turn_since_the_layer_before(model: Any) -> None:
    every = angle_table(model, PROMPTS, what="rotation")
    some = angle_table(model, PROMPTS, what="rotation", layers=(0, 3))
    assert some["layer"].values.tolist() == [0, 3]
    np.testing.assert_array_equal(some["rotation"].values, every["rotation"].sel(layer=[0, 3]).values)


@pytest.mark.parametrize("what", MEASURES.shipped)
def test_rows_carry_their_tokens(model: Any, what: str) -> None:
    table = angle_table(model, PROMPTS, what=what)
    rows = angle_rows(table)
    assert len(rows) == np.isfinite(table[what].values).sum()
    assert rows.columns[-1] == what
    first = rows[rows["prompt"] == 0].iloc[0]
    assert first["token"] == table["token"].values[0, 1 if what == "turning" else 0]
    if what == "sequential":
        assert first["next_token"] == table["token"].values[0, 1]


def test_it_is_saved_with_provenance(model: Any, tmp_path: Path) -> None:
    table = angle_table(model, PROMPTS)
    path = StudyResult(table).save(tmp_path / "angles.nc")
    again = load_result(path)
    assert again.summary()["sentence"] == table.attrs["sentence"]
    assert again.dataset["sequential"].equals(table["sequential"])
    assert again.report(tmp_path / "angles.html").is_file()
    assert table["sequential"].attrs["units"] == "rad"
    assert "3 prompts" in table.attrs["sentence"]


def test_what_is_unknown_or_too_short_is_named(model: Any) -> None:
    with pytest.raises(InputError, match="measure 'angles' is unknown; choose from sequential"):
        angle_table(model, PROMPTS, what="angles")
    with pytest.raises(InputError, match="'X' has 1 tokens, sequential angles need 2"):
        angle_table(model, ["X"])
