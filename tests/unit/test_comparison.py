"""One study on several models: curves along a common depth, paired differences, words, and the command."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import laminar_lens as ll
from laminar_lens.cli import main
from laminar_lens.cli.compare import _labels
from laminar_lens.cli.run import _by_model
from laminar_lens.comparison.view import curves
from laminar_lens.comparison.words import _difference
from laminar_lens.errors import InputError
from laminar_lens.results import StudyResult
from laminar_lens.stats.bootstrap import simultaneous_band
from tests.conftest import save_random_model

FEW: dict[str, Any] = {"random_init": False, "geometries": False}
LENGTH = "length_of_position_0_over_the_median"


@pytest.fixture(scope="module")
def deeper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five blocks where `tiny_gpt2` has three, of the same tokenizer."""
    return save_random_model(tmp_path_factory.mktemp("deeper"), "gpt2", seed=5, n_layer=5)


@pytest.fixture(scope="module")
def tokens() -> torch.Tensor:
    return torch.randint(3, 300, (60, 10), generator=torch.Generator().manual_seed(11))


@pytest.fixture(scope="module")
def pair(tiny_gpt2: Path, deeper: Path, tokens: torch.Tensor) -> dict[str, StudyResult]:
    return {
        name: ll.sink_study(ll.load_model(folder), tokens, **FEW)
        for name, folder in (("three", tiny_gpt2), ("five", deeper))
    }


def ratios(result: StudyResult) -> np.ndarray:
    """Length of position 0 over the text's median [text layer]."""
    return np.asarray(result.dataset["ratio"].values[:, :, 0], dtype=float)


def test_curves_are_means_over_texts_by_depth(pair: dict[str, StudyResult]) -> None:
    data = ll.compare(pair).dataset
    np.testing.assert_allclose(data["depth"].values[0, :4], [0, 1 / 3, 2 / 3, 1])
    np.testing.assert_allclose(data["depth"].values[1], np.arange(6) / 5)
    for row, result in enumerate(pair.values()):
        own, n = ratios(result), len(result.dataset["layer"])
        band = simultaneous_band(own, seed=0)
        np.testing.assert_allclose(data[LENGTH].values[row, :n], own.mean(0), rtol=1e-12)
        np.testing.assert_array_equal(data[f"{LENGTH}_low"].values[row, :n], band.low)
        assert np.isnan(data[LENGTH].values[row, n:]).all()


