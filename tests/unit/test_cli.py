"""The command line's own part: what it accepts, refuses and prints. No model is loaded here."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

import laminar_lens.cli.run as run
import laminar_lens.progress as lines
from laminar_lens.cli import checks, faults, main, parser, preflight, screen, streams
from laminar_lens.cli.app import app
from laminar_lens.cli.requests import AnglesRequest, ModelChoice, Request, ShowRequest, StudyRequest
from laminar_lens.errors import InputError, ModelError, ResultError
from laminar_lens.prompts import her_prompts
from laminar_lens.studies.command import Asked
from laminar_lens.studies.fields import tolerance
from laminar_lens.studies.options import BACKENDS, written_layers
from laminar_lens.studies.sequential.command import SequentialCommand
from laminar_lens.studies.sequential.study import Sequential
from laminar_lens.studies.warmup.command import WINDOWS, WarmupCommand, window
from laminar_lens.studies.warmup.study import Warmup
from laminar_lens.studies.why.command import places
from laminar_lens.tables import Column, Table

HEAVY = ("torch", "transformer_lens", "transformers", "triton", "ray", "plotly", "xarray", "sklearn", "numpy")


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[Request]:
    """Requests that reached the work, in place of the work; any model's name and folder is accepted."""
    requests: list[Request] = []
    monkeypatch.setattr(run, "execute", requests.append)
    monkeypatch.setattr("laminar_lens.models.check_name", lambda name: None)
    for name in ("check_study", "check_angles"):
        monkeypatch.setattr(preflight, name, lambda *_: None)
    return requests


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one line that a refused command writes; nothing goes to standard output."""
    status = main(argv)
    out, err = capsys.readouterr()
    assert (status, out) == (2, "")
    assert err.startswith("laminar-lens: error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err
    return err


def loaded(*argv: str) -> list[str]:
    """The heavy modules that a command leaves imported, in a fresh interpreter."""
    code = (
        "import sys, io; from laminar_lens.cli import main\n"
        "stdout, sys.stdout, sys.stderr = sys.stdout, io.StringIO(), io.StringIO()\n"
        f"main({argv!r}); sys.stdout = stdout\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return list(json.loads(done.stdout.replace("'", '"')))


# --------------------------------------------------------------------------------------------------- imports


@pytest.mark.parametrize("argv", [("--help",), ("sequential", "--help"), ("--version",)])
def test_help_and_version_import_nothing_heavy(argv: tuple[str, ...]) -> None:
    assert loaded(*argv) == []


def test_a_refused_argument_imports_neither_torch_nor_transformer_lens() -> None:
    assert not {"torch", "transformer_lens", "transformers", "plotly"} & set(
        loaded("sequential", "--tau", "-1")
    )


# --------------------------------------------------------------------------------------------------- parsing


def test_the_defaults_are_the_experiment(parsed: list[Request], tmp_path: Path) -> None:
    assert main(["sequential", "--out", str(tmp_path)]) == 0
    request = parsed[0]
    assert isinstance(request, StudyRequest)
    assert request.model == ModelChoice()
    assert (request.prompts, request.texts) == ("her", her_prompts())
    assert request.study == Sequential()
    assert request.own == {"tau": 0.05, "grid": False}
    plain = {"prepend_bos": False, "final_norm": False, "seed": 0, "random_init": True, "backend": "auto"}
    assert request.options == {**plain, "geometry": "raw", "geometries": True}
    assert (request.output.folder, request.output.json, request.output.quiet) == (tmp_path, False, False)


def test_every_option_of_sequential_arrives(parsed: list[Request], tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("They saw him.\nWe met him.\n")
    command = f"""sequential --model gpt2 --prompts {prompts} --target him --occurrence first --regex
        --baseline adjacent --skip 1 --n-draws 20 --n-perm 30 --n-donors 40 --no-random
        --geometry centred --no-geometries --bos --final-norm --layers 0,3-5 --seed 7 --dtype float64
        --backend reference --bridge --revision main --no-check
        --trust-remote-code --tau 0.1 --n-texts 50 --no-warmup --grid --json --quiet --out {tmp_path}"""
    assert main(command.split()) == 0
    request = parsed[0]
    assert isinstance(request, StudyRequest)
    assert (request.prompts, request.texts) == (str(prompts), ("They saw him.", "We met him."))
    assert request.model == ModelChoice("gpt2", None, "float64", True, True, "main", check=False)
    assert request.study == Sequential("him", "first", True, "adjacent", 1, 20, 30, None, 40, False)
    chosen = {"prepend_bos": True, "final_norm": True, "layers": (0, 3, 4, 5), "backend": "reference"}
    chosen |= {"seed": 7, "random_init": False, "geometry": "centred", "geometries": False}
    assert request.options == chosen
    assert request.own == {"tau": 0.1, "n_texts": 50, "grid": True}
    assert request.output.json
    assert request.output.quiet


def test_warmup_takes_several_files_and_a_window(parsed: list[Request], tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"text {name}\n")
    files = ["--texts", str(tmp_path / "a"), "--texts", str(tmp_path / "b")]
    argv = [
        "warmup",
        *files,
        "--reference",
        "42-62",
        "--length",
        "32",
        "--n-texts",
        "9",
        "--out",
        str(tmp_path),
    ]
    assert main(argv) == 0
    request = parsed[0]
    assert isinstance(request, StudyRequest)
    assert request.texts == (tmp_path / "a", tmp_path / "b")
    assert request.study == Warmup(reference=(42, 63))
    assert (request.options["length"], request.options["n_texts"]) == (32, 9)


def test_angles_and_show(parsed: list[Request], tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("one two\n")
    argv = ["angles", str(prompts), "--what", "rotation", "--format", "csv", "--out", str(tmp_path)]
    assert main(argv) == 0
    assert main(["show", str(prompts), "--report", str(tmp_path / "page.html"), "--json"]) == 0
    first, second = parsed
    assert isinstance(first, AnglesRequest)
    assert (first.what, first.path) == ("rotation", tmp_path / "angles.csv")
    assert second == ShowRequest(prompts, tmp_path / "page.html", json=True)


def test_version_names_what_matters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("laminar-lens 0.1.0 (transformer-lens ")
    assert "torch" in line


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "sequential" in capsys.readouterr().out


# -------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("sequential --modle gpt2", ["--modle", "--model"]),
        ("seqential", ["seqential", "sequential"]),
        ("sequential --skip two", ["--skip", "two"]),
        ("sequential gpt2", ["gpt2", "sequential --help"]),
        ("angles", ["FILE", "angles --help"]),
        (
            "sequential --baseline publishd",
            ["--baseline 'publishd'", "did you mean published?", "by_position"],
        ),
        ("sequential --baseline by-position", ["did you mean by_position?"]),
        ("sequential --occurrence second", ["--occurrence 'second'", "first, last, all"]),
        ("sequential --skip -1", ["--skip -1", "0 or more"]),
        ("sequential --seed -3", ["--seed -3", "0 or more"]),
        (
            "sequential --seed 9223372036854775808",
            ["is too large: give 9223372036854775807 or"],
        ),
        ("warmup --seed 99999999999999999999", ["--seed 99999999999999999999 is too large"]),
        ("sequential --tau 0", ["--tau 0", "radians"]),
        ("sequential --tau nan", ["--tau nan", "radians"]),
        ("sequential --n-texts 1", ["--n-texts 1", "2 or more"]),
        ("warmup --n-texts 99999999999999", ["--n-texts 99999999999999", "1000000 or less"]),
        ("sequential --regex --target (her", ["--target '(her'", "regular expression", "leave out --regex"]),
        ("sequential --layers 99999", ["--layers '99999'", "99999 is out of range"]),
        ("angles her --what rotation --layers 0", ["--what rotation", "--layers 0,1"]),
        ("sequential --layers 3-1", ["--layers '3-1'", "1,3-8"]),
        ("sequential --layers 1,x", ["--layers '1,x'", "'x'"]),
        ("sequential --dtype float8", ["--dtype 'float8'", "float32"]),
        ("sequential --backend fast", ["--backend 'fast'", "eager"]),
        ("sequential --device gpu", ["--device 'gpu'", "cuda"]),
        ("warmup --length 2", ["--length 2", "4 or more"]),
        ("warmup --reference 9", ["--reference '9'", "42-62"]),
        ("angles her --what sequental", ["--what 'sequental'", "did you mean sequential?"]),
        ("angles her --format xlsx", ["--format 'xlsx'", "nc, csv"]),
        ("show nowhere.nc", ["'nowhere.nc'", "does not exist"]),
        ("show nowhere.nc --format png", ["--format png is of figures", "add --figures DIR"]),
        ("show /dev/null", ["'/dev/null' is no regular file", ".nc file"]),
        ("sequential --out=", ["--out", "'' is no folder", "give ./ for"]),
    ],
)
def test_a_wrong_argument_is_one_line(
    argv: str, said: list[str], parsed: list[Request], capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, *argv.split())
    assert [words for words in said if words not in line] == [], line
    assert parsed == []


def test_a_message_of_several_lines_becomes_one(
    monkeypatch: pytest.MonkeyPatch, parsed: list[Request], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(request: Request) -> None:
        raise InputError("first line\n  second \x1b[31mred\x07")

    monkeypatch.setattr(run, "execute", fail)
    line = refused(capsys, "sequential", "--out", str(tmp_path))
    assert line == "laminar-lens: error: first line second \\x1b[31mred\\x07\n"


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (BrokenPipeError(), 141)])
def test_ctrl_c_and_a_closed_pipe_end_quietly(
    error: BaseException,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    parsed: list[Request],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(request: Request) -> None:
        raise error

    monkeypatch.setattr(run, "execute", fail)
    monkeypatch.setattr(streams, "silence", lambda stream: None)
    assert main(["sequential", "--out", str(tmp_path)]) == status
    assert capsys.readouterr().err.count("\n") == (status == 130)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "/disk/x.nc"), "'/disk/x.nc' cannot be used (No space left"),
        (OSError(5, "Input/output error"), "this cannot be done here (Input/output error)"),
        (MemoryError(), "this cannot be done here (not enough memory)"),
    ],
)
def test_what_the_machine_cannot_do_is_one_line(
    error: Exception,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    parsed: list[Request],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(request: Request) -> None:
        raise error

    monkeypatch.setattr(run, "execute", fail)
    assert said in refused(capsys, "sequential", "--out", str(tmp_path))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(36, "File name too long", "/a/name/config.json"),
            "--model '/a/name' cannot be used (File name",
        ),
        (
            OSError(40, "Too many levels of symbolic links", "/other"),
            "'/other' cannot be used (Too many levels",
        ),
        (OverflowError("too large to convert"), "--skip '99999999999' cannot be used (too large to convert)"),
        (RecursionError("too deep"), "--skip '99999999999' cannot be used (too deep)"),
        (MemoryError(), "--skip '99999999999' cannot be used (not enough memory)"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates"), "--target 'h\\udcff' cannot be used"),
    ],
)
def test_what_the_system_has_against_a_value_names_its_option(error: Exception, said: str) -> None:
    argv = ["sequential", "--model", "/a/name", "--skip=99999999999", "--target", "h\udcff", "--quiet"]
    assert said in faults.said(error, argv)


def test_a_value_that_the_checks_trip_over_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def trip(*_: str) -> None:
        raise OverflowError("Python int too large to convert to C long")

    monkeypatch.setattr("laminar_lens.studies.options.written_numbers", trip)
    line = refused(capsys, "sequential", "--layers", "12345678901234567890", "--out", str(tmp_path))
    assert "--layers '12345678901234567890' cannot be used (Python int too large" in line


def test_a_long_value_keeps_its_ends(parsed: list[Request], capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "sequential", "--dtype", "a" + "x" * 100_000 + "z")
    assert "--dtype 'axxx" in line
    assert "xz' is unknown" in line
    assert len(line) < 700


def test_a_bug_is_not_dressed_up(
    monkeypatch: pytest.MonkeyPatch, parsed: list[Request], tmp_path: Path
) -> None:
    def fail(request: Request) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(run, "execute", fail)
    with pytest.raises(ZeroDivisionError):
        main(["sequential", "--out", str(tmp_path)])


# ---------------------------------------------------------------------------------------------------- checks


def test_a_panic_of_native_code_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class PanicException(BaseException):
        pass

    def panics(request: Request) -> None:
        raise PanicException("index out of bounds\nthe len is 2")

    monkeypatch.setattr(run, "execute", panics)
    monkeypatch.setattr(preflight, "check_study", lambda *_: None)
    assert "native code failed (index out of bounds the len is 2)" in refused(capsys, "sequential")


def test_layers_are_sorted_and_not_repeated() -> None:
    assert written_layers("--layers", " 3-5, 0 ,4") == (0, 3, 4, 5)
    assert written_layers("--layers", "") is None


def test_the_window_includes_both_ends_or_has_a_name() -> None:
    from laminar_lens.stats.warmup import reference_pairs

    assert window("--reference", "3-3") == (3, 4)
    assert window("--reference", "Last-Half") == "last half"
    assert all(reference_pairs(63, name) for name in WINDOWS)
    assert window("--reference", "") is None


@pytest.mark.parametrize("value", [math.inf, -0.1, math.pi])
def test_a_tolerance_is_an_angle(value: float) -> None:
    with pytest.raises(InputError, match="radians"):
        tolerance("--tau", value)


def test_choices_are_those_of_the_library() -> None:
    from laminar_lens import kernels

    assert ("auto", *kernels.BACKENDS) == BACKENDS


def test_a_page_never_replaces_a_result(tmp_path: Path) -> None:
    result = tmp_path / "result.nc"
    result.write_bytes(b"result")
    for report in (result, tmp_path / "x" / ".." / "result.nc", tmp_path / "other.nc"):
        with pytest.raises(ResultError, match=r"would replace a result .* such as 'result.html'"):
            checks.page(result, report)
    with pytest.raises(ResultError, match="give another --report"):
        checks.page(result, tmp_path)
    with pytest.raises(ResultError, match=r"nowhere/page.html'.*does not exist; make it, or"):
        checks.page(result, tmp_path / "nowhere" / "page.html")
    assert checks.page(result, tmp_path / "page.html") == tmp_path / "page.html"
    assert result.read_bytes() == b"result"


@pytest.mark.parametrize(
    ("said", "here"),
    [
        ("put a word in front, or use prepend_bos=True", "put a word in front, or use --bos"),
        ("use prepend_bos=False", "use --no-bos"),
        ("choose occurrence='first', 'last' or 'all'", "choose --occurrence first, last or all"),
        ("use regex=True to take", "use --regex to take"),
        ("; bridge=True may know", "; --bridge may know"),
        ("try dtype='float32', or check", "try --dtype float32, or check"),
        ("longer texts, or length=7", "longer texts, or --length 7"),
        ("choose layers=, positions= or fewer", "choose --layers or fewer"),
        ("choose a smaller n_texts= or", "choose a smaller --n-texts or"),
        ("random_init=False takes n_perm=0", "--no-random takes --n-perm 0"),
        ("skip=-1 and tau=0.5.", "--skip -1 and --tau 0.5."),
        ("my_length=7, x-skip=3", "my_length=7, x-skip=3"),
    ],
)
def test_the_library_s_keywords_become_options(said: str, here: str) -> None:
    assert parser.in_options(said, parser.flags_of(typer.main.get_command(app))) == here


def test_the_grid_takes_every_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from laminar_lens.studies.warmup import grid

    given: dict[str, object] = {}
    monkeypatch.setattr(grid, "sensitivity_grid", lambda model, **chosen: given.update(chosen))
    study = Sequential("h.r", "last", True, "adjacent", 3)
    options = {"layers": (0, 2), "backend": "reference", "geometry": "centred", "seed": 0}
    asked = Asked(study, ("a her",), options, {"tau": 0.2, "n_texts": 9, "grid": True})
    SequentialCommand().grid(None, asked, print)
    assert given.pop("progress") is print
    assert given == {
        "prompts": ("a her",),
        "target": "h.r",
        "occurrence": "last",
        "regex": True,
        "baseline": "adjacent",
        "skip": 3,
        "tau": [0.03, 0.05, 0.1, 0.2],
        "n_texts": 9,
        **options,
    }
    given.clear()
    asked = Asked(Warmup(reference=(3, 7)), ("a", "b"), {"length": 8, "n_texts": 5}, {"grid": True})
    WarmupCommand().grid(None, asked, print)
    assert given["reference"] == (*grid.REFERENCES, (3, 7))
    assert (given["texts"], given["length"], given["n_texts"]) == (("a", "b"), 8, 5)
    assert given["tau"] == [0.03, 0.05, 0.1]
    given.clear()
    assert WarmupCommand().grid(None, Asked(Warmup(), own={"grid": False}), print) is None
    assert given == {}


def test_output_under_a_file_or_over_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultError, match="is a file; give a folder"):
        checks.writable(tmp_path / "file" / "below", ["x.nc"])
    (tmp_path / "x.nc").mkdir()
    with pytest.raises(ResultError, match="a folder has that name"):
        checks.writable(tmp_path, ["x.nc"])


def test_checking_the_output_leaves_nothing_behind(tmp_path: Path) -> None:
    assert checks.writable(tmp_path / "a" / "b", ["x.nc"]) == tmp_path / "a" / "b"
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(checks.tempfile, "TemporaryFile", refuse)
    with pytest.raises(ResultError, match="Permission denied; give another folder with --out"):
        checks.writable(tmp_path, ["x.nc"])


def test_cuda_is_refused_where_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.cuda, "why_not", lambda: "this machine has no CUDA driver")
    with pytest.raises(
        ModelError, match="--device cuda:1 was asked for, but this machine has no CUDA driver"
    ):
        checks.device("--device", "cuda:1")
    monkeypatch.setattr(checks.cuda, "why_not", lambda: "")
    monkeypatch.setattr(checks.cuda, "count", lambda: 2)
    assert checks.device("--device", "cuda") == "cuda"


def test_a_cuda_device_that_is_not_there_is_refused_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        def cuInit(self, flags: int) -> int:  # noqa: N802
            return 0

        def cuDeviceGetCount(self, found: Any) -> int:  # noqa: N802
            found._obj.value = 2
            return 0

    monkeypatch.setattr(checks.cuda, "why_not", lambda: "")
    monkeypatch.setattr(checks.cuda, "_driver", Driver)
    assert checks.device("--device", "cuda:1") == "cuda:1"
    with pytest.raises(ModelError, match=r"--device cuda:2 was asked for, .* has cuda:0 to cuda:1: choose"):
        checks.device("--device", "cuda:2")
    monkeypatch.setattr(Driver, "cuInit", lambda self, flags: 100)
    assert checks.cuda.count() is None
    assert checks.device("--device", "cuda:2") == "cuda:2"  # torch will say


@pytest.mark.parametrize(
    "name", ["cpu:0", "cpu:1", "mps:0", "cuda:", "cuda:\uff11", "cuda:1\n", "CPU", "cuda:-1"]
)
def test_a_device_is_written_as_it_is_called(name: str) -> None:
    with pytest.raises(InputError, match="choose cpu, cuda, cuda:N or mps"):
        checks.device("--device", name)


@pytest.mark.parametrize("digit", ["\uff11", "\u0663", "\u00b2", "1_0"])
def test_digits_are_ascii_everywhere(digit: str) -> None:
    for refuses in (
        lambda: written_layers("--layers", f"0,{digit}"),
        lambda: places("--at", f"{digit}-5"),
        lambda: window("--reference", f"{digit}-5"),
    ):
        with pytest.raises(InputError, match=digit):
            refuses()
    for convert in (parser.whole_number, parser.decimal_number):
        with pytest.raises(typer.BadParameter, match=digit):
            convert(digit)
    assert (parser.whole_number("17"), parser.decimal_number("1e-2")) == (17, 0.01)


@pytest.mark.parametrize("text", ["\n", " ", "\t"])
def test_a_blank_list_is_not_taken_for_all(text: str) -> None:
    for read in (written_layers, places, window):
        with pytest.raises(InputError, match="--it"):
            read("--it", text)


@pytest.mark.parametrize("width", ["\u00b2", "wide", "99999999999999999999"])
@pytest.mark.parametrize("name", ["COLUMNS", "LINES", "TERMINAL_WIDTH"])
def test_a_width_that_is_no_number_is_not_minded(
    name: str, width: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, width)
    with screen.sane_environment():
        screen.say("title", Table("t", "", (Column("a", ("1",)),)))
        assert name not in os.environ
    assert capsys.readouterr().out.startswith("title\n")
    assert os.environ[name] == width


def test_mps_is_refused_off_a_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.sys, "platform", "linux")
    with pytest.raises(ModelError, match="--device mps was asked for, but this machine is no Mac"):
        checks.device("--device", "mps")
    monkeypatch.setattr(checks.sys, "platform", "darwin")
    assert checks.device("--device", "mps") == "mps"


# ---------------------------------------------------------------------------------------------------- screen


def test_a_pipe_has_80_columns_and_nothing_is_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts and tables; what other programs read is a line each."""
    monkeypatch.delenv("COLUMNS", raising=False)
    words, path = " ".join(f"word{number}" for number in range(60)), f"/{'long' * 30}/with a space.nc"
    screen.say(
        Table("t", "title [red]", (Column("claim", ("C1",)), Column("text", (words,), wide=True))),
        "[bold]not markup " + words,
        whole=[path],
    )
    *lines, last = capsys.readouterr().out.splitlines()
    assert last == path
    assert max(map(len, lines)) == 80
    out = "\n".join([*lines, ""])
    assert "\x1b" not in out
    assert "…" not in out
    assert "title [red]" in out
    assert "[bold]not markup" in out
    assert all(out.count(f"word{number} ") + out.count(f"word{number}\n") == 2 for number in range(60))


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")
    screen.say(Table("t", "title", (Column("a", ("1",)),)))
    assert "\x1b[3" not in capsys.readouterr().out.replace("\x1b[3m", "")


