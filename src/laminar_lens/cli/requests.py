"""What a command was asked to do: plain values, checked before anything heavy is imported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Output:
    """Where the answer goes: `folder` holds the files; `json` and `quiet` choose what is printed."""

    folder: Path
    json: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class ModelChoice:
    """Which model, and how it is read."""

    name: str = "novella"
    device: str = "cpu"
    dtype: str = "float32"
    bridge: bool | None = None
    trust_remote_code: bool = False
    prepend_bos: bool = False
    final_norm: bool = False
    layers: tuple[int, ...] | None = None
    backend: str = "auto"


@dataclass(frozen=True)
class Texts:
    """Prompts, and the name that a reader knows them by."""

    name: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class SequentialRequest:
    """`laminar-lens sequential`; `n_texts` is None where no warm-up part is wanted."""

    model: ModelChoice
    prompts: Texts
    output: Output
    target: str = " her"
    occurrence: str = "error"
    regex: bool = False
    baseline: str = "published"
    skip: int = 0
    tau: float = 0.05
    n_texts: int | None = None
    warmup: bool = True
    geometry: str = "raw"
    geometries: bool = True
    grid: bool = False
    seed: int = 0


@dataclass(frozen=True)
class TextStudyRequest:
    """What studies of many texts share; None is the study's default."""

    model: ModelChoice
    output: Output
    texts: str | Path | tuple[Path, ...] | None = None
    n_texts: int | None = None
    length: int | None = None
    geometry: str = "raw"
    seed: int = 0


@dataclass(frozen=True)
class WarmupRequest(TextStudyRequest):
    """`laminar-lens warmup`."""

    tau: float = 0.05
    reference: str | tuple[int, int] | None = None
    geometries: bool = True
    grid: bool = False


@dataclass(frozen=True)
class WhyRequest(TextStudyRequest):
    """`laminar-lens why`; without places every reference pair is one."""

    at: tuple[int, ...] | None = None
    tau: float = 0.05
    random: bool = True
    geometries: bool = True


@dataclass(frozen=True)
class SinksRequest(TextStudyRequest):
    """`laminar-lens sinks`."""

    random: bool = True


@dataclass(frozen=True)
class DimensionsRequest(TextStudyRequest):
    """`laminar-lens dimensions`."""


@dataclass(frozen=True)
class AnglesRequest:
    """`laminar-lens angles FILE`: one kind of angle of every prompt, written to one file."""

    model: ModelChoice
    prompts: Texts
    what: str
    format: str
    path: Path
    quiet: bool = False
    geometry: str = "raw"


@dataclass(frozen=True)
class MaskRequest:
    """`laminar-lens mask`: which tokens of each text to keep; `skip` is None where a warm-up decides it."""

    model: ModelChoice
    texts: Texts
    folder: Path
    skip: int | None = None
    n_texts: int | None = None
    sinks: bool = True
    seed: int = 0
    json: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class ShowRequest:
    """`laminar-lens show FILE`: a saved result read again, or answered again with options of its study."""

    path: Path
    page: Path | None = None
    json: bool = False
    quiet: bool = False
    options: Mapping[str, str] = field(default_factory=dict)


Request = SequentialRequest | TextStudyRequest | AnglesRequest | MaskRequest | ShowRequest
