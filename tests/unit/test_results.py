import json
import os

import numpy as np
import pytest
import xarray as xr

from laminar_lens.errors import ResultError
from laminar_lens.results import (
    StudyResult,
    Summary,
    atomic_path,
    label_dataset,
    load_result,
    make_provenance,
    write_text,
)
from laminar_lens.results.seal import seal_of
from laminar_lens.words import estimate_text
from tests.synthetic import sequential_dataset, warmup_dataset, with_warmup

INF = float("inf")


@pytest.fixture
def result() -> StudyResult:
    return with_warmup(sequential_dataset(n_layers=4, n_prompts=5))


def one_line(error: pytest.ExceptionInfo[ResultError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def seal(path):
    """Seals a file that HDF5 changed in place, which has cut the old seal off."""
    path.write_bytes((raw := path.read_bytes()) + seal_of(raw))


def test_saved_result_loads_identically(result, tmp_path):
    loaded = load_result(result.save(tmp_path / "study.nc"))
    assert type(loaded) is StudyResult
    assert loaded.numbers_sha256 == result.numbers_sha256
    xr.testing.assert_equal(loaded.dataset, result.dataset)
    for name, variable in result.dataset.variables.items():
        assert loaded.dataset[name].attrs == variable.attrs
        assert loaded.dataset[name].dtype.kind == variable.dtype.kind
    assert str(loaded.summary()) == str(result.summary())


def test_a_second_save_of_a_loaded_result_has_the_same_numbers(result, tmp_path):
    once = load_result(result.save(tmp_path / "a.nc"))
    twice = load_result(once.save(tmp_path / "b.nc"))
    assert twice.numbers_sha256 == result.numbers_sha256


def test_awkward_values_survive(tmp_path):
    dataset = label_dataset(
        xr.Dataset(
            {
                "token": (("prompt", "pos"), np.array([["a\0", "\\u0000"], ["b\0c", ""]], dtype=object)),
                "half": ("prompt", ["\ud800", "\\"]),
                "flag": ("prompt", np.array([True, False])),
                "none": (("nothing",), np.zeros(0, dtype="<U1")),
                "negative_zero": ("prompt", np.array([-0.0, np.nan])),
                "scalar": ((), np.float32(1.5)),
            },
            {"name\0": ("prompt", ["json:1", "é"])},
            {"yes": True, "none": None, "dict": {"a": [1, None]}, "empty": "", "json": "json:2", "inf": INF},
        ),
        study="sequential",
        sentence="A \0 in a sentence.",
        provenance={"nan": float("nan")},
        settings={},
    )
    dataset = dataset.rename({"name\0": "name"})
    dataset["scalar"].attrs = {"units": "rad", "bool": False, "big": 2**70}
    loaded = load_result(StudyResult(dataset).save(tmp_path / "x.nc"))
    assert loaded.dataset["token"].values.tolist() == [["a\0", "\\u0000"], ["b\0c", ""]]
    assert loaded.dataset["half"].values.tolist() == ["\ud800", "\\"]
    assert loaded.dataset["flag"].dtype == bool
    assert loaded.dataset["none"].dtype.kind == "U"
    assert np.signbit(loaded.dataset["negative_zero"].values[0])
    assert loaded.dataset["scalar"].attrs == {"units": "rad", "bool": False, "big": 2**70}
    for key in ("yes", "none", "dict", "empty", "json", "inf"):
        assert loaded.dataset.attrs[key] == dataset.attrs[key]
    assert loaded.sentence == "A \0 in a sentence."
    assert loaded.provenance == {"nan": None}


def test_objects_that_are_not_text_are_refused():
    mixed = np.array([None, "a"], dtype=object)
    dataset = xr.Dataset({"x": ("prompt", mixed)}, attrs={"study": "sequential"})
    with pytest.raises(ResultError, match="'x'") as error:
        StudyResult(dataset)
    one_line(error)


def test_a_dataset_without_a_study_is_refused():
    with pytest.raises(ResultError, match="study is None"):
        StudyResult(xr.Dataset())


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.9, -1])
def test_truncated_file_is_refused(result, tmp_path, keep):
    path = result.save(tmp_path / "study.nc")
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep * len(raw)) if isinstance(keep, float) else keep])
    with pytest.raises(ResultError, match=r"study\.nc") as error:
        load_result(path)
    one_line(error)


