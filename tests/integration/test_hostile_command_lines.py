"""Hostile values of every option of every command: one line that names them, exit status 2, nothing imported.

All in one child process, so that what is imported can be looked at and some 500 command lines stay cheap.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

LONG = "x" * 5000
WIDE_1, WIDE_15 = "\uff11", "\uff11.\uff15"  # full-width digits, which Python's int() and \d take
HUGE = "99999999999999999999"

NO_INTEGER = ("", "two", "nan", "inf", "1.5", "\n", WIDE_1, "٣", "²", "1 2", "0x10", LONG, "9" * 5000)
INTEGERS = (*NO_INTEGER, "-1", HUGE, "-" + HUGE)
NO_NAME = ("", "\n", "unknown", WIDE_1, "\x1b[31m", "\u202e", "raw\n", LONG)
LISTS = ("\n", " ", "1,", "-1", "1-", "3-1", WIDE_1, "1,²", "1\n", "nan", HUGE, LONG, "0-99999")
PATHS = ("{long}", "{deep}", "{loop}", "{dangling}", "{file}", "{fifo}", "{socket}", "/dev/full", "/dev/null")
TEXTS = ("", "{long}", "{deep}", "{loop}", "{dangling}", "{folder}", "/dev/null", "{none}")

VALUES: dict[str, tuple[str, ...]] = {
    "--model": ("", "\n", " ", *PATHS, "./no", "gpt2-xll", "\x1b[31m", WIDE_1, LONG),
    "--device": (*NO_NAME, "cpu:1", "cpu:0", "cuda:99", "cuda:", f"cuda:{WIDE_1}", "cuda:-1", f"cuda:{HUGE}",
                 "cuda:1\n", "meta"),
    "--dtype": NO_NAME,
    "--backend": NO_NAME,
    "--occurrence": NO_NAME,
    "--pieces": NO_NAME,
    "--classes": (*NO_NAME, "nouns", "nouns,cats"),
    "--tagger": (*NO_NAME, "spacy:", "spacy: ", "spacy:no_such_pipeline", "spacy:a\0b", f"spacy:{LONG}"),
    "--baseline": NO_NAME,
    "--geometry": NO_NAME,
    "--what": NO_NAME,
    "--format": NO_NAME,
    "--layers": LISTS,
    "--at": (*LISTS, "0"),
    "--reference": ("\n", " ", "9", "-1", "3-1", f"{WIDE_1}-5", "1-5\n", "first", HUGE, f"1-{HUGE}", LONG),
    **dict.fromkeys(("--skip", "--n-draws", "--n-perm", "--n-donors", "--removed"), INTEGERS),
    **dict.fromkeys(("--body-from", "--n-shuffled", "--n-components"), INTEGERS),
    "--seed": (*INTEGERS, str(2**63)),
    "--document-starts": INTEGERS,
    "--checkpoint": INTEGERS,
    "--revision": ("", "\n", "main", WIDE_1, "\x1b[31m", LONG),
    "--device-map": NO_NAME,
    "--n-texts": (*INTEGERS, "0", "1"),
    "--length": (*INTEGERS, "0", "3"),
    "--tau": ("", "x", "nan", "inf", "-inf", "0", "-1", "4", "1e999", "1e-999", WIDE_15, "\n", LONG),
    "--target": ("", "\n", " ", "a{{99999999999}}", "(" * 5000, "(her", "[", "her\x1b[31m", LONG),
    "--instead": ("", ",", " him,", " her", "\n", "him\x1b[31m", LONG),
    "--prompts": TEXTS,
    "--texts": TEXTS,
    "--groups": TEXTS,
    "--donors": TEXTS,
    "--out": ("", *PATHS),
    "--figures": ("", *PATHS),
    "--report": ("", "{long}", "{loop}", "{result}", "{folder}", "{fifo}", "{socket}", "/dev/null",
                 "/dev/full", "{file}/page.html", "{dangling}/page.html"),
}  # fmt: skip
"""Hostile values by option; {{ is a brace, and {name} a path of `places`."""

ARGUMENTS = {
    "angles": TEXTS,
    "show": (*TEXTS, "/dev/full", "{fifo}", "{socket}"),
    "compare sinks": ("", "\n", " ", *PATHS, "./no", "novela", "@1", "{none}.nc", "novella@main", LONG),
}
"""Hostile values of FILE, or of a model that is compared with another."""


@dataclass(frozen=True)
class Line:
    """A command line, the option that it is hostile in, and the value."""

    argv: list[str]
    option: str
    value: str


def options_of(command: str) -> dict[str, bool]:
    """Every option of a command, with whether it takes a value."""
    from laminar_lens.cli.app import app

    found, *of = command.split()
    group = typer.main.get_command(app)
    chosen = group.commands[found]  # type: ignore[attr-defined]
    for name in of:
        chosen = chosen.get_command(typer.Context(chosen), name)
    parameters = chosen.params
    named = {name: not p.is_flag for p in parameters if hasattr(p, "is_flag") for name in p.opts}
    return {name: takes for name, takes in named.items() if name.startswith("--")}


COMMANDS = (
    *("sequential", "warmup", "why", "sinks", "dimensions", "decomposition", "rotation", "paths"),
    "speech",
    "trajectories",
    *("mask", "angles", "show"),
    "compare sinks",
)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Paths of every unfit kind, by name."""
    folder = tmp_path_factory.mktemp("places")
    (folder / "folder").mkdir()
    (folder / "file").write_text("They saw her.\n")
    (folder / "result.nc").write_bytes(b"a result")
    os.mkfifo(folder / "fifo")
    os.symlink(folder / "loop", folder / "loop")
    os.symlink(folder / "nowhere" / "at all", folder / "dangling")
    listening = socket.socket(socket.AF_UNIX)
    at = os.getcwd()
    os.chdir(folder)  # the address of a socket is short
    listening.bind("socket")
    os.chdir(at)
    names = ("folder", "file", "fifo", "loop", "dangling", "socket", "none")
    yield {
        **{name: str(folder / name) for name in names},
        "result": str(folder / "result.nc"),
        "long": str(folder / ("n" * 300)),
        "deep": str(folder) + "/d" * 3000,
    }
    listening.close()


def hostile_lines(places: dict[str, str], out: Path) -> list[Line]:
    """Every hostile value of every option of every command, alone among values that are right."""
    lines = []
    for command in COMMANDS:
        options = options_of(command)
        right = {"mask": ["--texts", places["file"]], "angles": [places["file"]], "show": [places["result"]]}
        right["compare sinks"] = ["novella", "novella"]
        words = command.split()
        for option in (name for name in options if options[name]):
            # the options of a study under compare are read as the study's own, which are tried above
            for value in VALUES[option][: 2 if "compare" in words else None]:
                given = value.format(**places)
                basis = [] if command == "mask" and option == "--texts" else right.get(command, [])
                extra = ["--regex"] if option == "--target" and "her" not in given[1:] else []
                away = ["--out", str(out)] if option != "--out" and "--out" in options else []
                lines.append(Line([*words, *basis, *extra, *away, f"{option}={given}"], option, given))
        for value in ARGUMENTS.get(command, ()):
            given = value.format(**places)
            beside = ["novella"] if command.startswith("compare") else []
            lines.append(Line([*words, *beside, given], "", given))
        lines += [Line([*words, *right.get(command, []), f"{name}=yes"], name, "yes")
                  for name in options if not options[name]]  # fmt: skip
        lines.append(Line([*words, *right.get(command, []), f"--{LONG}"], "--", LONG))
    return lines


CHILD = """
import contextlib, io, json, sys, types
from laminar_lens.cli import main
work = types.ModuleType("laminar_lens.cli.run")  # what is taken is not worked on
work.execute = lambda request: print("accepted")
sys.modules["laminar_lens.cli.run"] = work
found = []
for argv in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = main(argv)
        except BaseException as error:
            status = repr(error)
    heavy = sorted({"torch", "transformer_lens", "transformers", "plotly"} & set(sys.modules))
    found.append([status, out.getvalue(), err.getvalue(), heavy])
    if heavy:
        break  # what follows would be blamed for it
json.dump(found, sys.stdout)
"""


def test_every_option_has_hostile_values() -> None:
    """A new option must be added to the table above."""
    taking = {name for command in COMMANDS for name, takes in options_of(command).items() if takes}
    assert taking == set(VALUES)


def test_a_hostile_value_is_one_line_before_anything_is_imported(
    places: dict[str, str], tmp_path: Path
) -> None:
    lines = hostile_lines(places, tmp_path / "out")
    assert len(lines) > 500
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps([line.argv for line in lines]),
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
        cwd=tmp_path,
    )
    answers = json.loads(done.stdout)
    wrong = []
    for line, (status, out, err, heavy) in zip(lines, answers, strict=False):
        good = (status, out, err.count("\n"), heavy) == (2, "", 1, [])
        good = good and err.startswith("laminar-lens: error: ") and "Traceback" not in err
        good = good and len(err) < 1600 and err[:-1].isprintable()
        if not (good and names(err, line)):
            wrong.append(f"{line.argv[0]} {line.option}={line.value[:60]!r}: {status} {err[:300]!r} {heavy}")
    assert not wrong, f"{len(wrong)} of {len(lines)}:\n" + "\n".join(wrong)
    assert len(answers) == len(lines)
    assert list(tmp_path.iterdir()) == []


def names(err: str, line: Line) -> bool:
    """Whether the line names the option, or what it is called in words, and the value's beginning."""
    words = {"--model": "model", "--prompts": "prompts file", "--texts": "file"}
    option = line.option in err or words.get(line.option, "'") in err
    shown = repr(line.value)[1:25].rstrip("'") if len(line.value) > 25 else repr(line.value)[1:-1]
    try:
        number = str(float(line.value)) in err  # 1e999 is told as inf
    except ValueError:
        number = False
    return option and (shown in err or number or "does not take a value" in err)
