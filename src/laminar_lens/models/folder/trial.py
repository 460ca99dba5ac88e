"""A tokenizer.json tried in a process of its own: its native code may panic, print, or end the process."""

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from laminar_lens.models.folder.files import FolderError

LONGEST_S = 60.0  # the largest known tokenizer takes about one second
TEXTS = (
    "a",
    "He gave her the book.",
    " her\n\n\t  aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!",
    "é 東京 🙂 \u202e\x07\0",
)
_SCRIPT = """
import json, sys
try:
    from tokenizers import Tokenizer
except ImportError:
    sys.exit()
path, texts = sys.argv[1], json.loads(sys.argv[2])
try:
    tokenizer = Tokenizer.from_file(path)
    for special in (False, True):
        tokenizer.encode_batch(texts, add_special_tokens=special)
except BaseException as error:
    print(type(error).__name__, ascii(" ".join(str(error).split())[:200])[1:-1])
    sys.exit(3)
"""


def try_tokenizer(file: Path) -> None:
    """Refuses a tokenizer that cannot be read or fails at a few texts.

    Raises:
        FolderError: with what its code said, or how its process ended.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return  # no interpreter to try it with: then it is tried while loading
    status = file.stat()
    if reason := _failure(str(file.resolve()), status.st_mtime_ns, status.st_size):
        raise FolderError(f"{file.name} is no working tokenizer ({reason})")


@lru_cache(maxsize=32)
def _failure(path: str, modified_ns: int, size: int) -> str:
    """Why the tokenizer does not work, empty if it does; asked once for the same content."""
    command = [sys.executable, "-P", "-c", _SCRIPT, path, json.dumps(TEXTS)]
    quiet = os.environ | {"RUST_BACKTRACE": "0", "TOKENIZERS_PARALLELISM": "false"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            env=quiet,
            timeout=LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it does not end within {LONGEST_S:g} s"
    if done.returncode == 0:
        return ""
    said = done.stdout.splitlines()
    return (
        said[-1] if done.returncode == 3 and said else f"its code ends the process, status {done.returncode}"
    )
