"""Commands of studies: the command line knows none by name, and other packages' studies have theirs."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import pytest
import typer

import laminar_lens as ll
from laminar_lens.cli import main
from laminar_lens.cli.app import app
from laminar_lens.cli.commands import Commands, why_not
from laminar_lens.errors import InputError
from laminar_lens.studies.command import command_of
from laminar_lens.studies.fields import declared, left_out
from laminar_lens.studies.options import Options
from laminar_lens.studies.registry import STUDIES

CLI = Path(ll.__file__).parent / "cli"


def options_of(command: str) -> dict[str, Any]:
    """The parser's options of a command by the field that they are of."""
    group: Any = typer.main.get_command(app)
    return {one.name: one for one in group.commands[command].params}


def words_of(path: Path) -> set[str]:
    """Every text of a file but its documentation, every module that it imports and every name in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    prose = {id(one.value) for one in ast.walk(tree) if isinstance(one, ast.Expr)}
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            found |= {node.value.lower(), *node.value.lower().split(".")}
        elif isinstance(node, ast.ImportFrom):
            found |= {*str(node.module).split("."), *(one.name.lower() for one in node.names)}
        elif isinstance(node, ast.Import):
            found |= {part for one in node.names for part in one.name.split(".")}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name.lower())
    return found


def test_the_command_line_knows_no_study_by_name() -> None:
    paths = sorted(CLI.rglob("*.py"))
    assert len(paths) > 10
    kinds = {
        *STUDIES.shipped,
        *(f"{kind}_study" for kind in STUDIES.shipped),
        "sink_study",
        "dimension_study",
        "path_study",
        "trajectory_study",
    }
    assert {path.name: found for path in paths if (found := words_of(path) & kinds)} == {}


@pytest.mark.parametrize("kind", STUDIES.shipped)
def test_every_field_of_a_shipped_study_is_an_option_or_says_why_not(kind: str) -> None:
    study = STUDIES.get(kind)
    assert {one.name for one in fields(study)} == set(declared(study)) | set(left_out(study))
    assert not left_out(study)
    assert set(declared(study)) <= set(options_of(kind))


def door_of(kind: str) -> Any:
    """The public function of a shipped study: the one of its module that the package shows."""
    module = STUDIES.get(kind).__module__
    return next(
        one for one in (getattr(ll, name) for name in ll.__all__) if getattr(one, "__module__", "") == module
    )


def written(one: Any) -> tuple[Any, ...]:
    """How an option of the parser is written and explained; how many texts is told with a study's own
    number."""
    help = re.sub(r"default: \d+", "default: N", str(one.help))
    return (*one.opts, *one.secondary_opts, help, one.metavar, one.default, one.is_flag)


def test_the_same_thing_is_the_same_option_in_every_command() -> None:
    """Whatever two studies' commands both have is written, explained and left out alike; the other commands
    have the shared options so, too."""
    group: Any = typer.main.get_command(app)
    commands = {name: options_of(name) for name in group.commands}
    shared = set(declared(Options))
    ways: dict[str, set[tuple[Any, ...]]] = {}
    for command, options in commands.items():
        for name, one in options.items():
            if command in STUDIES.shipped or name in shared:
                ways.setdefault(name, set()).add(written(one))
    assert {name: found for name, found in ways.items() if len(found) > 1} == {}
    for kind in STUDIES.shipped:
        study, options = STUDIES.get(kind), commands[kind]
        lacks = shared - set(options)
        assert lacks == {name for name in shared if name in study.without} - set(command_of(study).own)
        text = {"prompts"} if "n_texts" in study.without else {"texts"}
        own = {*declared(study), *command_of(study).own}
        everywhere = set.intersection(*map(set, (commands[kind] for kind in STUDIES.shipped)))
        assert set(options) == everywhere | own | text | (shared - set(study.without))
        if "n_texts" not in study.without:
            assert options["n_texts"].help.endswith(f"(default: {study.n_texts}).")


@pytest.mark.parametrize("kind", STUDIES.shipped)
def test_the_same_thing_is_the_same_argument_in_python(kind: str) -> None:
    """Name, default and type of what studies share, in one order; beside that, the study's own fields."""
    study, door = STUDIES.get(kind), door_of(kind)
    given = signature(door).parameters
    shared = [one for one in fields(Options) if one.name not in study.without]
    assert [name for name in given if name in {one.name for one in fields(Options)}] == [
        one.name for one in shared
    ]
    for one in (*shared, *fields(study)):
        assert given[one.name].kind is Parameter.KEYWORD_ONLY
        assert given[one.name].default == one.default, one.name
        assert given[one.name].annotation == one.type, one.name
    assert (next(iter(given)), next(reversed(given))) == ("model", "progress")
    assert len(given) == 3 + len(shared) + len(fields(study))  # with model, texts and progress


