"""Standard output and standard error, which may be closed, full, or pipes that nobody reads any more.

What was measured does not depend on them: standard error is never minded, and what standard output refuses
is told apart from every other error.
"""

import contextlib
import errno
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any


class UnheardError(Exception):
    """Standard output did not take what was written to it.

    Attributes:
        is_closed_pipe: nobody reads it any more, as behind `| head`; that is no fault.
    """

    def __init__(self, error: OSError | ValueError) -> None:
        super().__init__(getattr(error, "strerror", None) or str(error))
        self.is_closed_pipe = isinstance(error, BrokenPipeError)
        self.written: tuple[str, ...] = ()

    def __str__(self) -> str:
        kept = f"; written before: {', '.join(self.written)}" if self.written else ""
        return f"standard output cannot be written ({self.args[0]}){kept}"


class _Stream:
    """A text stream, or None where it was closed, with another answer to a failure."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As of any text stream."""
        try:
            self._existing().write(text)
        except UnicodeError:
            raise  # of the text, not of the stream
        except (OSError, ValueError) as error:
            self._failed(error)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """As of any text stream."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """As of any text stream."""
        try:
            self._existing().flush()
        except (OSError, ValueError) as error:
            self._failed(error)

    def isatty(self) -> bool:
        """Whether a person looks at it."""
        return self._stream is not None and bool(self._stream.isatty())

    def __getattr__(self, name: str) -> Any:
        if self._stream is None:
            raise AttributeError(name)
        return getattr(self._stream, name)

    def _existing(self) -> Any:
        if self._stream is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._stream

    def _failed(self, error: OSError | ValueError) -> None:
        raise NotImplementedError


class _Output(_Stream):
    _fault: OSError | ValueError | None = None

    def _existing(self) -> Any:
        if self._fault is not None:  # where a library kept the first error to itself, the next write tells
            raise self._fault
        return super()._existing()

    def _failed(self, error: OSError | ValueError) -> None:
        self._fault = error
        silence(self._stream)
        raise UnheardError(error) from None


class _Remarks(_Stream):
    def _failed(self, error: OSError | ValueError) -> None:
        silence(self._stream)
        self._stream = None


@contextlib.contextmanager
def standard() -> Iterator[None]:
    """Both streams while a command runs: standard output raises `UnheardError`, standard error nothing."""
    _fill_closed()
    with (
        contextlib.redirect_stdout(_Output(sys.stdout)),
        contextlib.redirect_stderr(_Remarks(sys.stderr)),
    ):
        yield


@contextlib.contextmanager
def written(files: Iterable[object]) -> Iterator[None]:
    """Names the files in the error of a standard output that does not take what is said about them."""
    try:
        yield
    except UnheardError as error:
        error.written = tuple(map(str, files))
        raise


def silence(stream: Any) -> None:
    """Lets go of what a stream still holds, so that Python does not complain of it at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _fill_closed() -> None:
    """Opens nothing in the place of closed standard streams: else the next file opened is taken for one, and
    a library's remark is written into a result."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                opened = os.open(os.devnull, os.O_RDWR)
                if opened != number:
                    os.dup2(opened, number)
                    os.close(opened)