def test_texts_pair_models_of_one_tokenizer(pair: dict[str, StudyResult]) -> None:
    data = ll.compare(pair).dataset
    assert data["other"].values.tolist() == ["five"]
    np.testing.assert_allclose(data["common_depth"].values, [0, 1 / 3, 2 / 3, 1])
    three, five = (ratios(one) for one in pair.values())
    at = np.stack([np.interp(data["common_depth"].values, np.arange(6) / 5, text) for text in five])
    band = simultaneous_band((at - three)[:, None], seed=0)
    np.testing.assert_allclose(data[f"{LENGTH}_difference"].values, band.estimate, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(data[f"{LENGTH}_difference_low"].values, band.low, rtol=1e-6)


def test_a_model_does_not_differ_from_itself(pair: dict[str, StudyResult]) -> None:
    made = ll.compare({"a": pair["three"], "b": pair["three"]})
    assert (made.dataset[f"{LENGTH}_difference"].values == 0).all()
    assert "no difference is shown at any depth" in made.sentence
    n = len(made.table("model_claims").rows())
    assert f"{n} of {n} claims have the same answer on each" in made.sentence


def test_other_texts_are_not_paired(pair: dict[str, StudyResult], deeper: Path, tokens: torch.Tensor) -> None:
    others = ll.sink_study(ll.load_model(deeper), tokens.flip(0), **FEW)
    made = ll.compare({"three": pair["three"], "five": others})
    assert f"{LENGTH}_difference" not in made.dataset
    assert "minus" not in made.sentence
    assert list(made.figures()) == [f"depth_{LENGTH}"]


def test_other_tokenizers_are_not_paired(pair: dict[str, StudyResult]) -> None:
    told = json.loads(pair["five"].dataset.attrs["provenance"])
    told["model"]["tokenizer_sha256"] = "0" * 64
    other = StudyResult(pair["five"].dataset.assign_attrs(provenance=json.dumps(told)))
    assert f"{LENGTH}_difference" not in ll.compare({"a": pair["three"], "b": other}).dataset


def test_claims_that_differ_are_named(pair: dict[str, StudyResult]) -> None:
    rows = pair["three"].summary()["claims"]
    verdicts = pair["three"].dataset["claim_verdict"].values.copy()
    verdicts[0] = "holds" if rows[0]["verdict"] != "holds" else "fails"
    tree = pair["three"].tree.copy()
    answer = tree["plain/answer"].to_dataset()
    answer["claim_verdict"] = answer["claim_verdict"].copy(data=verdicts)
    tree["plain/answer"] = answer
    said = ll.compare({"a": pair["three"], "b": StudyResult(tree)}).sentence
    assert f"{len(rows) - 1} of {len(rows)} claims have the same answer on each" in said
    assert re.search(rf"; {rows[0]['claim']} (is )?{rows[0]['verdict']} on a, (holds|fails) on b", said), said


def test_it_saves_loads_and_is_shown(pair: dict[str, StudyResult], tmp_path: Path) -> None:
    made = ll.compare(pair)
    loaded = ll.load_result(made.save(tmp_path / "compare.nc"))
    assert str(loaded.summary()) == str(made.summary())
    assert loaded.numbers_sha256 == made.numbers_sha256
    page = loaded.report(tmp_path / "compare.html").read_text(encoding="utf-8")
    assert "Comparison of models" in page
    assert list(loaded.figures()) == [f"depth_{LENGTH}", f"difference_{LENGTH}"]
    assert max(map(len, str(loaded.summary()).splitlines())) <= 80


def test_a_long_name_has_room_along_the_vertical_axis(pair: dict[str, StudyResult]) -> None:
    data = ll.compare(pair).dataset.copy()
    name = "log path ratio of nouns to adjectives, as they are (0.01: 1% longer)"
    data[LENGTH].attrs |= {"long_name": name}
    lines = curves(LENGTH, data).layout.yaxis.title.text.split("<br>")
    assert " ".join(lines) == name
    assert max(map(len, lines)) <= 36


def test_settings_that_differ_are_said(pair: dict[str, StudyResult], deeper: Path) -> None:
    short = ll.sink_study(ll.load_model(deeper), torch.randint(3, 300, (50, 8)), **FEW)
    notes = ll.compare({"three": pair["three"], "five": short}).warnings
    said = "The runs differ in length (--length): 10 (three), 8 (five)"
    assert any(note.startswith(said) for note in notes), notes


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "expected at least two results"),
        ("x.nc", "expected at least two results"),
        ({"a": "no.nc", "b": "no.nc"}, "no.nc"),
        ({"a": 3, "b": 4}, "'a' is 3; expected a study's result"),
        ({1: "a", 2: "b"}, "1 is no name of a model"),
        ({"a\nb": "a", "c": "b"}, "'a\\nb' is no name of a model"),
    ],
)
def test_what_is_no_result_is_one_line(given: Any, said: str) -> None:
    with pytest.raises(ll.LaminarLensError, match=re.escape(said)) as error:
        ll.compare(given)
    assert "\n" not in str(error.value)


def test_different_studies_are_not_compared(pair: dict[str, StudyResult], tiny_gpt2: Path) -> None:
    other = ll.warmup_study(ll.load_model(tiny_gpt2), n_texts=24, length=12, **FEW)
    with pytest.raises(InputError, match=r"different studies are not compared \(a sinks, b warmup\)"):
        ll.compare({"a": pair["three"], "b": other})
    with pytest.raises(InputError, match="expected a study's result"):
        ll.compare({"a": ll.compare(pair), "b": pair["three"]})