@pytest.mark.parametrize("kind", STUDIES.shipped)
def test_what_a_study_does_not_take_is_said_by_name(
    kind: str, novella: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """In its documentation, in help, and where it is given: in Python, to `run` and on the command line."""
    study, door = STUDIES.get(kind), door_of(kind)
    assert set(study.without) <= {one.name for one in fields(Options)}
    assert main([kind, "--help"]) == 0
    help = " ".join(capsys.readouterr().out.split())
    for name, reason in study.without.items():
        assert f"`{name}`" in door.__doc__
        with pytest.raises(InputError, match=re.escape(f"{door.__name__} takes no {name}=: {reason}")):
            door(novella, **{name: None})
        with pytest.raises(InputError, match=re.escape(f"{name}= is no option of a {kind} study: {reason}")):
            ll.run(study(), novella, **{name: None})
        flag = declared(Options)[name].flag
        if name not in command_of(study).own:
            assert f"{flag} ({reason})" in help
            assert main([kind, flag, "1"]) == 2
            said = capsys.readouterr().err
            assert f"{flag} is no option of {kind}: {reason}" in said
            assert said.count("\n") == 1
    for name, reason in left_out(Options).items():
        assert f"{name} ({reason})" in help


def test_help_fills_its_lines_and_is_true_of_a_study_that_samples_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["speech", "--help"]) == 0
    help = capsys.readouterr().out
    assert "position, length. By default 60 passages" in help, "lines are broken as in its documentation"
    assert "for novella sampled, in studies that measure what a model writes" in " ".join(
        help.replace("│", "").split()
    )


