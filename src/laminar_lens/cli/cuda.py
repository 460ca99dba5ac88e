"""What CUDA this machine has, as far as can be told without importing torch."""

import ctypes
import importlib.util
import re
from pathlib import Path

LIBRARIES = ("libcuda.so.1", "nvcuda.dll")


def why_not() -> str:
    """Why CUDA cannot be had here; empty if nothing speaks against it."""
    built = _torch_version()
    if re.search(r"^hip\b.*= '", built, re.MULTILINE):
        return ""  # ROCm answers to the name cuda
    if re.search(r"^cuda\b.*= None$", built, re.MULTILINE):
        return "the torch installed here is built without CUDA"
    return "" if _driver() is not None else "this machine has no CUDA driver"


def count() -> int | None:
    """How many devices CUDA's driver shows this process; None where it does not say."""
    driver = _driver()
    found = ctypes.c_int(0)
    if driver is None or driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(found)) != 0:
        return None
    return found.value


def _driver() -> ctypes.CDLL | None:
    for library in LIBRARIES:
        try:
            return ctypes.CDLL(library)
        except OSError:
            continue
    return None


def _torch_version() -> str:
    spec = importlib.util.find_spec("torch")
    version = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    return version.read_text(encoding="utf-8") if version is not None and version.is_file() else ""