def test_the_command(
    tiny_gpt2: Path, deeper: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    how = ["--n-texts", "44", "--length", "8", "--no-random", "--no-geometries", "--out", str(out)]
    assert main(["compare", "sinks", str(tiny_gpt2), str(deeper), *how, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    names = {
        f"sinks-{tiny_gpt2.name}.nc",
        f"sinks-{deeper.name}.nc",
        "compare-sinks.nc",
        "compare-sinks.html",
    }
    assert {path.name for path in out.iterdir()} == names
    assert summary["settings"]["models"] == [tiny_gpt2.name, deeper.name]
    files = [str(out / name) for name in sorted(names) if name.startswith("sinks-")]
    again = tmp_path / "again"
    assert main(["compare", "sinks", *files, "--out", str(again), "--quiet"]) == 0
    made = {"compare-sinks.nc", "compare-sinks.html"}
    assert {path.name for path in again.iterdir()} == made
    said = capsys.readouterr().out.splitlines()
    assert set(said) == {str(again / name) for name in made}, "files that were read are told as written"


def test_files_are_called_by_their_model_and_by_their_name_where_two_are_alike(
    pair: dict[str, StudyResult],
) -> None:
    three, five = pair.values()
    first, second = (one.provenance["model"]["name"] for one in (three, five))
    files = {"old": Path("old.nc"), "sinks": Path("sinks.nc")}
    assert list(_by_model({"old": three, "sinks": five}, files)) == [first, second]
    assert list(_by_model({"old": three, "sinks": three}, files)) == [f"{first} (old)", f"{first} (sinks)"]
    run: dict[str, Any] = {first: "a request", "old": files["old"], "sinks": files["sinks"]}
    made = _by_model({first: Path("made.nc"), "old": three, "sinks": five}, run)
    assert made == {first: Path("made.nc"), f"{first} (old)": three, second: five}
    told = json.loads(three.dataset.attrs["provenance"])
    told["model"] |= {"name": "m", "checkpoint": "step 3"}
    at = StudyResult(three.dataset.assign_attrs(provenance=json.dumps(told)))
    assert list(_by_model({"old": at, "sinks": five}, files)) == ["m (step 3)", second]


def test_files_of_another_study_are_refused_before_anything_runs(
    pair: dict[str, StudyResult], tiny_gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where all files are of one study, but not of the one that was named."""
    files = [str(one.save(tmp_path / f"{name}.nc")) for name, one in pair.items()]
    for models in (files, [str(tiny_gpt2), files[0]]):
        assert main(["compare", "warmup", *models, "--out", str(tmp_path / "out")]) == 2
        told = capsys.readouterr().err
        assert "is a result of sinks, not of warmup: give files of one study" in told
        assert told.count("\n") == 1
        assert not (tmp_path / "out").exists()


def test_a_file_that_is_compared_is_not_replaced(
    pair: dict[str, StudyResult], tiny_gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = pair["five"].save(tmp_path / f"sinks-{tiny_gpt2.name}.nc")
    before = kept.read_bytes()
    assert main(["compare", "sinks", str(kept), str(tiny_gpt2), "--out", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert f"{str(kept)!r} is to be compared and would be replaced by a result" in told
    assert told.count("\n") == 1
    assert kept.read_bytes() == before


def test_every_model_has_a_name_of_its_own() -> None:
    names = _labels(["a/x", "b/x", "x-1", "x.nc", ".", "z@refs/pr/3"])
    assert len(set(names)) == len(names)
    assert all(name.strip() for name in names)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["sinks", "novella"], "is one model: give at least two"),
        (["nosuch", "novella", "smollm2"], "nosuch"),
        (["sinks", "novella", "novela"], "did you mean novella?"),
        (["sinks", "novella", "novella@main"], "in one state"),
        (["sinks", "novella", "missing.nc"], "does not exist"),
        (["sinks", "novella", "smollm2", "--n-texts", "1"], "--n-texts 1 is too small"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    line: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *line, "--out", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_texts_that_share_tokens_are_one_observation(tiny_gpt2: Path, deeper: Path) -> None:
    """A why-study's texts exchange their beginnings in twos: 60 are 30 observations, too few for a band."""
    texts = torch.randint(3, 300, (60, 40), generator=torch.Generator().manual_seed(2))
    found = {
        name: ll.why_study(ll.load_model(folder), texts, **FEW)
        for name, folder in (("three", tiny_gpt2), ("five", deeper))
    }
    data = ll.compare(found).dataset
    for row, one in enumerate(found.values()):
        assert one.measured is not None
        unit, own = one.measured["unit"].values, one.dataset["E11"].transpose("text", "layer").values
        assert len(np.unique(unit)) == 30
        right = np.mean([own[unit == k].mean(0) for k in np.unique(unit)], axis=0)
        np.testing.assert_allclose(data["E11"].values[row, : len(right)], right, rtol=1e-9)
    for name in ("E11", "E11_difference"):
        assert np.isnan(data[f"{name}_low"].values).all()
        assert "30 texts" in data[f"{name}_low"].attrs["withheld"]


def test_every_setting_that_differs_is_said(tiny_gpt2: Path, tokens: torch.Tensor) -> None:
    model = ll.load_model(tiny_gpt2)
    found = {str(k): ll.decomposition_study(model, tokens, body_from=k) for k in (1, 3)}
    assert ll.compare(found).warnings == ["The runs differ in body_from (--body-from): 1 (1), 3 (3)."]


def test_texts_behind_a_bos_are_other_tokens(
    pair: dict[str, StudyResult], deeper: Path, tokens: torch.Tensor
) -> None:
    with_bos = ll.sink_study(ll.load_model(deeper), tokens, prepend_bos=True, **FEW)
    made = ll.compare({"three": pair["three"], "five": with_bos})
    assert f"{LENGTH}_difference" not in made.dataset
    assert "The runs differ in prepend_bos (--bos): False (three), True (five)." in made.warnings


def test_three_models_are_each_compared_with_the_first(
    pair: dict[str, StudyResult], tmp_path: Path, tokens: torch.Tensor
) -> None:
    folder = save_random_model(tmp_path / "four", "gpt2", seed=8, n_layer=4)
    found = {**pair, "four": ll.sink_study(ll.load_model(folder), tokens, **FEW)}
    made = ll.compare(found)
    data, places = made.dataset, np.arange(4) / 3
    assert data["other"].values.tolist() == ["five", "four"]
    first = ratios(found["three"])
    for name, n in (("five", 5), ("four", 4)):
        own = [np.interp(places, np.arange(n + 1) / n, text) for text in ratios(found[name])]
        right = (np.stack(own) - first).mean(0)
        np.testing.assert_allclose(data[f"{LENGTH}_difference"].sel(other=name), right, rtol=1e-6, atol=1e-9)
        assert f"{name} minus three, of the same texts" in made.sentence


def test_chosen_layers_are_compared_where_both_were_measured(
    tiny_gpt2: Path, deeper: Path, tokens: torch.Tensor
) -> None:
    """Depths 1/3 and 2/3 of one, 1/5, 2/5 and 3/5 of the other: 1/3 alone lies among both."""
    how = {**FEW, "geometry": "raw"}
    three = ll.sink_study(ll.load_model(tiny_gpt2), tokens, layers=[1, 2], **how)
    five = ll.sink_study(ll.load_model(deeper), tokens, layers=[1, 2, 3], **how)
    data = ll.compare({"three": three, "five": five}).dataset
    np.testing.assert_allclose(data["depth"].values[:, :2], [[1 / 3, 2 / 3], [1 / 5, 2 / 5]])
    np.testing.assert_allclose(data["common_depth"].values, [1 / 3])
    at = np.stack([np.interp([1 / 3], [1 / 5, 2 / 5, 3 / 5], text) for text in ratios(five)])
    right = (at[:, 0] - ratios(three)[:, 0]).mean()
    rows = ll.compare({"three": three, "five": five}).table(f"depth_{LENGTH}").rows()
    assert [row["depth"] for row in rows] == [0.25, 0.5, 0.75], "no state is within half a block of an end"
    assert [np.isfinite(row["five"]) for row in rows] == [True, True, False], "3/5 is not 3/4"
    assert rows[0]["three"] == data[LENGTH].values[0, 0]
    assert data[f"{LENGTH}_difference"].values == pytest.approx(right, rel=1e-6)


def test_groups_count_once_and_must_agree(tiny_gpt2: Path, deeper: Path, tokens: torch.Tensor) -> None:
    groups = [k // 2 if k < 40 else k for k in range(60)]
    three, five = (
        ll.sink_study(ll.load_model(folder), tokens, groups=groups, **FEW) for folder in (tiny_gpt2, deeper)
    )
    data = ll.compare({"three": three, "five": five}).dataset
    assert f"{LENGTH}_difference" in data
    own = ratios(three)
    right = np.concatenate([own[:40].reshape(20, 2, -1).mean(1), own[40:]]).mean(0)
    np.testing.assert_allclose(data[LENGTH].values[0, :4], right, rtol=1e-9)
    alone = ll.sink_study(ll.load_model(deeper), tokens, **FEW)
    assert f"{LENGTH}_difference" not in ll.compare({"three": three, "five": alone}).dataset


def test_models_without_a_tokenizer_are_not_paired(pair: dict[str, StudyResult]) -> None:
    """Nobody knows whether the same ids are the same tokens."""
    bare = {}
    for name, one in pair.items():
        told = json.loads(one.dataset.attrs["provenance"])
        told["model"]["tokenizer_sha256"] = None
        bare[name] = StudyResult(one.dataset.assign_attrs(provenance=json.dumps(told)))
    assert f"{LENGTH}_difference" not in ll.compare(bare).dataset


def test_the_largest_difference_may_be_negative() -> None:
    names = {"what": "length", "unit": "rad", "models": "b minus a"}
    estimate = np.array([0.1, -0.5, 0.2, -0.9])
    low, high = estimate - 0.05, estimate + np.array([0.05, 0.05, 0.05, 1.0])
    said = _difference(estimate, low, high, np.arange(4) / 3, names)
    assert said == "Length, b minus a, of the same texts: largest −0.50 (−0.55 to −0.45) rad at depth 0.33."


def test_a_number_that_does_not_exist_withholds_its_band_alone(pair: dict[str, StudyResult]) -> None:
    data = pair["three"].dataset
    made = ll.compare(
        {"a": pair["five"], "b": StudyResult(data.assign(ratio=data["ratio"] * np.nan))}
    ).dataset
    assert np.isfinite(made[f"{LENGTH}_low"].values[0]).all()
    assert np.isnan(made[LENGTH].values[1]).all()
    assert "fewer than 2 texts" in made[f"{LENGTH}_low"].attrs["withheld"]
