"""What a command was asked to do: plain values, checked before anything heavy is imported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from laminar_lens.studies.command import Asked


@dataclass(frozen=True)
class Output:
    """Where the answer goes: `folder` holds the files; `json` and `quiet` choose what is printed."""

    folder: Path
    json: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class ModelChoice:
    """Which model, and how it is loaded: the arguments of `load_model`."""

    name: str = "novella"
    device: str | None = None
    dtype: str = "float32"
    bridge: bool | None = None
    trust_remote_code: bool = False
    revision: str | None = None
    checkpoint: int | None = None
    device_map: str | None = None
    check: bool | None = None
    keep_paths: bool = False


@dataclass(frozen=True)
class Texts:
    """Prompts, and the name that a reader knows them by; `groups` has them by the word of their group, where
    they were given so."""

    name: str
    texts: tuple[str, ...]
    groups: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class StudyRequest(Asked):
    """A study of a model; `prompts` is the name of the texts where they are prompts, else None."""

    model: ModelChoice = ModelChoice()
    output: Output = Output(Path())
    prompts: str | None = None


@dataclass(frozen=True)
class AnglesRequest:
    """`laminar-lens angles FILE`: one kind of angle of every prompt, written to one file; `options` are those
    that studies take, too."""

    model: ModelChoice
    prompts: Texts
    what: str
    format: str
    path: Path
    quiet: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class MaskRequest:
    """`laminar-lens mask`: which tokens of each text to keep; `skip` is None where a warm-up decides it."""

    model: ModelChoice
    texts: Texts
    folder: Path
    skip: int | None = None
    sinks: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    json: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class ShowRequest:
    """`laminar-lens show FILE`: a saved result read again, or answered again with options of its study;
    `figures` is their folder, if they are wanted, and their format."""

    path: Path
    page: Path | None = None
    json: bool = False
    quiet: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    figures: tuple[Path | None, str] = (None, "svg")


@dataclass(frozen=True)
class CompareRequest:
    """`laminar-lens compare STUDY MODEL …`: by the name of each model, a study to run, or the file of a
    result that it gave; `stem` is what the comparison's files are called."""

    study: str
    parts: Mapping[str, StudyRequest | Path]
    output: Output
    stem: str


Request = StudyRequest | AnglesRequest | MaskRequest | ShowRequest | CompareRequest
