import string
import tempfile
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import xarray as xr
from hypothesis import example, given, settings
from hypothesis import strategies as st

from laminar_lens.results import StudyResult, load_result

any_text = st.text(st.characters(codec="utf-8"), max_size=6)
"""No lone surrogates: no tokenizer decodes to one, and pandas with pyarrow cannot hold it."""
names = st.text(string.ascii_lowercase, min_size=1, max_size=5)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    any_text,
    st.lists(st.integers(), max_size=3),
)
dtypes = st.sampled_from(["<f4", "<f8", "<i1", "<i4", "<i8", "<u1", "?"])


@st.composite
def datasets(draw):
    sizes = {"layer": draw(st.integers(0, 3)), "prompt": draw(st.integers(1, 3))}
    variables = {}
    for name in draw(st.lists(names, min_size=1, max_size=4, unique=True)):
        dims = draw(st.sampled_from([(), ("layer",), ("prompt",), ("layer", "prompt")]))
        shape = tuple(sizes[d] for d in dims)
        if draw(st.booleans()):
            values = np.empty(shape, dtype=object)
            for index in np.ndindex(shape):
                values[index] = draw(any_text)
        else:
            values = draw(hnp.arrays(draw(dtypes), shape))
        notes = draw(st.dictionaries(names, scalars, max_size=2))
        variables[f"var_{name}"] = xr.Variable(dims, values, notes)
    attrs = {f"attr_{key}": value for key, value in draw(st.dictionaries(names, scalars, max_size=3)).items()}
    texts = [f"t{i}" for i in range(sizes["prompt"])]
    coords = {"layer": np.arange(sizes["layer"]), "text": ("prompt", texts)}
    return xr.Dataset(variables, coords, {"study": "sequential", **attrs})


ENDS_LIKE_ONE = xr.Dataset(
    {"var_place": ("layer", np.zeros(0, "<f4"))},
    {"layer": np.arange(0), "text": ("prompt", ["t0"])},
    {"study": "sequential", "attr_skip": "none"},
)
"""Names that end like a study's own are not that."""


@settings(max_examples=60, deadline=None)
@given(datasets())
@example(ENDS_LIKE_ONE)
def test_save_and_load_is_the_identity(dataset):
    result = StudyResult(dataset)
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_result(result.save(Path(folder) / "x.nc"))
    assert loaded.numbers_sha256 == result.numbers_sha256
    assert set(loaded.dataset.coords) == set(result.dataset.coords)
    for name, variable in result.dataset.variables.items():
        other = loaded.dataset.variables[name]
        assert other.dims == variable.dims
        assert other.dtype.kind == variable.dtype.kind
        assert other.values.tobytes() == variable.values.tobytes() or variable.dtype.kind in "OU"
        assert other.dtype.kind not in "OU" or other.values.tolist() == variable.values.tolist()
        assert other.attrs == variable.attrs
    for key, value in dataset.attrs.items():
        assert loaded.dataset.attrs[key] == value