def test_working_keeps_standard_output_clean(capsys: pytest.CaptureFixture[str]) -> None:
    with screen.working(quiet=False) as progress:
        print("chatter of a library")
        progress("label", 1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "chatter" in err


def test_quiet_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with screen.working(quiet=True) as progress:
        print("chatter of a library")
        progress("label", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_a_log_names_phase_share_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A phase has a line once it has begun, then one every ten seconds; one that is soon over has none."""
    times = iter([0.0, 0.5, 1.0, 1.5, 4.0, 9.0, 14.5, 14.5, 16.0, 18.0])
    monkeypatch.setattr(lines.time, "monotonic", lambda: next(times))
    tell = lines.ProgressLines("laminar-lens: ")
    for label, done, total in (
        *(("loading x", 0, 4), ("loading x", 4, 4)),
        *(("capture", done, 200) for done in (0, 5, 10, 20, 20)),
        *(("statistics", 0, 1), ("a\x1b[2J", 0, 0)),
    ):
        tell(label, done, total)
    assert capsys.readouterr().err.splitlines() == [
        "laminar-lens: capture: 2%, 1:38 left",
        "laminar-lens: capture: 10%, 1:57 left",
        "laminar-lens: a\\x1b[2J",
    ]
    assert [lines.clock(seconds) for seconds in (0.0, 59.6, 3600.0, 7209.0)] == [
        "0:00",
        "1:00",
        "1:00:00",
        "2:00:09",
    ]


@pytest.fixture
def folder(tmp_path: Path) -> ModelChoice:
    """A model folder that holds a configuration only."""
    (tmp_path / "config.json").write_text(json.dumps({"n_layer": 3, "n_positions": 16}))
    return ModelChoice(name=str(tmp_path))


def test_layers_beyond_the_model_are_refused(folder: ModelChoice) -> None:
    preflight.check_layers(folder, {"layers": (0, 3)})
    with pytest.raises(InputError, match=r"--layers 2,4-6 is out of range.*0 \(the embedding\) to 3"):
        preflight.check_layers(folder, {"layers": (2, 4, 5, 6)})


def test_a_length_beyond_the_context_is_refused(folder: ModelChoice) -> None:
    assert preflight.text_length(folder, {"length": 16}) == 16
    assert preflight.text_length(folder, {"prepend_bos": True}) == 15
    with pytest.raises(InputError, match=r"--length 16 .*at most 16 tokens; give 15 or less"):
        preflight.text_length(folder, {"prepend_bos": True, "length": 16})
