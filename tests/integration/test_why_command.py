"""`laminar-lens why`: files, tables, JSON, and what it refuses in one line before anything is loaded."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import laminar_lens as ll
from laminar_lens.cli import main
from laminar_lens.geometry import GEOMETRIES
from laminar_lens.stats.why_effects import VERDICTS


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    who = ("He", "She", "They", "We", "I", "Somebody")
    path.write_text("".join(f"{one} drove her to the old house by the river.\n" for one in who))
    return path


def test_a_run_writes_the_result_and_its_page(
    tiny_gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = ["--n-texts", "90", "--length", "12", "--at", "6-8", "--out", str(out)]
    assert main(["why", "--model", str(tiny_gpt2), *options, "--json"]) == 0
    printed = capsys.readouterr()
    summary = json.loads(printed.out)
    assert summary["files"] == {"result": str(out / "why.nc"), "page": str(out / "why.html")}
    assert [claim["claim"] for claim in summary["claims"]] == ["C8"]
    assert summary["claims"][0]["verdict"] in VERDICTS
    assert [row["layer"] for row in summary["effects"]] == [0, 1, 2, 3]
    assert summary["settings"]["at"] == [6, 7, 8]
    loaded = ll.load_result(out / "why.nc")
    assert loaded.kind == "why"
    page = (out / "why.html").read_text()
    assert "<h2>Why first pairs stand apart</h2>" in page
    assert "<h2>In other geometries</h2>" in page
    assert [row["geometry"] for row in summary["geometries"]] == list(GEOMETRIES)
    assert main(["show", str(out / "why.nc")]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(loaded.sentence.split(":")[0])
    for text in ("C8", "Effects by layer (rad)", "token × place", "answer", "By geometry, in layer "):
        assert text in shown


def test_a_rotary_model_has_no_position_factor(
    tiny_llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--n-texts", "20", "--length", "12", "--no-random", "--out", str(tmp_path)]
    assert main(["why", "--model", str(tiny_llama), *options]) == 0
    shown = capsys.readouterr().out
    assert "warning: The position factor is not applicable" in shown
    assert "rotary" in shown


def test_in_a_geometry(tiny_gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--n-texts", "40", "--length", "12", "--no-random", "--out", str(tmp_path), "--json"]
    geometry = ["--geometry", "centred", "--no-geometries"]
    assert main(["why", "--model", str(tiny_gpt2), *options, *geometry]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["settings"]["geometry"] == "centred"
    assert summary["geometries"] == []
    assert any("measured in the geometry 'centred'" in line for line in summary["warnings"])


def test_given_texts_and_quiet(
    tiny_gpt2: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--texts", str(texts), "--length", "10", "--no-random", "-q", "--out", str(tmp_path)]
    assert main(["why", "--model", str(tiny_gpt2), *options]) == 0
    printed = capsys.readouterr()
    assert printed.out.split() == [str(tmp_path / "why.nc"), str(tmp_path / "why.html")]
    assert printed.err == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--at 0", "--at 0 leaves no context"),
        ("--at 63", "--at 63 is out of range: texts of 64 tokens have pairs 0 to 62"),
        ("--length 20 --at 5-19", "--at 19 is out of range"),
        ("--at x", "--at 'x': 'x' is no position or range"),
        ("--n-texts 3", "--n-texts 3 is too small: give 4 or more"),
        ("--tau 4", "--tau 4.0 is no angle"),
        ("--layers 9", "--layers 9 is out of range"),
        ("--length 65", "--length 65 is too long"),
        ("--backend fast", "--backend 'fast' is unknown"),
        ("--bos", "--bos is no option of why: a pair with a BOS"),
        ("--seed -1", "--seed -1 is too small"),
        ("--geometry center", "--geometry 'center' is unknown"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_loaded(
    options: str, said: str, tiny_gpt2: Path
) -> None:
    code = (
        "import sys\nfrom laminar_lens.cli import main\n"
        f"status = main({['why', '--model', str(tiny_gpt2), *options.split()]!r})\n"
        "print(status, *sorted({'torch', 'transformer_lens', 'xarray', 'plotly'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2"], done.stdout
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_names_the_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["why", "--help"]) == 0
    assert "position, context, either, jointly, none" in " ".join(capsys.readouterr().out.split())