def test_an_option_of_another_study_is_refused_with_the_reason_and_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whichever study, whichever option: in one form, as what `without` names is, and under `compare`."""
    taken = {
        kind: {name for one in options_of(kind).values() for name in one.opts if name.startswith("--")}
        for kind in STUDIES.shipped
    }
    for kind in STUDIES.shipped:
        assert all(len(why_not(kind, flag)) > 10 for flag in set.union(*taken.values()) - taken[kind]), kind
        assert not any(why_not(kind, flag) for flag in taken[kind])
    said = {
        ("rotation", "--texts"): "it measures prompts, give --prompts FILE",
        ("warmup", "--prompts"): "it measures texts, give --texts FILE",
        ("warmup", "--target"): "it is an option of sequential, rotation and trajectories",
    }
    for (kind, flag), reason in said.items():
        assert main([kind, flag, "1"]) == 2
        told = capsys.readouterr().err
        assert told == f"laminar-lens: error: {flag} is no option of {kind}: {reason}\n"
    for flag, words in {"--texts": "it measures prompts", "--checkpoint": "give NAME@STEP"}.items():
        assert main(["compare", "rotation", "novella", "smollm2", flag, "1"]) == 2
        assert f"{flag} is no option of compare rotation: {words}" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------- other packages

PACKAGE = '''
from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch  # what another package imports is its own affair
import numpy as np
import xarray as xr

from laminar_lens.stats.bootstrap import mean_interval
from laminar_lens.studies.fields import option
from laminar_lens.studies.study import Answer, Study
from laminar_lens.errors import InputError


@dataclass(frozen=True)
class Spin(Study):
    """How far tokens spin.

    In whole numbers [text pos] [/s].

    Attributes:
        above: in radians.
    """

    kind: ClassVar[str] = "spin"
    title: ClassVar[str] = "Spin study"
    without: ClassVar[dict[str, str]] = {"prepend_bos": "it spins alone", "geometries": "it has one"}
    n_texts: ClassVar[int] = 31

    above: float = 0.1
    at_least: int = 0
    word: str = "spin"
    signed: bool = True
    mean: Literal["plain", "trimmed"] = "plain"
    skipped: tuple[int, ...] = (0, 2)
    only: tuple[int, ...] | None = None
    factor: float = option(1.0, "Angles are multiplied by this.", panel="Text")
    table: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.above < 0:
            raise InputError(f"above={self.above} is negative: give 0 or more")

    def measure(self, run):
        batches = list(run.angle_batches(measures=("rotation",)))
        turned = np.concatenate([one.angles["rotation"] for one in batches], axis=1).swapaxes(0, 1)
        values = {"turn": (("text", "layer", "pos"), self.factor * turned)}
        return xr.Dataset(values, {"layer": list(batches[0].layers[1:])}, {"info": batches[0].info})

    def answer(self, measured):
        found = mean_interval(measured["turn"].mean("pos").values, seed=measured.attrs["seed"])
        ends = {"turn": found.estimate, "turn_low": found.low, "turn_high": found.high}
        data = xr.Dataset({name: ("layer", x) for name, x in ends.items()}, {"layer": measured["layer"]})
        return Answer(data, f"{int((found.low > self.above).sum())} layers {self.word}.")


@dataclass(frozen=True)
class Clash(Spin):
    kind: ClassVar[str] = "clash"
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class Needs(Spin):
    kind: ClassVar[str] = "needs"
    state: torch.Tensor


@dataclass(frozen=True)
class Hidden(Spin):
    kind: ClassVar[str] = "hidden"
    no_random: int = 3


class Half(Study):
    kind: ClassVar[str] = "half"

    def measure(self, run):
        return None


class Odd(Spin):
    kind: ClassVar[str] = "odd"
    title: ClassVar[str] = "A title of its own"
    command: ClassVar[str] = "nowhere:Command"


NOT_A_STUDY = 7
'''
POINTS = """\
spin = spinning:Spin
clash = spinning:Clash
needs = spinning:Needs
half = spinning:Half
hidden = spinning:Hidden
odd = spinning:Odd
seven = spinning:NOT_A_STUDY
"""
MORE = """\
shown = again.study:Shown
fallen = fallen:Study
mask = spinning:Spin
warmup = fallen:Study
"""
OWN = ("above", "at_least", "word", "signed", "mean", "skipped", "only", "factor")


def installed(folder: Path, points: str) -> None:
    """A package with entry points, as an installer leaves it."""
    (folder / "spinning.py").write_text(PACKAGE)
    (folder / "fallen.py").write_text("import nothing_that_there_is\n")
    (folder / "again" / "deep").mkdir(parents=True)
    (folder / "again" / "__init__.py").write_text("raise RuntimeError\n")
    (folder / "again" / "study.py").write_text("from .deep import Spun as Shown\n")
    (folder / "again" / "deep" / "__init__.py").write_text("from spinning import Spin as Spun\n")
    info = folder / "spinning-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: spinning\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[laminar_lens.studies]\n{points}")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "site"
    folder.mkdir()
    installed(folder, f"{POINTS}{MORE}")
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in ("spin", "clash", "needs", "odd", "hidden"):
        STUDIES.remove(name)


@pytest.mark.usefixtures("package")
def test_the_study_of_a_package_has_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spin", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        "How far tokens spin. In whole numbers [text pos] [/s]. Writes spin.nc and spin.html into --out.",
        "--above X",
        "[default: 0.1]",
        "--at-least N",
        "--signed --no-signed",
        "One of plain, trimmed.",
        "--skipped LIST For example 1,3,8. [default: 0,2]",
        "--factor X Angles are multiplied by this.",
        "or what the model writes (default: 31).",
        "--random --no-random",
        "Not on the command line: table (no text gives dict), interventions (objects, given in Python).",
    ):
        assert words in said.replace("│ ", ""), words
    assert "--bos" not in said.partition("Not in this study")[0]
    assert "Not in this study: --bos (it spins alone), --geometries (it has one)." in said
    assert "Attributes" not in said


@pytest.mark.usefixtures("package")
def test_its_fields_and_the_shared_options_arrive(
    tiny_gpt2: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = "--above 0.05 --at-least -3 --word turn --no-signed --mean trimmed --skipped 4,1,4 --only= "
    shared = "--n-texts 20 --length 12 --layers 0-2 --seed 5 --json"
    argv = [*f"{chosen}{shared} --factor 2".split(), "--model", str(tiny_gpt2), "--out", str(tmp_path)]
    assert main(["spin", *argv]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["sentence"] == "2 layers turn."
    assert said["files"] == {"result": str(tmp_path / "spin.nc"), "page": str(tmp_path / "spin.html")}
    settings = {name: said["settings"][name] for name in OWN}
    assert settings == {
        "above": 0.05,
        "at_least": -3,
        "word": "turn",
        "signed": False,
        "mean": "trimmed",
        "skipped": [4, 1, 4],
        "only": [],
        "factor": 2.0,
    }
    assert {"n_texts": 20, "length": 12, "layers": [1, 2]}.items() <= said["settings"].items()
    assert said["provenance"]["seed"] == 5
    assert "Spin study" in (tmp_path / "spin.html").read_text(encoding="utf-8")
    again = ["--above", "9", "--skipped", "7,8", "--signed", "true", "--json"]
    assert main(["show", str(tmp_path / "spin.nc"), *again]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["sentence"], said["settings"]["skipped"]) == ("0 layers turn.", [7, 8])
    assert said["settings"]["signed"] is True


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("spin --above nan", "--above nan is no finite number"),
        ("spin --above x", "'x' is no number"),
        ("spin --at-least 99999999999999999999", "--at-least 99999999999999999999 is too large"),
        ("spin --mean plan", "--mean 'plan' is unknown: did you mean plain?"),
        ("spin --skipped 1,x", "--skipped '1,x': 'x' is no whole number"),
        ("spin --skipped 1,\u0663", "is no whole number"),
        ("spin --above -1", "--above -1.0 is negative"),
        ("spin --layers 99", "--layers 99 is out of range"),
        ("spin --n-texts 1", "--n-texts 1 is too small: give 2 or more"),
        ("spin --factor inf", "--factor inf is no finite number"),
        ("spin --tau 1", "No such option: --tau"),
        ("spin --table x", "No such option: --table"),
        ("clash", "study 'clash' has no command: it has 'quiet' twice; rename its field"),
        ("hidden", "study 'hidden' has no command: it has '--no-random' twice; rename its field"),
        ("needs", "study 'needs' has no command: its field 'state' has no default, and no text gives Tensor"),
        ("seven", "study 'seven' is 7; expected a subclass of Study of that kind"),
        ("half", "study 'half' lacks answer: a study measures and answers"),
        ("odd", "study 'odd' has no command: ModuleNotFoundError: No module named 'nowhere'"),
        ("fallen", "study 'fallen' cannot be loaded from 'fallen:Study': ModuleNotFoundError"),
        ("fallen --help", "study 'fallen' cannot be loaded"),
        ("spinn", "Did you mean 'spin'"),
    ],
)
def test_what_is_wrong_with_it_is_one_line(
    argv: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = [] if argv == "spinn" or "--help" in argv else ["--out", str(tmp_path / "out")]
    assert main([*argv.split(), *out]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert said in printed.err
    assert not (tmp_path / "out").exists()


def test_a_package_breaks_nothing_else_and_is_not_imported_for_it(package: Path) -> None:
    """In a fresh interpreter: help of all lists it, and the package's own commands are as they were."""
    commands = [["--help"], ["warmup", "--help"], ["mask", "--help"], ["warmup", "--tau", "-1"]]
    code = (
        f"import json, sys; sys.path.insert(0, {str(package)!r})\n"
        "from laminar_lens.cli import main\n"
        "statuses = [main(argv) for argv in json.load(sys.stdin)]\n"
        "print('statuses', statuses, sorted({'spinning', 'fallen', 'torch', 'xarray'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(commands), capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "statuses [0, 0, 0, 2] []"
    said = " ".join(done.stdout.replace("│", " ").split())
    for words in (
        "spin How far tokens spin. (spinning:Spin)",
        "shown How far tokens spin. (again.study:Shown)",
        "odd A title of its own (spinning:Odd)",
        "fallen A study of fallen:Study.",
        "How many first tokens to leave out of a statistic on this model",
        "Which tokens to keep in any other analysis",
    ):
        assert words in said, words
    assert said.count("Usage: laminar-lens mask") == 1
    assert said.count("(spinning:Spin)") == 1  # not beside mask
    assert done.stderr.count("\n") == 1


def test_a_study_registered_here_has_a_command_too(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spin: Any = STUDIES.get("spin")
    own = type("Own", (spin,), {"kind": "own_spin", "__doc__": "Of my own."})
    STUDIES.add("own_spin", own)
    try:
        assert main(["own_spin", "--help"]) == 0
        assert "Of my own." in capsys.readouterr().out
    finally:
        STUDIES.remove("own_spin")
    with pytest.raises(InputError, match="'own_spin' is unknown"):
        STUDIES.get("own_spin")
    assert issubclass(Commands, typer.core.TyperGroup)
