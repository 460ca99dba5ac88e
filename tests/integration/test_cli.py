"""Whole runs of the command line on a small model: files, tables, and what goes to which stream."""

import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import laminar_lens as ll
from laminar_lens.cli import main

PROMPTS = """\
They praised her for it.
The company promoted her.
They admired her courage.
A boy gave her the book.
In the morning he drove her to the old house.
The teacher praised her too.
The sister thanked her for the answer.
"""


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    path.write_text(PROMPTS)
    return path


@pytest.fixture(scope="module")
def run(tiny_gpt2: Path, prompts: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run of `sequential` with --json in a process of its own, on TransformerLens as it is installed."""
    out = tmp_path_factory.mktemp("run") / "new" / "folder"
    options = ["--model", tiny_gpt2, "--prompts", prompts, "--n-texts", "40", "--out", out, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "laminar_lens", "sequential", *map(str, options)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return {"out": out, "stdout": done.stdout, "stderr": done.stderr, "status": done.returncode}


def test_json_is_all_that_standard_output_carries(run: dict[str, Any]) -> None:
    assert run["status"] == 0, run["stderr"]
    summary = json.loads(run["stdout"])
    assert {"study", "sentence", "claims", "settings", "provenance", "warnings", "files"} <= set(summary)
    assert [claim["claim"] for claim in summary["claims"]] == [f"C{number}" for number in range(1, 8)]
    assert all(claim["verdict"] in ("holds", "fails", "undetermined") for claim in summary["claims"])
    assert summary["files"] == {name: str(run["out"] / file) for name, file in FILES.items()}
    assert "Traceback" not in run["stderr"]


FILES = {"result": "sequential.nc", "page": "sequential.html"}


def test_files_are_written_and_read_back(run: dict[str, Any]) -> None:
    assert sorted(path.name for path in run["out"].iterdir()) == sorted(FILES.values())
    study = ll.load_result(run["out"] / "sequential.nc")
    assert study.summary()["sentence"] == json.loads(run["stdout"])["sentence"]
    assert (run["out"] / "sequential.html").read_text(encoding="utf-8").lower().startswith("<!doctype html>")


def test_show_prints_sentence_claims_layers_and_paths(
    run: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert main(["show", str(run["out"] / "sequential.nc"), "--report", str(page)]) == 0
    out = capsys.readouterr().out
    words = " ".join(out.split())
    sentence = json.loads(run["stdout"])["sentence"]
    assert words.startswith(" ".join(sentence.split()))
    for expected in (
        "C1",
        "C7",
        "Angles by layer (rad); base: the published baseline",
        "Warm-up by layer",
        f"page: {page}",
    ):
        assert expected in words
    assert "\x1b" not in out
    assert max(map(len, out.replace(str(page), "").splitlines())) <= 80
    assert page.is_file()


def test_show_as_json_and_quietly(
    run: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = str(run["out"] / "sequential.nc")
    assert main(["show", result, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["study"], shown["files"]) == ("sequential", {})
    assert main(["show", result]) == 0
    assert "result:" not in capsys.readouterr().out  # it was read, not written
    assert main(["show", result, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    page = tmp_path / "page.html"
    assert main(["show", result, "--quiet", "--report", str(page)]) == 0
    assert capsys.readouterr() == (f"{page}\n", "")


def test_show_of_a_result_with_interventions(
    tiny_gpt2: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, changes = ll.load_model(tiny_gpt2), [ll.cut(2)]
    tokens = ll.sample_tokens(model, 20, 12)
    studies = {
        "Angles by layer": ll.sequential_study(
            model, prompts.read_text().splitlines(), target=" her", warmup=False, interventions=changes
        ),
        "Warm-up by layer": ll.warmup_study(model, tokens, interventions=changes),
    }
    for title, study in studies.items():
        path = study.save(tmp_path / "result.nc")
        assert main(["show", str(path)]) == 0
        shown = capsys.readouterr().out
        assert title in shown
        assert "Against the plain run" in shown
        assert "cut(2)" in shown


def test_a_pipe_that_closes_early_is_no_traceback(run: dict[str, Any]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "laminar_lens", "show", str(run["out"] / "sequential.nc")],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, "")


def test_warmup_writes_its_files_and_quiet_names_them(
    tiny_gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", tiny_gpt2, "--n-texts", "30", "--length", "16", "--out", tmp_path, "--quiet"]
    assert main(["warmup", *map(str, options)]) == 0
    expected = [tmp_path / "warmup.nc", tmp_path / "warmup.html"]
    assert capsys.readouterr() == ("".join(f"{path}\n" for path in expected), "")
    assert all(path.is_file() for path in expected)
    assert ll.load_result(expected[0]).kind == "warmup"


def test_the_same_seed_gives_the_same_numbers(
    tiny_gpt2: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hashes = []
    for name in ("first", "second"):
        options = [
            "--model",
            tiny_gpt2,
            "--prompts",
            prompts,
            "--out",
            tmp_path / name,
            "--json",
            "--no-warmup",
        ]
        assert main(["sequential", "--seed", "3", *map(str, options)]) == 0
        hashes.append(json.loads(capsys.readouterr().out)["provenance"]["numbers_sha256"])
    assert hashes[0] == hashes[1]


def test_donors_of_a_file(tiny_gpt2: Path, prompts: Path, tmp_path: Path) -> None:
    texts = [
        f"In the morning {name} drove to the old house by the river." for name in ("he", "they", "a boy")
    ]
    donors = tmp_path / "donors.jsonl"
    donors.write_text("\n".join(json.dumps({"body": text}) for text in texts), encoding="utf-8")
    plain = "--no-warmup --no-random --no-geometries --n-draws 3 --n-perm 9 --quiet"
    where = ["--model", tiny_gpt2, "--prompts", prompts, "--out", tmp_path]
    assert main(["sequential", *plain.split(), *map(str, where), "--donors", f"{donors}:body"]) == 0
    how = {"warmup": False, "random_init": False, "n_draws": 3, "n_perm": 9}
    same = ll.sequential_study(ll.load_model(tiny_gpt2), ll.read_prompts(prompts), donors=texts, **how)
    found = ll.load_result(tmp_path / "sequential.nc")
    assert found.numbers_sha256 == same.numbers_sha256
    assert found.settings["donors"] == "given"


@pytest.mark.parametrize("what", ["sequential", "rotation", "turning", "step", "pairwise"])
def test_angles_are_dumped(
    what: str, tiny_gpt2: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "folder"
    options = ["--model", tiny_gpt2, "--what", what, "--format", "csv", "--out", out]
    assert main(["angles", str(prompts), *map(str, options)]) == 0
    assert capsys.readouterr().out == f"{out / 'angles.csv'}\n"
    header, *rows = (out / "angles.csv").read_text(encoding="utf-8").splitlines()
    assert "layer" in header
    assert "prompt" in header
    assert rows


def test_a_carriage_return_in_a_prompt_stays_in_its_cell(tiny_gpt2: Path, tmp_path: Path) -> None:
    import pandas as pd

    prompts = tmp_path / "prompts.txt"
    prompts.write_bytes(b"They saw\rher there.\n")
    options = ["--model", tiny_gpt2, "--format", "csv", "--out", tmp_path, "--layers", "1"]
    assert main(["angles", str(prompts), *map(str, options)]) == 0
    frame = pd.read_csv(tmp_path / "angles.csv")
    assert frame["layer"].eq(1).all()
    assert frame["token"].str.contains("\r").any()


def test_the_grid_is_a_table_and_a_file(
    tiny_gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", tiny_gpt2, "--n-texts", "30", "--length", "16", "--out", tmp_path, "--grid"]
    assert main(["warmup", *map(str, options)]) == 0
    out = capsys.readouterr().out
    assert "Sensitivity" in out
    assert (tmp_path / "warmup.grid.csv").read_text().count("\n") > 4


@pytest.mark.parametrize("kept", [False, True])
def test_no_file_says_where_on_this_machine_anything_is(tiny_gpt2: Path, tmp_path: Path, kept: bool) -> None:
    """With `--keep-paths`, the model's provenance does."""
    texts = tmp_path / "own texts.txt"
    texts.write_text("\n".join([*PROMPTS.splitlines(), *PROMPTS.splitlines(), "She told her. " * 9]))
    shutil.copytree(tiny_gpt2, model := tmp_path / "my-model")
    out = tmp_path / "out"
    options = ["--model", model, "--texts", texts, "--length", "6", "--grid", "--quiet", "--out", out]
    options += ["--keep-paths"] if kept else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert main(["warmup", *map(str, options)]) == 0
    study = ll.load_result(out / "warmup.nc")
    assert study.provenance["model"]["name"] == "my-model"
    assert study.provenance["model"].get("path") == (str(model) if kept else None)
    said = {path.name: path.read_bytes() for path in out.iterdir()}
    said["attributes"] = str([(node.attrs, node.dataset.variables) for node in study.tree.subtree]).encode()
    page = said["warmup.html"].decode()
    assert "<span>model my-model</span>" in page
    assert "Under other choices" in page
    for name, text in said.items():
        for place in (tmp_path, Path.home(), Path(sys.prefix), Path(ll.__file__).parent):
            found = re.findall(rb".{0,60}" + re.escape(str(place).encode()) + rb".{0,40}", text)
            assert bool(found) == (kept and place == tmp_path and name != "warmup.grid.csv"), (name, found)


def test_the_grid_of_a_study_measures_what_the_study_measures(
    tiny_gpt2: Path, prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pandas as pd

    chosen = (
        "--no-warmup --n-texts 30 --grid --quiet --regex --target h.r --occurrence last --layers 1 --skip 1 "
        "--tau 0.2"
    )
    options = [*chosen.split(), "--baseline", "adjacent", "--model", tiny_gpt2, "--prompts", prompts]
    assert main(["sequential", *map(str, options), "--out", str(tmp_path)]) == 0
    frame = pd.read_csv(tmp_path / "sequential.grid.csv")
    row = frame.query("not prepend_bos and not final_norm and tau == 0.2").iloc[0]
    study = ll.load_result(tmp_path / "sequential.nc").dataset
    assert row["target_angle"] == pytest.approx(study["target_mean"].item(), abs=1e-9)
    assert row["layer"] == 1
