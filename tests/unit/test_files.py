"""Files are written whole or not at all, over nothing but regular files, and the dead's leavings go."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from laminar_lens import files
from laminar_lens.cli import checks
from laminar_lens.errors import ResultError
from laminar_lens.files import atomic_path, why_unwritable, write_text


def refused(path: Path, said: str) -> None:
    assert said in why_unwritable(path)
    with pytest.raises(ResultError, match="cannot write") as caught:
        write_text(path, "text")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ResultError) as caught:
        checks.writable(path.parent, [path.name])
    assert "give another --out" in str(caught.value)
    assert not list(path.parent.glob(".*.part"))


# ---------------------------------------------------------------------------------------------------- places


def test_only_a_regular_file_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for name, said in {
            "pipe": "it is a pipe",
            "socket": "it is a socket",
            "folder": "a folder has that name",
        }.items():
            before = (tmp_path / name).lstat()
            refused(tmp_path / name, said)
            (tmp_path / f"to {name}").symlink_to(tmp_path / name)
            refused(tmp_path / f"to {name}", said)
            assert (tmp_path / name).lstat().st_ino == before.st_ino


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    device = tmp_path / "device"
    try:
        os.mknod(device, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("making a device needs root")
    refused(device, "it is a device")
    assert stat.S_ISCHR(device.lstat().st_mode)


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refused(tmp_path / "loop", "leads back to itself")
    (tmp_path / "astray").symlink_to(tmp_path / "none" / "file")
    refused(tmp_path / "astray", "which does not exist")
    (tmp_path / "new").symlink_to(tmp_path / "file")  # a link to a file that can be made is followed
    write_text(tmp_path / "new", "text")
    assert (tmp_path / "new").is_symlink()
    assert (tmp_path / "file").read_text() == "text"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "astray").symlink_to(tmp_path / "none")
    for name in ("loop", "astray"):
        for folder in (tmp_path / name, tmp_path / name / "below"):
            with pytest.raises(ResultError, match="is a link that leads nowhere; give a folder with --out"):
                checks.writable(folder, ["x.nc"])


@pytest.fixture
def immutable(tmp_path: Path) -> Iterator[Path]:
    """A file that not even root may replace."""
    path = tmp_path / "immutable"
    path.write_text("earlier")
    chattr = shutil.which("chattr")
    if chattr is None or subprocess.run([chattr, "+i", path], capture_output=True, check=False).returncode:
        pytest.skip("this file system or user cannot make a file immutable")
    yield path
    subprocess.run([chattr, "-i", path], check=True)


def test_an_immutable_file_is_refused_before_the_work(immutable: Path) -> None:
    refused(immutable, "Operation not permitted")
    assert immutable.read_text() == "earlier"


def test_a_file_that_may_not_be_changed_is_replaced_as_before(tmp_path: Path) -> None:
    path = write_text(tmp_path / "page.html", "first")
    path.chmod(0o444)
    write_text(path, "second")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("second", 0o444)


def test_a_name_as_long_as_the_file_system_takes(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 250 + ".html")
    assert write_text(path, "text").read_text() == "text"
    refused(tmp_path / ("n" * 300), "File name too long")
    assert why_unwritable(tmp_path / ("n" * 300) / ".." / "file") == ""  # what the system resolves is checked
    assert "null" in why_unwritable("a\0b")


# ------------------------------------------------------------------------------------------------- leavings

KILLED = """
import os, signal, sys
from laminar_lens.files import atomic_path
with atomic_path(sys.argv[1]) as part:
    part.write_text("half")
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    print(part.name, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_left_is_cleared_by_the_next_write(tmp_path: Path) -> None:
    target = write_text(tmp_path / "study.nc", "earlier")
    done = subprocess.run([sys.executable, "-c", KILLED, target, "die"], check=False)
    assert done.returncode == -signal.SIGKILL
    left = list(tmp_path.glob(".study.nc.*.part"))
    assert len(left) == 1
    assert target.read_text() == "earlier"
    write_text(tmp_path / "other.nc", "another file's write leaves it")
    assert left[0].exists()
    write_text(target, "later")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.nc", "study.nc"]


def test_the_file_of_a_living_process_is_let_alone(tmp_path: Path) -> None:
    target = tmp_path / "study.nc"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", KILLED, target, "live"], stdin=pipe, stdout=pipe) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        part = tmp_path / other.stdout.readline().decode().strip()
        os.utime(part, (0, 0))  # however old
        write_text(target, "ours")
        assert part.read_text() == "half"
        other.stdin.close()
        assert other.wait() == 0
    assert target.read_text() == "half"
    assert list(tmp_path.iterdir()) == [target]


def test_two_writes_of_one_process_let_each_other_alone(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a") as first:
        first.write_text("first")
        write_text(tmp_path / "a", "second")
        assert first.exists()
    assert (tmp_path / "a").read_text() == "first"


def test_which_leavings_are_abandoned(tmp_path: Path) -> None:
    here, dead, number = files._machine(), 999_999_999, "0123456789ab"
    day_old = time.time() - files.ABANDONED_S - 60
    kept = [
        f".a.00000000-{dead}-{number}.part",  # of another machine, and fresh
        f".a.{number}.part",  # says nothing of its writer, and is fresh
        f".a.{here}-1-{number}.part",  # of a process that lives
        f".b.{here}-{dead}-{number}.part",  # of another file
        f".a.{here}-{dead}-{number}.part.gz",
        f"a.{here}-{dead}-{number}.part",
    ]
    gone = [
        f".a.{here}-{dead}-{number}.part",
        f".a.{here}-{os.getpid()}-{number}.part",  # our number, but not ours: a container counts from 1 again
        f".a.00000001-{dead}-{number}.part",
        ".a.ba9876543210.part",
    ]
    for name in kept + gone:
        (tmp_path / name).write_text("half")
    for name in gone[2:]:
        os.utime(tmp_path / name, (day_old, day_old))
    write_text(tmp_path / "a", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "a"])