def test_foreign_files_are_refused(tmp_path):
    (tmp_path / "text.nc").write_text("hello")
    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(tmp_path / "foreign.nc", engine="h5netcdf")
    for name, reason in (
        ("text.nc", "netCDF"),
        ("foreign.nc", "not a Laminar Lens result"),
        ("no.nc", "no such file"),
    ):
        with pytest.raises(ResultError, match=reason) as error:
            load_result(tmp_path / name)
        one_line(error)
    with pytest.raises(ResultError, match="no such file"):
        load_result(tmp_path)


def test_newer_format_and_unknown_study_say_so(result, tmp_path):
    import h5py

    path = result.save(tmp_path / "study.nc")
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = "laminar-lens/2"
    seal(path)
    with pytest.raises(ResultError, match=r"newer Laminar Lens.*upgrade") as error:
        load_result(path)
    one_line(error)
    other = StudyResult(result.dataset.assign_attrs(study="astrology"))
    with pytest.raises(ResultError, match="'astrology'"):
        load_result(other.save(path))


def test_a_changed_number_or_word_is_noticed(result, tmp_path):
    import h5py

    path = result.save(tmp_path / "study.nc")
    with h5py.File(path, "r+") as file:
        file["plain/answer/target_mean"][0] += 1e-12
    with pytest.raises(ResultError, match=r"seal.*altered"):
        load_result(path)
    seal(path)
    with pytest.raises(ResultError, match="was altered after it was saved"):
        load_result(path)
    path = result.save(path)
    with h5py.File(path, "r+") as file:
        file["plain/answer"].attrs["sentence"] = "Leave out nothing."
    seal(path)
    with pytest.raises(ResultError, match="was altered after it was saved"):
        load_result(path)


def test_flipped_bits_never_change_what_is_read(result, tmp_path):
    small = StudyResult(result.dataset[["target_angle", "claim_verdict"]])
    path = small.save(tmp_path / "study.nc")
    raw = path.read_bytes()
    sentence = small.sentence
    rng = np.random.default_rng(0)
    refused = same = 0
    for place in rng.integers(0, len(raw), 60):
        damaged = bytearray(raw)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            loaded = load_result(path)
        except ResultError as error:
            refused += "\n" not in str(error)
        else:
            assert (loaded.numbers_sha256, loaded.sentence) == (small.numbers_sha256, sentence)
            same += 1
    assert refused > 0
    assert refused + same == 60


@pytest.mark.parametrize("place", ["missing/study.nc", ".", "file/study.nc", "x" * 300])
def test_unwritable_output_is_one_line(result, tmp_path, place):
    (tmp_path / "file").write_text("")
    before = sorted(os.listdir(tmp_path))
    for write in (result.save, lambda path: write_text(path, "page")):
        with pytest.raises(ResultError, match="cannot write") as error:
            write(tmp_path / place)
        one_line(error)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(result, tmp_path, monkeypatch):
    path = result.save(tmp_path / "study.nc")
    before = path.read_bytes()

    def broken(*args, **kwargs):
        raise ValueError("disk\non fire")

    monkeypatch.setattr(xr.DataTree, "to_netcdf", broken)
    with pytest.raises(ResultError, match="disk on fire") as error:
        result.save(path)
    one_line(error)
    assert os.listdir(tmp_path) == ["study.nc"]
    assert path.read_bytes() == before


def test_atomic_path_keeps_the_earlier_file_when_interrupted(tmp_path):
    target = tmp_path / "page.html"
    write_text(target, "first")

    def interrupted():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "first"
    assert os.listdir(tmp_path) == ["page.html"]


