"""A geometry is one class: a user's own is measured in, described and fitted anew as the shipped ones are."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import laminar_lens as ll
from laminar_lens.cli import main
from laminar_lens.errors import InputError
from laminar_lens.geometry import GEOMETRIES, Fitting, Geometry, fit_geometry, named_geometry
from laminar_lens.registered import GEOMETRIES as REGISTRY
from laminar_lens.results import load_result

PROMPTS = ("They admired her courage.", "He drove her to the old house by the river.", "They saw her.")


class Unit(Geometry):
    name = "unit"

    def map(self, layer: int, state: Tensor) -> Tensor:
        return state / state.norm(dim=-1, keepdim=True)


class Folded(Geometry):
    """Centred, with the largest coordinate of the mean put to zero: takes something from other texts."""

    name, needs_texts = "folded", True

    @classmethod
    def fit(cls, on: Fitting) -> Mapping[int, Any]:
        on.settings["folded"] = True
        return {
            layer: mean.abs().argmax() for layer, mean in zip(on.layers, on.calibration.mean, strict=True)
        }

    def map(self, layer: int, state: Tensor) -> Tensor:
        out = state.clone()
        out[..., self.values[layer]] = 0
        return out


@pytest.fixture(scope="module", params=[None, True])
def model(tiny_gpt2: Path, request: pytest.FixtureRequest) -> Any:
    return ll.load_model(str(tiny_gpt2), bridge=request.param)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    ll.register_geometry(Unit)
    assert ll.register_geometry(Folded) is Folded
    yield
    for name in set(REGISTRY.names()) - set(GEOMETRIES):
        REGISTRY.remove(name)


def test_the_meter_measures_in_it(model: Any) -> None:
    tokens = torch.tensor([[5, 80, 7, 200, 31, 4, 90]])
    states = ll.capture_residuals(model, tokens).values
    for geometry in ("unit", Unit(), fit_geometry(model, "unit")):
        meter = ll.AngleMeter(model, geometry=geometry)
        with torch.no_grad(), meter:
            model(tokens)
        found = meter.result()
        torch.testing.assert_close(found["norm"], torch.ones_like(found["norm"]))
        torch.testing.assert_close(found["sequential"], ll.sequential_angles(states), atol=1e-5, rtol=0)
    with pytest.raises(InputError, match=r"fit_geometry\(model, 'folded'\)"):
        ll.AngleMeter(model, geometry="folded")


@pytest.mark.parametrize("geometry", ["unit", "folded"])
def test_a_study_measures_in_it_and_records_its_class(model: Any, geometry: str, tmp_path: Path) -> None:
    table = ll.angle_table(model, PROMPTS, geometry=geometry)
    given = ll.angle_table(model, PROMPTS, geometry=fit_geometry(model, geometry))
    np.testing.assert_array_equal(table["sequential"].values, given["sequential"].values)
    said = json.loads(table.attrs["provenance"])["model"]["geometry"]
    assert said["name"] == geometry
    assert said["class"] == f"{__name__}.{geometry.capitalize()}"
    assert ("texts_sha256" in said) == ("folded" in said) == (geometry == "folded")
    tokens = torch.randint(0, 300, (12, 24), generator=torch.Generator().manual_seed(0))
    result = ll.warmup_study(model, tokens, geometry=geometry, geometries=[geometry, "centred"])
    assert result.dataset["geometry"].values.tolist() == ["raw", geometry, "centred"]
    again = load_result(result.save(tmp_path / "own.nc"))
    assert f"measured in the geometry '{geometry}'" in " ".join(again.summary()["warnings"])


def test_it_is_fitted_anew_for_another_model_and_refuses_its_own_texts(model: Any) -> None:
    twin = ll.random_twin(model, seed=0)
    made = fit_geometry(model, "folded", n_texts=8, length=20, layers=[0, 2])
    other = made.for_model(twin)
    assert isinstance(other, Folded)
    assert other.layers == (0, 2)
    assert other.settings["texts_sha256"] == made.settings["texts_sha256"]
    texts = torch.randint(0, 300, (6, 24), generator=torch.Generator().manual_seed(1))
    own = fit_geometry(model, "folded", texts=texts)
    with pytest.raises(InputError, match="text 0 is one of the texts that geometry 'folded' was fitted on"):
        own.check_others(texts.tolist())
    plain = Unit()
    assert plain.for_model(twin) is plain
    assert named_geometry(model, plain, prepend_bos=True, final_norm=True) is plain


class Nameless(Geometry):
    def map(self, layer: int, state: Tensor) -> Tensor:
        return state


class Mapless(Geometry):
    name = "mapless"


class Centred(Unit):
    name = "centred"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Nameless, "geometry '': a name has letters, digits and _"),
        (Mapless, r"expected a subclass of laminar_lens.geometry.Geometry with a map\(layer, state\)"),
        (Centred, "geometry 'centred' is shipped with Laminar Lens"),
        (3, "geometry None: a name has letters"),
    ],
)
def test_what_is_no_geometry_is_named(given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ll.register_geometry(given)


class Short(Geometry):
    name = "short"

    def map(self, layer: int, state: Tensor) -> Tensor:
        return state[..., 1:]


def test_a_map_of_another_shape_is_named() -> None:
    with pytest.raises(InputError, match=r"geometry 'short' made \[1, 3\] of vectors \[1, 4\]"):
        Short().apply(0, torch.zeros(1, 4))


def test_a_package_brings_geometries_to_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_geometries.py").write_text(
        "from laminar_lens.geometry import Geometry\n"
        "class Half(Geometry):\n    name = 'half'\n"
        "    def map(self, layer, state):\n        return state / 2\n"
    )
    info = tmp_path / "own_geometries-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-geometries\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[laminar_lens.geometries]\nhalf = own_geometries:Half\n")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "prompts.txt").write_text("They saw her.\nShe was there.\n")
    args = ["angles", str(tmp_path / "prompts.txt"), "--geometry", "half", "--out", str(tmp_path), "--quiet"]
    assert main(args) in (0, None)
    said = load_result(tmp_path / "angles.nc").provenance["model"]["geometry"]
    assert said == {
        "name": "half",
        "d_model": said["d_model"],
        "final_norm": False,
        "class": "own_geometries.Half",
    }
