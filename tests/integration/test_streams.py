"""What was measured is written whatever happens to the screen, the terminal or the space on the disk."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import laminar_lens as ll
from laminar_lens import progress
from laminar_lens.cli import main, run
from laminar_lens.cli.requests import Output
from laminar_lens.errors import ResultError
from laminar_lens.results import StudyResult
from tests.synthetic import sequential_dataset, with_warmup

COMMAND = f"{sys.executable} -m laminar_lens"
WARMUP = ["warmup", "--n-texts", "30", "--length", "16", "--no-geometries"]
FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result on disk."""
    return with_warmup(sequential_dataset()).save(tmp_path_factory.mktemp("saved") / "sequential.nc")


def shell(line: str, tmp_path: Path) -> tuple[int, str, str]:
    """Exit status of `line` in a shell, and what came out of it."""
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    return done.returncode, done.stdout, done.stderr


# ------------------------------------------------------------------------------------------- standard streams


@pytest.mark.parametrize("what", ["--help", "--version", "warmup --help"])
@pytest.mark.parametrize(
    ("where", "reason"),
    [(">&-", "Bad file descriptor"), pytest.param(">/dev/full", "No space left on device", marks=FULL)],
)
def test_help_that_cannot_be_written_is_one_line(what: str, where: str, reason: str, tmp_path: Path) -> None:
    said = f"laminar-lens: error: standard output cannot be written ({reason})\n"
    assert shell(f"{COMMAND} {what} {where}", tmp_path) == (2, "", said)


@pytest.mark.parametrize("where", ["2>&-", pytest.param("2>/dev/full", marks=FULL), ">&- 2>&- <&-"])
def test_an_error_that_nobody_hears_still_has_its_status(where: str, tmp_path: Path) -> None:
    assert shell(f"{COMMAND} warmup --tau -1 {where}", tmp_path) == (2, "", "")


