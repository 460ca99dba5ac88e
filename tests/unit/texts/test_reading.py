"""Text files: only regular ones, UTF-8, no byte-order mark; the same in every place that reads one."""

import io
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import laminar_lens as ll
from laminar_lens.cli import checks
from laminar_lens.errors import InputError
from laminar_lens.prompts import read_prompts
from laminar_lens.texts import reading
from laminar_lens.texts.reading import read_document, read_text

READERS: dict[str, Callable[[Path], Any]] = {
    "read_text": read_text,
    "read_document": read_document,
    "read_prompts": read_prompts,
    "--prompts": lambda path: checks.prompts([str(path)]),
    "--texts": lambda path: checks.texts([str(path)]),
    "--texts --texts": lambda path: checks.texts([str(path), str(path)]),
}


@pytest.fixture(params=READERS)
def read(request: pytest.FixtureRequest) -> Callable[[Path], Any]:
    """Each way to a text file."""
    return READERS[request.param]


@pytest.fixture
def in_time() -> Iterator[None]:
    """What waits for ever fails after ten seconds."""

    def stop(*_: Any) -> None:
        raise TimeoutError("still reading after 10 s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def refusal(read: Callable[[Path], Any], path: Path) -> str:
    with pytest.raises(InputError) as error:
        read(path)
    said = str(error.value)
    assert "\n" not in said
    assert path.name in said
    assert said.count("cannot be read") <= 1
    return said


@pytest.mark.usefixtures("in_time")
class TestOnlyRegularFiles:
    def test_a_pipe_that_nobody_writes_to(self, tmp_path: Path, read: Any) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert "is a pipe, and only regular files are read" in refusal(read, tmp_path / "pipe")

    def test_a_link_to_a_pipe(self, tmp_path: Path, read: Any) -> None:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "link").symlink_to(tmp_path / "pipe")
        assert "is a pipe" in refusal(read, tmp_path / "link")

    @pytest.mark.parametrize("device", ["/dev/zero", "/dev/random", "/dev/null"])
    def test_devices(self, device: str, read: Any) -> None:
        assert "is a device" in refusal(read, Path(device))

    def test_a_socket(self, tmp_path: Path, read: Any) -> None:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(tmp_path / "s"))
            assert "is a socket" in refusal(read, tmp_path / "s")

    def test_a_folder(self, tmp_path: Path, read: Any) -> None:
        assert "is a folder" in refusal(read, tmp_path)

    def test_a_file_that_becomes_a_pipe_between_the_look_and_the_opening(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "p.txt"
        path.write_text("One.")
        seen = os.stat(path)
        path.unlink()
        os.mkfifo(path)
        with monkeypatch.context() as patch:
            patch.setattr(reading.os, "stat", lambda _: seen)
            said = refusal(read_text, path)
        assert "is a pipe" in said

    def test_a_regular_file_that_sends_nothing(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any
    ) -> None:
        class Waits(io.BytesIO):
            def read(self, *_: Any) -> Any:
                return None  # as a file opened without waiting does, such as /proc/kmsg

        (tmp_path / "a").write_text("text")
        monkeypatch.setattr(reading, "open", lambda handle, _: Waits(), raising=False)
        with pytest.raises(InputError, match=r"a' cannot be read \(.*: check the path"):
            read(tmp_path / "a")

    def test_a_link_to_a_file_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "p.txt").write_text("One.\nTwo.")
        (tmp_path / "link").symlink_to("p.txt")
        assert read_prompts(tmp_path / "link") == ("One.", "Two.")


class TestWhatIsRefused:
    def test_missing_looped_and_too_long(self, tmp_path: Path, read: Any) -> None:
        assert "does not exist: check the path" in refusal(read, tmp_path / "none.txt")
        (tmp_path / "a").symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        assert "cannot be read" in refusal(read, tmp_path / "a")
        assert "cannot be read" in refusal(read, tmp_path / ("n" * 300))

    def test_a_path_with_a_nul(self) -> None:
        with pytest.raises(InputError, match="cannot be read"):
            read_text("a\0b")

    @pytest.mark.parametrize("path", [None, 3, b"p.txt", ["p.txt"]])
    def test_no_path(self, path: Any) -> None:
        with pytest.raises(InputError, match="give its path"):
            read_text(path)

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-32-be"])
    def test_other_unicode_is_named(self, tmp_path: Path, encoding: str, read: Any) -> None:
        file = tmp_path / "p.txt"
        mark = "\ufeff" if encoding.endswith("-be") else ""
        file.write_bytes((mark + "She saw her.\n").encode(encoding))
        said = refusal(read, file)
        assert f"is {encoding[:6].upper()} (it begins with" in said
        assert "save it as UTF-8" in said

    def test_the_byte_that_is_not_utf_8(self, tmp_path: Path, read: Any) -> None:
        file = tmp_path / "p.txt"
        file.write_bytes("Größe: caf".encode() + b"\xe9\n")
        assert "is not UTF-8 at byte 12: save it as UTF-8" in refusal(read, file)

    def test_a_file_beyond_all_sense(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Any
    ) -> None:
        file = tmp_path / "p.txt"
        file.write_text("She saw her.\n")
        monkeypatch.setattr(reading, "MOST_BYTES", 12)
        assert "is larger than 12 bytes" in refusal(read, file)
        monkeypatch.setattr(reading, "_check_regular", lambda *_: None)  # a file that grows while it is read
        assert "is larger than 12 bytes" in refusal(read, file)

    def test_nothing_but_white_space(self, tmp_path: Path) -> None:
        (tmp_path / "p.txt").write_bytes(b"\xef\xbb\xbf \n")
        assert "is empty" in refusal(READERS["--texts --texts"], tmp_path / "p.txt")


class TestByteOrderMark:
    def test_it_is_no_part_of_a_text(self, tmp_path: Path) -> None:
        file = tmp_path / "p.txt"
        file.write_bytes("\ufeff\ufeffOne.\r\nTwo.\rThree.".encode())
        assert read_text(file) == "One.\r\nTwo.\rThree."
        assert read_document(file) == "One.\nTwo.\nThree."
        assert read_prompts(file) == ("One.", "Two.\rThree.")

    def test_files_that_were_joined(self, tmp_path: Path) -> None:
        file = tmp_path / "p.txt"
        file.write_bytes("\ufeffOne.\n\ufeffTwo.\n".encode())
        assert read_prompts(file) == ("One.", "Two.")

    def test_several_files_measure_the_same_with_and_without_it(
        self, tmp_path: Path, tiny_gpt2: Path
    ) -> None:
        model = ll.load_model(tiny_gpt2)
        text = "She gave her the book and he thanked her for it by the river. " * 4
        found = []
        for mark in ("", "\ufeff"):
            files = []
            for index in range(3):
                files.append(tmp_path / f"{index}{len(mark)}.txt")
                files[-1].write_bytes((mark + text[index:]).encode())
            study = ll.warmup_study(model, files, length=8, random_init=False)
            found.append((study.tokens, study.dataset["angle"].values.tobytes()))
        assert found[0][0].equal(found[1][0])
        assert found[0][1] == found[1][1]
