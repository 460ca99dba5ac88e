"""`laminar-lens decomposition`: its files, tables and figures, and what it refuses with nothing loaded."""

import json
from pathlib import Path

import numpy as np
import pytest

import laminar_lens as ll
from laminar_lens.cli import main

FIGURES = {
    *("decomposition_cosine", "decomposition_places", "decomposition_lengths", "decomposition_lengthening"),
    *("decomposition_turning", "decomposition_angles", "decomposition_heads"),
}


def test_a_run_is_the_study_with_its_page(
    tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")  # a narrow terminal does without some columns
    options = [
        "--n-texts",
        "50",
        "--length",
        "12",
        "--body-from",
        "2",
        "--heads",
        "--layers",
        "1,3",
        "--json",
    ]
    assert main(["decomposition", "--model", str(tiny_llama), *options, "--out", str(tmp_path)]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert [claim["claim"] for claim in summary["claims"]] == ["W1", "W2", "W3", "W4"]
    assert {"body_from": 2, "heads": True, "layers": [1, 3]}.items() <= summary["settings"].items()
    found = ll.load_result(tmp_path / "decomposition.nc")
    how = {"n_texts": 50, "length": 12, "body_from": 2, "heads": True, "layers": [1, 3], "texts": "passages"}
    assert ll.decomposition_study(ll.load_model(tiny_llama), **how).numbers_sha256 == found.numbers_sha256
    page = (tmp_path / "decomposition.html").read_text(encoding="utf-8")
    assert "Attention and MLP against each other" in page
    assert "published claims" not in page
    assert set(found.tables()) >= {"by_step", "by_part"}
    drawn = found.figures()
    assert set(drawn) == FIGURES
    for figure in drawn.values():
        assert figure.layout.meta["caption"]
        assert figure.layout.xaxis.title.text
        assert figure.layout.yaxis.title.text
    line = next(one for one in drawn["decomposition_cosine"].data if str(one.name).startswith("same token"))
    np.testing.assert_allclose(line.y, found.dataset["cosine"].values)
    np.testing.assert_allclose(
        drawn["decomposition_places"].data[0].z, found.dataset["place_cosine"].values.T
    )
    assert main(["show", str(tmp_path / "decomposition.nc")]) == 0
    shown = capsys.readouterr().out
    assert " ".join(shown.split()).startswith(found.sentence)
    assert all(words in shown for words in ("W1", "W4", "other tokens", "MLP/attention"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--body-from -1", "--body-from -1 is too small: give 0 or more"),
        ("--heads --geometry centred", "--heads and --geometry centred exclude each other"),
        ("--layers 0", "--layers 0 is written by no block"),
        ("--body-from 11 --length 12", "--body-from 11 leaves no two tokens in texts of 12"),
        ("--no-random", "--no-random is no option of decomposition: it compares with"),
        ("--final-norm", "--final-norm is no option of decomposition: a step ends at"),
        ("--geometries", "--geometries is no option of decomposition: it measures in one"),
    ],
)
def test_what_does_not_fit_is_one_line(
    tiny_gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: str, message: str
) -> None:
    given = ["--model", str(tiny_gpt2), "--out", str(tmp_path / "out"), *options.split()]
    assert main(["decomposition", *given]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()