@pytest.mark.parametrize(
    ("where", "status"),
    [
        ("2>&-", 0),
        (">&- 2>&-", 2),
        pytest.param(">/dev/full", 2, marks=FULL),
        ("2>&1 | true; exit ${PIPESTATUS[0]}", 141),
    ],
)
def test_files_are_written_whoever_listens(where: str, status: int, saved: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    found, out, err = shell(f"{COMMAND} show {saved} --report {page} {where}", tmp_path)
    assert found == status
    assert page.read_bytes().endswith(b"</html>")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html"]
    assert "Traceback" not in out + err
    assert bool(out) == (status == 0)
    if "full" in where:
        assert err == (
            "laminar-lens: error: standard output cannot be written (No space left on device); "
            f"written before: {page}\n"
        )


@FULL
def test_a_file_that_was_only_read_is_not_called_written(saved: Path, tmp_path: Path) -> None:
    said = "laminar-lens: error: standard output cannot be written (No space left on device)\n"
    assert shell(f"{COMMAND} show {saved} >/dev/full", tmp_path) == (2, "", said)


class Deaf(io.StringIO):
    """A standard error that fails at every word."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    flush = write  # type: ignore[assignment]


def test_a_study_ends_well_though_progress_and_chatter_are_refused(
    tiny_gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("EVERY_S", "FIRST_S"):
        monkeypatch.setattr(progress, name, 0.0)
    monkeypatch.setattr(sys, "stderr", Deaf())
    load = run._load

    def chatting(*arguments: Any) -> Any:
        print("chatter of a library")
        print("more of it", file=sys.stderr)
        return load(*arguments)

    monkeypatch.setattr(run, "_load", chatting)
    assert main([*WARMUP, "--model", str(tiny_gpt2), "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert f"page: {tmp_path / 'warmup.html'}" in out
    assert "chatter" not in out
    assert ll.load_result(tmp_path / "warmup.nc").sentence[:40] in " ".join(out.split())


# ---------------------------------------------------------------------------------------------------- Ctrl-C


def test_ctrl_c_while_a_model_runs_is_one_line(tmp_path: Path) -> None:
    """As a user presses it: once a phase is named, with its share and the time left."""
    command = [*COMMAND.split(), "warmup", "--texts", "sampled", "--n-texts", "20000", "--out", str(tmp_path)]
    heard: dict[str, Any] = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    piped: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **piped, **heard) as process:  # also where the suite runs under nohup
        assert process.stdout is not None
        assert process.stderr is not None
        said = ""
        for said in process.stderr:
            if " left" in said and "texts from the model" in said:
                break
        process.send_signal(signal.SIGINT)
        rest, out = process.stderr.read(), process.stdout.read()
        assert process.wait(timeout=60) == 130
    assert re.fullmatch(r"laminar-lens: texts from the model: \d+%, [\d:]+ left\n", said)
    assert rest.splitlines()[-1] == (
        "laminar-lens: interrupted; nothing was written, earlier files are as they were"
    )
    assert "Traceback" not in rest
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_after_the_result_says_that_it_is_kept(
    tiny_gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("laminar_lens.report.render", interrupt)
    assert main([*WARMUP, "--model", str(tiny_gpt2), "--out", str(tmp_path), "--quiet"]) == 130
    kept = tmp_path / "warmup.nc"
    assert capsys.readouterr().err == f"laminar-lens: interrupted; kept: {kept}\n"
    assert ll.load_result(kept).kind == "warmup"
    assert [path.name for path in tmp_path.iterdir()] == ["warmup.nc"]


# ------------------------------------------------------------------------------------------------------ disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte: a result fits, a page does not."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root on Linux")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_the_numbers_are_written_before_the_page(
    tiny_gpt2: Path, small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small_disk / "warmup.html").write_text("an earlier page")
    assert main([*WARMUP, "--model", str(tiny_gpt2), "--out", str(small_disk), "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    result = small_disk / "warmup.nc"
    assert f"cannot write {small_disk / 'warmup.html'}: No space left on device" in err
    assert f"the result is saved in {result}" in err
    assert ll.load_result(result).kind == "warmup"
    assert (small_disk / "warmup.html").read_text() == "an earlier page"
    assert sorted(path.name for path in small_disk.iterdir()) == ["warmup.html", "warmup.nc"]


def test_a_page_that_cannot_be_written_leaves_result_and_earlier_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = StudyResult(sequential_dataset())
    study.report(tmp_path / "sequential.html")
    before = (tmp_path / "sequential.html").read_bytes()

    def full(*_: object) -> None:
        raise ResultError("cannot write it: No space left on device")

    monkeypatch.setattr(run, "write_text", full)
    other = StudyResult(sequential_dataset(seed=1))
    with pytest.raises(ResultError, match=r"the result is saved in .*sequential\.nc") as caught:
        run._save(other, Output(tmp_path), lambda *_: None)
    assert "\n" not in str(caught.value)
    assert ll.load_result(tmp_path / "sequential.nc").numbers_sha256 == other.numbers_sha256
    assert (tmp_path / "sequential.html").read_bytes() == before


def test_show_says_that_a_page_is_of_other_numbers(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = Path(shutil.copy(saved, tmp_path / "study.nc"))
    page = tmp_path / "study.html"
    other = StudyResult(sequential_dataset(seed=1))
    other.report(page)  # as after a kill between the two renames
    said = f"The page {page} beside this result was made from other numbers ({other.numbers_sha256[:12]}"
    assert main(["show", str(result)]) == 0
    assert said in " ".join(capsys.readouterr().out.split())
    assert main(["show", str(result), "--json"]) == 0
    assert any(said in warning for warning in json.loads(capsys.readouterr().out)["warnings"])
    assert main(["show", str(result), "--report", str(page)]) == 0
    assert main(["show", str(result)]) == 0
    assert "other numbers" not in capsys.readouterr().out


# -------------------------------------------------------------------------------------------------- terminal


def test_control_characters_of_a_file_are_shown_and_not_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b]0;title\x07\x9b31m\u202e\u2066\r\n\x08\x7fend"
    dataset = sequential_dataset()
    dataset["claim_text"].values[:] = evil
    changed = dataset.assign_attrs(sentence=evil, warnings=json.dumps([evil]))
    for name in ("study.nc", "a \x1b[2J \u202e.nc"):
        path = StudyResult(changed).save(tmp_path / name)
        page = ["--report", str(path.with_suffix(".html"))]
        for options in ([], ["--json"]):
            assert main(["show", str(path), *page, *options]) == 0
            out, err = capsys.readouterr()
            assert err == ""
            assert all(line.isprintable() for line in out.split("\n")), out
            if options:
                assert json.loads(out)["sentence"] == evil
            else:
                assert r"\x1b]0;title\x07\x9b31m\u202e\u2066\r\n\x08\x7fend" in out
                assert r"warning: \x1b]0;" in out
    assert r"a \x1b[2J \u202e.html" in out.replace("\\u001b", r"\x1b")
