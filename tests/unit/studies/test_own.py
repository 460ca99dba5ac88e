"""The shortest way from a measurement to an answer: a band over texts, and layers as they are said."""

import numpy as np
import xarray as xr

import laminar_lens as ll
from laminar_lens.stats.bootstrap import simultaneous_band


def test_texts_of_one_group_are_one_observation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, group = rng.normal(size=(120, 3)), np.arange(120) // 2
    x = xr.DataArray(values, dims=("text", "layer"), name="x", attrs={"units": "rad"})
    found = ll.band(x.assign_coords(group=("text", group)), seed=seed)
    by_hand = simultaneous_band(values.reshape(60, 2, 3).mean(1), seed=seed)
    np.testing.assert_allclose(found["x"], by_hand.estimate)
    np.testing.assert_allclose(found["x_low"], by_hand.low)
    np.testing.assert_allclose(found["x_high"], by_hand.high)
    assert found["x_low"].attrs["units"] == "rad"
    assert not np.allclose(found["x_low"], ll.band(x, seed=seed)["x_low"])


def test_layers_are_named_by_their_numbers() -> None:
    """Not by their rows."""
    where = xr.DataArray([True, False, True, True], {"layer": [3, 5, 8, 9]}, "layer")
    assert ll.named(where) == "layers 3 and 8–9"
    assert ll.named(where & False) == ll.named([]) == "no layer"
