"""Files that are whole or not there."""

import os
from pathlib import Path


def write_whole(file: Path, content: bytes) -> None:
    """Writes under another name and renames, so that a reader never meets half a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    try:
        with part.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
