"""The CSV: one row an entry, written whole or not at all, and what says that a row may be kept."""

import csv
import datetime
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = (
    *("op", "backend", "shape", "dtype", "seq_len", "p20_ms", "p50_ms", "p80_ms", "bytes", "gb_per_s"),
    *("percent_of_copy", "cached_gb_per_s", "cached_sum_gb_per_s"),
    *("peak_extra_bytes", "max_error_rad", "compared", "status"),
    *("device", "threads", "versions", "commit", "date"),
)
OK = "ok"
_SAME = ("device", "threads", "versions", "commit")

Row = dict[str, str]
Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Setting:
    """Where and with what a row was measured; rows of another setting are measured again."""

    device: str
    threads: str
    versions: str
    commit: str

    @classmethod
    def here(cls, device: str) -> "Setting":
        """This machine; `device` is cpu or cuda."""
        if device == "cuda":
            name, threads = torch.cuda.get_device_name(), ""
        else:
            name, threads = f"{_cpu_name()}, {os.cpu_count()} cores", str(torch.get_num_threads())
        return cls(name, threads, _versions(), source_version())

    def stamp(self) -> Row:
        """The columns of every row."""
        date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d")
        return {**{name: getattr(self, name) for name in _SAME}, "date": date}

    def made(self, row: Mapping[str, str]) -> bool:
        """Whether a row is of this setting."""
        return all(row.get(name) == getattr(self, name) for name in _SAME)


def key_of(row: Mapping[str, str]) -> Key:
    """What identifies a row among those of one setting."""
    return row["op"], row["backend"], row["shape"], row["dtype"]


def read_rows(path: Path) -> list[Row]:
    """All rows of a CSV; none where there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Takes the place of the file at once, so that a run that is stopped leaves what it had."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def source_version() -> str:
    """The commit; where files differ from it or there is none, a digest of what is run as well."""
    digest = hashlib.sha256()
    for folder in ("src/laminar_lens", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    mark = digest.hexdigest()[:8]
    commit = _git("rev-parse", "--short=10", "HEAD")
    if commit is None:
        return f"sources {mark}"
    changed = _git("status", "--porcelain", "--", "src", "benchmarks/*.py")
    return commit if changed == "" else f"{commit}+{mark}"


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _versions() -> str:
    names = ("torch", "triton", "numba", "numpy")
    found = [f"{name} {version}" for name in names if (version := _version(name))]
    return ", ".join([f"Python {platform.python_version()}", *found])


def _version(name: str) -> str:
    if name == "torch":
        return torch.__version__
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