def test_the_hash_ignores_the_date_and_sees_every_number(result):
    other = with_warmup(result.dataset.assign_attrs(provenance="{}"))
    assert other.numbers_sha256 == result.numbers_sha256
    renamed = with_warmup(result.dataset.rename(target_mean="target_average"))
    changed = result.dataset.copy(deep=True)
    changed["token"].values[0, 0] = "x"
    part = warmup_dataset(4)
    part["delta"].values[0, 0] = 0.5
    others = [renamed, with_warmup(changed), with_warmup(result.dataset, part), StudyResult(result.dataset)]
    assert len({one.numbers_sha256 for one in (result, *others)}) == 5


def test_summary_is_json_and_a_table(result):
    result.dataset["claim_low"].values[0] = np.nan
    summary = result.summary()
    again = json.loads(json.dumps(summary, allow_nan=False))
    assert again == summary
    assert summary["claims"][0]["low"] is None
    assert [row["claim"] for row in summary["claims"]] == ["C1", "C2", "C3", "C4", "C5", "C6", "C7"]
    assert set(summary) >= {"study", "sentence", "claims", "settings", "provenance", "warnings", "by_layer"}
    lines = str(summary).splitlines()
    assert max(map(len, lines)) <= 100
    assert result.sentence.startswith(lines[0])
    text = str(summary)
    assert (
        text.index("C1") < text.index("C7") < text.index("Warm-up by layer") < text.index("model synthetic")
    )


def test_summary_of_a_warm_up_has_its_layers():
    result = StudyResult(warmup_dataset(n_layers=4, n_texts=6, length=12))
    summary = result.summary()
    assert summary["claims"] == []
    assert [row["layer"] for row in summary["by_layer"]] == [0, 1, 2, 3, 4]
    assert summary["by_layer"][0]["n_needed"] is None
    assert max(map(len, str(summary).splitlines())) <= 100


def test_summary_of_nothing():
    assert str(Summary({"sentence": "Nothing."})).startswith("Nothing.")
    assert Summary({"x": {np.float64("inf"): {1, 2}}, "y": np.array([np.nan, 1.0])}) == {
        "x": {"inf": [1, 2]},
        "y": [None, 1.0],
    }


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((5.0, 4.0, 6.0), "5 [4, 6] x"),
        ((38.0, 14.0, None), "38 [14, –] x"),
        ((0.0, 0.0, 0.103), "0.000 [0.000, 0.103] x"),
        ((1.314, 1.2, INF), "1.31 [1.20, –] x"),
        ((-0.02, None, None), "−0.020 x"),
        ((0.0, -0.00044, 1.0), "0.0000 [−0.0004, 1.0000] x"),
        ((123456.0, 12.34, 2e6), "123,456 [12, 2,000,000] x"),
        ((None, 1.0, 2.0), "–"),
        ((float("nan"), float("nan"), float("nan")), "–"),
    ],
)
def test_estimates_read_well(values, text):
    row = dict(zip(("estimate", "low", "high"), values, strict=True), unit="x")
    assert estimate_text(row) == text
    assert estimate_text(row | {"unit": "1"}) == text.removesuffix(" x")


def test_provenance_is_complete_and_depends_on_the_texts():
    made = make_provenance({"name": "m"}, {"skip": 0}, backend="eager", seed=3, texts=["a", "b"])
    assert json.loads(json.dumps(made)) == made
    assert made["n_texts"] == 2
    assert made["versions"]["torch"]
    assert "laminar-lens" in made["versions"]
    other = make_provenance({"name": "m"}, {}, backend="eager", seed=3, texts=["ab"])
    assert other["texts_sha256"] != made["texts_sha256"]
    tokens = np.arange(6)
    rows = make_provenance({}, {}, backend="eager", seed=0, texts=tokens.reshape(2, 3))
    columns = make_provenance({}, {}, backend="eager", seed=0, texts=tokens.reshape(3, 2))
    assert (rows["n_texts"], columns["n_texts"]) == (2, 3)
    assert rows["texts_sha256"] != columns["texts_sha256"]


def test_html_for_notebooks_is_escaped(result):
    result.dataset.attrs["sentence"] = "<script>alert(1)</script>"
    page = result._repr_html_()
    assert "<script>" not in page
    assert "C7" in page
    assert "sequential" in repr(result)
