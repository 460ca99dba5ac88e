"""A line after the HDF5 data, which other readers do not see, that seals a result file as a whole.

The HDF5 library may hang or crash on damaged bytes, so it meets none: the seal is at the very end, of one
length, and what does not end in the right one is refused before anything else reads the file. It is no
signature: whoever writes a file can seal it, so what a file claims is checked again (`results.sizes`).
"""

import hashlib
import os

from laminar_lens.errors import ResultError

_MARK = b"\nlaminar-lens file sha256 "
_LENGTH = len(_MARK) + 2 * hashlib.sha256().digest_size
_HDF5 = b"\x89HDF\r\n\x1a\n"
_BLOCK = 1 << 20


def seal_of(content: bytes | memoryview) -> bytes:
    """What follows `content` in its file."""
    return _MARK + hashlib.sha256(content).hexdigest().encode()


def check_seal(path: str | os.PathLike[str]) -> None:
    """Reads a file once, in blocks, as bytes and nothing else.

    Raises:
        ResultError: not HDF5; without a seal at its end; with a seal of other bytes; unreadable.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            if file.read(len(_HDF5)) != _HDF5:
                raise ResultError(
                    f"{path} is no netCDF file, as results are: give the .nc file that a study wrote"
                )
            left = file.seek(0, os.SEEK_END) - _LENGTH
            file.seek(0)
            while left > 0 and (block := file.read(min(left, _BLOCK))):
                digest.update(block)
                left -= len(block)
            seal = file.read()
    except OSError as error:
        raise ResultError(f"cannot read {path}: {error.strerror or error}") from error
    if left or not seal.startswith(_MARK):
        raise ResultError(
            f"{path} does not end in the seal of a whole file: it was truncated, altered or copied by "
            "another tool, or it is not a Laminar Lens result; give the file as save() wrote it, or run the "
            "study again"
        )
    if seal != _MARK + digest.hexdigest().encode():
        raise ResultError(f"{path} is damaged: its bytes changed after it was saved; run the study again")
