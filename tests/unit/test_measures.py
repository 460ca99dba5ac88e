"""A measure is one entry: a user's own is measured, tabulated and asked for as the shipped ones are."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import laminar_lens as ll
from laminar_lens import kernels
from laminar_lens.cli import main
from laminar_lens.errors import InputError, ShapeError
from laminar_lens.measures import MEASURES, PROFILE, register_measure
from laminar_lens.results import StudyResult, load_result
from laminar_lens.studies.angles import angle_rows

PROMPTS = ("They admired her courage.", "He drove her to the old house by the river.", "They saw her.")
TOKENS = torch.tensor([[5, 80, 7, 200, 31, 4, 90], [44, 12, 300, 8, 260, 17, 2]])


@pytest.fixture(scope="module", params=[None, True])
def model(tiny_gpt2: Path, request: pytest.FixtureRequest) -> Any:
    return ll.load_model(str(tiny_gpt2), bridge=request.param)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    for name in set(MEASURES.names()) - set(MEASURES.shipped):
        MEASURES.remove(name)


def moved(previous: Tensor, states: Tensor) -> Tensor:
    return (states - previous).abs().amax(-1)


def first(states: Tensor) -> Tensor:
    return states[..., 0]


def test_every_shipped_measure_has_a_kernel_and_says_what_it_is() -> None:
    for name in MEASURES.shipped:
        one = MEASURES.get(name)
        assert callable(getattr(kernels, one.kernel))
        assert one.dims
        assert one.long_name
    assert PROFILE == ("sequential", "rotation", "norm", "step")


def test_the_meter_measures_it_beside_the_shipped_ones(model: Any) -> None:
    ll.register_measure("first", first)
    ll.register_measure("moved", moved, between_layers=True)
    states = ll.capture_residuals(model, TOKENS).values
    meter = ll.AngleMeter(model, measures=["moved", "first", "pairwise", "sequential"], lags=2)
    with torch.no_grad(), meter:
        model(TOKENS)
    found = meter.result()
    assert list(found) == ["sequential", "sequential_2", "pairwise", "first", "moved"]
    torch.testing.assert_close(found["first"], states[..., 0])
    torch.testing.assert_close(found["moved"], (states[1:] - states[:-1]).abs().amax(-1))
    torch.testing.assert_close(found["sequential"], ll.sequential_angles(states))
    assert meter.backend


def test_it_carries_gradients_and_sees_the_geometry(model: Any) -> None:
    register_measure("first", first)
    meter = ll.AngleMeter(model, measures="first", gradient=True, geometry="mean_over_d_model")
    with torch.enable_grad(), meter:
        model(TOKENS)
    assert meter.result()["first"].requires_grad
    states = ll.capture_residuals(model, TOKENS).values
    torch.testing.assert_close(meter.result()["first"], (states - states.mean(-1, keepdim=True))[..., 0])


def test_padding_is_nan_in_the_states_that_it_sees(model: Any) -> None:
    register_measure("first", first)
    register_measure("whole", lambda states: states[..., 0].mean(1))
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[1, 5:] = False
    meter = ll.AngleMeter(model, measures=["first", "whole", "turning", "pairwise"], mask=mask)
    with torch.no_grad(), meter:
        model(TOKENS, attention_mask=mask.int())
    found = meter.result()
    assert torch.equal(found["first"].isnan(), ~mask.expand(4, -1, -1))
    assert found["whole"].isnan().tolist() == [[False, True]] * 4
    assert found["turning"][:, 1].isfinite().sum(-1).tolist() == [3] * 4
    assert found["pairwise"][:, 1].isfinite().sum((-1, -2)).tolist() == [25] * 4


def test_the_table_finds_its_axes_and_saves_it(model: Any, tmp_path: Path) -> None:
    register_measure("first", first, unit="1", long_name="first coordinate")
    table = ll.angle_table(model, PROMPTS, what="first")
    assert table["first"].dims == ("layer", "prompt", "pos")
    assert table["first"].attrs == {"units": "1", "long_name": "first coordinate"}
    for row, prompt in enumerate(PROMPTS):
        states = ll.capture_residuals(model, prompt).values[:, 0, :, 0]
        np.testing.assert_allclose(table["first"].values[:, row, : states.shape[1]], states, atol=1e-6)
    rows = angle_rows(table)
    assert rows.columns.tolist() == ["layer", "prompt", "pos", "token", "first"]
    provenance = json.loads(table.attrs["provenance"])
    assert provenance["model"]["measures"] == [{"name": "first", "function": f"{__name__}.first"}]
    again = load_result(StudyResult(table).save(tmp_path / "first.nc"))
    assert again.dataset["first"].equals(table["first"])
    assert again.report(tmp_path / "first.html").is_file()


@pytest.mark.parametrize(
    ("function", "dims"),
    [
        (lambda states: states[:, 1:, 0], ("pair",)),
        (lambda states: states[:, 2:, 0], ("corner",)),
        (lambda states: states @ states.mT, ("pos", "other")),
        (lambda states: states[..., :4], ("pos", "axis_2")),
        (lambda states: states[..., 0].mean(-1), ()),
        (lambda states: states.mean(1)[:, :3], ("axis_1",)),
    ],
)
def test_axes_are_found_from_the_sizes(model: Any, function: Any, dims: tuple[str, ...]) -> None:
    register_measure("mine", function)
    table = ll.angle_table(model, PROMPTS, what="mine")
    assert table["mine"].dims == ("layer", "prompt", *dims)
    rows = angle_rows(table)
    assert len(rows) == np.isfinite(table["mine"].values).sum() > 0
    assert ("token" in rows) == bool(set(dims) & {"pos", "pair", "corner"})


def test_between_layers_the_first_is_nan_and_dims_can_be_named(model: Any) -> None:
    register_measure("moved", moved, between_layers=True)
    register_measure("slice", lambda states: states[..., :4], dims=["pos", "coordinate"])
    table = ll.angle_table(model, PROMPTS, what="moved", layers=[0, 2])
    assert table["moved"].isel(layer=0).isnull().all()
    states = ll.capture_residuals(model, PROMPTS[0]).values[:, 0]
    expected = (states[2] - states[1]).abs().amax(-1)
    np.testing.assert_allclose(table["moved"].values[1, 0, : len(expected)], expected, atol=1e-6)
    assert ll.angle_table(model, PROMPTS, what="slice")["slice"].dims[2:] == ("pos", "coordinate")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "norm", "function": first}, "'norm' is shipped with Laminar Lens"),
        ({"name": "a b", "function": first}, "a name has letters, digits and _"),
        ({"name": 3, "function": first}, "a name has letters"),
        ({"name": "pair", "function": first}, "tables call something else so"),
        ({"name": "sequential_2", "function": first}, "tables call something else so"),
        ({"name": "mine", "function": 3}, "function is 3; expected a function of states"),
        ({"name": "mine", "function": first, "between_layers": "yes"}, "between_layers is 'yes'"),
        ({"name": "mine", "function": first, "tokens": 0}, "tokens is 0; expected a whole number"),
        ({"name": "mine", "function": first, "dims": 3}, "dims is 3; expected texts"),
    ],
)
def test_what_cannot_be_registered_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        register_measure(**given)


def in_place(states: Tensor) -> Tensor:
    return states.zero_()[..., 0]


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda states: 3, InputError, "'mine' returned an int; expected real numbers"),
        (lambda states: states.sum(), ShapeError, r"'mine' returned shape \[\]; expected one entry"),
        (lambda states: states[0].mean(-1), ShapeError, r"expected one entry for each of 2 texts"),
        (lambda states: states.to(torch.complex64), InputError, "a tensor of torch.complex64"),
        (in_place, InputError, "'mine' wrote into the hidden state"),
    ],
)
def test_what_a_function_may_not_return(model: Any, function: Any, error: Any, message: str) -> None:
    register_measure("mine", function)
    meter = ll.AngleMeter(model, measures="mine")
    with pytest.raises(error, match=message), torch.no_grad(), meter:
        model(TOKENS)


def test_shapes_that_differ_and_short_texts_are_refused(model: Any) -> None:
    register_measure("mine", lambda states: states[:, : int(states.abs().sum() * 1e6) % 3 + 1, 0], tokens=3)
    with pytest.raises(InputError, match="'X' has 1 tokens, mine angles need 3"):
        ll.angle_table(model, ["X"], what="mine")
    sizes = iter(range(1, 9))
    register_measure("mine", lambda states: states[:, : next(sizes), 0])
    meter = ll.AngleMeter(model, measures="mine")
    with torch.no_grad(), meter:
        model(TOKENS)
    with pytest.raises(ShapeError, match=r"'mine' returned \[2, 1\] in one hidden state and \[2, 2\]"):
        meter.result()
    register_measure("mine", lambda states: states[..., :4], dims=["pos", "pair"])
    with pytest.raises(InputError, match="axis 'pair' has 4 entries in a text of"):
        ll.angle_table(model, PROMPTS, what="mine")
    register_measure("mine", first, dims=["pos", "pair"])
    with pytest.raises(InputError, match="returned 1 axes after the texts, but it was registered with"):
        ll.angle_table(model, PROMPTS, what="mine")


def installed(folder: Path, entries: str, code: str) -> None:
    """A package that brings measures, as pip would install it."""
    (folder / "own_measures.py").write_text(code)
    info = folder / "own_measures-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-measures\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[laminar_lens.measures]\n{entries}\n")


def test_a_package_brings_measures_to_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import laminar_lens as ll\n"
        "def own_first(states):\n    return states[..., 0]\n"
        "own_longest = ll.register_measure('own_longest', lambda s: s.norm(dim=-1), unit='1')\n"
    )
    names = ("own_first", "own_longest", "own_broken")
    installed(tmp_path, "\n".join(f"{name} = own_measures:{name}" for name in names), code)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "prompts.txt").write_text("They saw her.\nShe was there.\n")
    assert set(names) < set(MEASURES.names())
    assert "own_measures" not in sys.modules  # nothing is loaded to know the names
    for name in names[:2]:
        args = ["angles", str(tmp_path / "prompts.txt"), "--what", name, "--out", str(tmp_path), "--quiet"]
        assert main(args) in (0, None)
        assert load_result(tmp_path / "angles.nc").dataset[name].dims == ("layer", "prompt", "pos")
    with pytest.raises(InputError, match="measure 'own_broken' cannot be loaded from 'own_measures:own_bro"):
        MEASURES.get("own_broken")
    args = ["angles", str(tmp_path / "prompts.txt"), "--what", "own_frist", "--out", str(tmp_path)]
    with pytest.raises(SystemExit):
        sys.exit(main(args))
    assert "did you mean own_first?" in capsys.readouterr().err
