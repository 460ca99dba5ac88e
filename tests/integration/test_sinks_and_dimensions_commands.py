"""`laminar-lens sinks` and `dimensions`: files, tables, JSON, and what they refuse with nothing loaded."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import laminar_lens as ll
from laminar_lens.cli import main
from laminar_lens.cli.screen import say
from laminar_lens.results import StudyResult

STUDIES = ("sinks", "dimensions")
CLAIMS = {
    "sinks": ["S1", "S2", "S3", "S4", "S5a", "S5b", "S5c", "S6"],
    "dimensions": [f"D{n}" for n in range(1, 5)],
}
SHOWN = {
    "sinks": (
        "What attention-sink research claims",
        "Position 0 by layer",
        "top head",
        "over 0.3",
        "of 4",
    ),
    "dimensions": ("The claims of this study", "The first pair's angle by layer", "without 3", "3 random"),
}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    who = ("He", "She", "They", "We", "I", "Somebody")
    path.write_text("".join(f"{one} drove her to the old house by the river.\n" for one in who))
    return path


@pytest.mark.parametrize("study", STUDIES)
def test_a_run_writes_the_result_and_its_page(
    study: str,
    tiny_gpt2: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "120")  # a narrow terminal does without some columns
    out = tmp_path / "out"
    options = ["--n-texts", "60", "--length", "12", "--bos", "--seed", "3", "--out", str(out)]
    assert main([study, "--model", str(tiny_gpt2), *options, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["files"] == {"result": str(out / f"{study}.nc"), "page": str(out / f"{study}.html")}
    assert [claim["claim"] for claim in summary["claims"]] == CLAIMS[study]
    wanted = {"n_texts": 60, "length": 12, "prepend_bos": True, "texts": "passages"}
    assert wanted.items() <= summary["settings"].items()
    assert summary["provenance"]["seed"] == 3
    loaded = ll.load_result(out / f"{study}.nc")
    assert loaded.kind == study
    assert "published claims" not in (out / f"{study}.html").read_text(encoding="utf-8")
    assert main(["show", str(out / f"{study}.nc")]) == 0
    shown = capsys.readouterr().out
    assert " ".join(shown.split()).startswith(loaded.sentence)
    assert [words for words in (*CLAIMS[study], *SHOWN[study]) if words not in shown] == []


@pytest.mark.parametrize("study", STUDIES)
def test_the_command_is_the_study(study: str, tiny_gpt2: Path, texts: Path, tmp_path: Path) -> None:
    """Options that only one of them has arrive too; one text a line, as in Python."""
    special, chosen = {
        "sinks": (["--no-random"], {"random_init": False, "geometries": True}),
        "dimensions": ([], {}),
    }[study]
    special += ["--layers", "1,3", "--final-norm"]
    chosen |= {"layers": [1, 3], "final_norm": True}
    options = ["--texts", str(texts), "--length", "10", "--geometry", "centred", "-q", "--out", str(tmp_path)]
    assert main([study, "--model", str(tiny_gpt2), *options, *special]) == 0
    function = {"sinks": ll.sink_study, "dimensions": ll.dimension_study}[study]
    same = function(ll.load_model(tiny_gpt2), texts, length=10, geometry="centred", **chosen)
    assert ll.load_result(tmp_path / f"{study}.nc").numbers_sha256 == same.numbers_sha256


@pytest.mark.parametrize("study", STUDIES)
def test_packed_rows_and_groups(study: str, tiny_gpt2: Path, tmp_path: Path) -> None:
    """Documents behind token 0, and a label for each row, of a field of its own."""
    who = ("He", "She", "They", "We", "I", "Somebody", "A boy", "The teacher", "My brother", "No one")
    packed = [
        "".join(f"<|endoftext|>{one} gave {it} the book by the old river." for it in ("her", "him", "them"))
        for one in who
    ]
    labels = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "i"]
    file = tmp_path / "rows.jsonl"
    rows = [{"text": text, "by": label} for text, label in zip(packed, labels, strict=True)]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    options = ["--document-starts", "0", "--groups", f"{file}:by", "--length", "8", "-q"]
    given = ["--model", str(tiny_gpt2), "--texts", str(file), "--out", str(tmp_path)]
    assert main([study, *given, *options]) == 0
    found = ll.load_result(tmp_path / f"{study}.nc")
    more = {"geometries": True} if study == "sinks" else {}
    function = {"sinks": ll.sink_study, "dimensions": ll.dimension_study}[study]
    how = {"document_starts": 0, "groups": labels, "length": 8}
    same = function(ll.load_model(tiny_gpt2), packed, **how, **more)
    assert found.numbers_sha256 == same.numbers_sha256
    assert (found.settings["document_starts"], found.settings["grouped"]) == (0, True)
    assert found.settings["n_texts"] == 3 * len(who)


@pytest.mark.parametrize("study", STUDIES)
def test_several_files_quietly(
    study: str, tiny_gpt2: Path, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = texts.read_text(encoding="utf-8").splitlines()
    files = [tmp_path / f"{k}.txt" for k in range(4)]
    for k, file in enumerate(files):
        file.write_text("\n".join(lines[k : k + 2]), encoding="utf-8")
    given = [argument for file in files for argument in ("--texts", str(file))]
    options = [*given, "--length", "10", "-q", "--out", str(tmp_path)]
    assert main([study, "--model", str(tiny_gpt2), *options]) == 0
    printed = capsys.readouterr()
    assert printed.out.split() == [str(tmp_path / f"{study}.{end}") for end in ("nc", "html")]
    assert printed.err == ""
    assert ll.load_result(tmp_path / f"{study}.nc").settings["grouped"] is True


BOTH = (
    ("--length 65", "--length 65 is too long"),
    ("--length 64 --bos", "--length 64 is too long"),
    ("--length 3", "--length 3 is too small: give 4 or more"),
    ("--seed -1", "--seed -1 is too small"),
    ("--n-texts two", "'two' is no whole number"),
    ("--geometry flat", "--geometry 'flat' is unknown"),
    ("--dtype float8", "--dtype 'float8' is unknown"),
    ("--model ./nowhere", "no such folder"),
    ("--texts ./none.txt", "'none.txt' does not exist"),
    ("--out {texts}", "is a file; give a folder with --out"),
    ("--texts {texts}", "0 of 6 texts in --texts have 64 tokens"),
    ("--tau 0.1", "--tau is no option of"),
    ("--backend eager", "--backend is no option of"),
)
REFUSED = [
    *((study, *case) for study in STUDIES for case in BOTH),
    ("sinks", "--n-texts 1", "--n-texts 1 is too small: give 2 or more"),
    ("sinks", "--layers 3-9", "--layers 3-9 is out of range"),
    ("sinks", "--texts {texts} --groups ./none.txt", "--groups file './none.txt' does not exist"),
    ("sinks", "--document-starts -1", "--document-starts -1 is too small: give 0 or more"),
    ("dimensions", "--n-texts 3", "--n-texts 3 is too small: give 4 or more"),
    ("dimensions", "--layers 9", "--layers 9 is out of range"),
    ("dimensions", "--no-random", "--no-random is no option of dimensions: it compares with"),
    ("sequential", "--donors ./none.txt", "--donors file './none.txt' does not exist"),
    (
        "dimensions",
        "--texts {texts} --texts {texts} --length 10",
        "2 of 2 files in --texts have 10 tokens, at least 4",
    ),
    (
        "why",
        "--texts {texts} --texts {texts} --length 10",
        "2 of 2 files in --texts have 10 tokens, at least 4",
    ),
]


def test_what_cannot_work_is_refused_before_anything_is_loaded(
    tiny_gpt2: Path, texts: Path, tmp_path: Path
) -> None:
    """All cases in one fresh interpreter."""
    commands = []
    for study, options, _ in REFUSED:
        argv = [study, *options.format(texts=texts).split()]
        argv += [] if "--model" in options else ["--model", str(tiny_gpt2)]
        argv += [] if "--out" in options else ["--out", str(tmp_path / "out")]
        commands.append(argv)
    code = (
        "import json, sys\nfrom laminar_lens.cli import main\n"
        "statuses = {main(argv) for argv in json.load(sys.stdin)}\n"
        "print(*statuses, *sorted({'torch', 'transformer_lens', 'xarray', 'plotly'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(commands), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["2"], done.stdout
    lines = done.stderr.splitlines()
    wrong = [(case, line) for case, line in zip(REFUSED, lines, strict=True) if case[2] not in line]
    assert wrong == []
    assert not (tmp_path / "out").exists()


def test_the_tables_have_the_numbers_of_the_result(
    tiny_gpt2: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    model = ll.load_model(tiny_gpt2)
    tokens = ll.sample_tokens(model, 60, 12)
    result = ll.sink_study(model, tokens)
    say(result.table("position_0"))
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()[:1].isdigit()]
    data = result.dataset
    assert [row[0] for row in rows] == ["0", "1", "2", "3"]
    np.testing.assert_allclose([float(row[1]) for row in rows], data["norm_ratio"][:, 0], rtol=0.01)
    top = [row[6] for row in rows]
    assert top[0] == "–"
    np.testing.assert_allclose([float(x) for x in top[1:]], data["attention_first"].max("head"), atol=6e-3)

    result = ll.dimension_study(model, tokens)
    say(result.table("first_pair"))
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()[:1].isdigit()]
    part = result.dataset.sel(geometry="raw", pairs="first")
    for column, removed in ((1, 0), (2, 1), (3, 3)):
        shown = [float(row[column]) for row in rows]
        np.testing.assert_allclose(shown, part["angle_without"].sel(removed=removed), atol=6e-4)
    named = [[int(word.rstrip(",")) for word in row[-3:]] for row in rows]
    np.testing.assert_array_equal(named, part["top_dimension"][:, :3])


def test_a_model_that_shows_no_attention_and_withheld_bands_have_dashes(
    tiny_gpt2: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ll.load_model(tiny_gpt2)
    few = ll.sink_study(model, ll.sample_tokens(model, 5, 12), random_init=False)
    say(few.sentence, *few.tables().values())
    shown = capsys.readouterr().out
    assert "of 4" not in shown
    without = StudyResult(few.dataset.drop_vars(["attention_first"]))
    say(without.table("position_0"))
    assert "head" not in capsys.readouterr().out
