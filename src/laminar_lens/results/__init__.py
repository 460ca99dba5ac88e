"""Results: xarray datasets with names, units and provenance that save, load and present themselves."""

import datetime
import hashlib
import html
import importlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from laminar_lens.arguments import checked
from laminar_lens.axes import PLAIN
from laminar_lens.errors import ResultError
from laminar_lens.escapes import printable
from laminar_lens.files import atomic_path, write_text
from laminar_lens.results.complete import check_labels, complete, plain_json
from laminar_lens.results.conditions import (
    condition_dataset,
    condition_names,
    contrast,
    contrast_rows,
    stack_conditions,
)
from laminar_lens.results.geometries import geometry_rows
from laminar_lens.results.kinds import check_kinds
from laminar_lens.results.storage import (
    FORMAT,
    canonical,
    numbers_sha256,
    read_dataset,
    write_dataset,
)
from laminar_lens.results.summary import Summary, claim_rows, estimate_text, json_safe, layer_rows

__all__ = [
    "FORMAT",
    "StudyResult",
    "Summary",
    "atomic_path",
    "claim_rows",
    "json_safe",
    "label_dataset",
    "layer_rows",
    "load_result",
    "make_provenance",
    "numbers_sha256",
    "stack_conditions",
    "write_text",
]

_CLASSES = {
    "angles": ("laminar_lens.results", "StudyResult"),
    "dimensions": ("laminar_lens.results", "StudyResult"),
    "sequential": ("laminar_lens.results", "StudyResult"),
    "sinks": ("laminar_lens.results", "StudyResult"),
    "warmup": ("laminar_lens.studies.warmup", "WarmupResult"),
    "why": ("laminar_lens.studies.why", "WhyResult"),
}


class StudyResult:
    """The outcome of one study: every number with its axes, and what is needed to trust and repeat it.

    Attributes:
        dataset: xarray dataset; angles in radians. Its attributes hold the sentence, settings, provenance and
            warnings.
    """

    study: ClassVar[str | None] = None
    """The only kind of study that a subclass takes; None takes any."""

    def __init__(self, dataset: xr.Dataset) -> None:
        if not isinstance(dataset, xr.Dataset):
            raise ResultError(f"the dataset is a {type(dataset).__name__}; expected an xarray.Dataset")
        kind = dataset.attrs.get("study")
        if not isinstance(kind, str) or self.study not in (None, kind):
            wanted = repr(self.study) if self.study else "the name of a study"
            raise ResultError(
                f"the dataset's attribute study is {kind!r}; {type(self).__name__} takes {wanted}"
            )
        self.dataset = canonical(dataset)

    @property
    def kind(self) -> str:
        """Which study this is: "sequential", "warmup"."""
        return str(self.dataset.attrs["study"])

    @property
    def sentence(self) -> str:
        """The answer in one plain sentence."""
        return str(self.dataset.attrs.get("sentence", ""))

    @property
    def provenance(self) -> dict[str, Any]:
        """Model, versions, texts' hash, backend, seed, date; see `make_provenance`."""
        return dict(_from_json("provenance", self.dataset.attrs, {}))

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of the study, as they were used."""
        return dict(_from_json("settings", self.dataset.attrs, {}))

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before trusting a number."""
        return [str(warning) for warning in _from_json("warnings", self.dataset.attrs, [])]

    @property
    def numbers_sha256(self) -> str:
        """SHA-256 of the numbers alone: equal for two runs that gave the same bytes, whatever their date."""
        return numbers_sha256(self.dataset)

    @property
    def conditions(self) -> tuple[str, ...]:
        """What was measured: "plain", then each condition with interventions."""
        return condition_names(self.dataset)

    @checked()
    @complete
    def condition(self, name: str) -> "StudyResult":
        """The result of one condition, as its study alone would have given it.

        Raises:
            InputError: no such condition; the message names those there are.
        """
        return type(self)(condition_dataset(self.dataset, name))

    @checked()
    @complete
    def contrast(self, a: str, b: str = PLAIN, what: str | None = None) -> xr.Dataset:
        """Condition `a` minus condition `b`, paired within each text.

        Args:
            a, b: names of `conditions`.
            what: a variable with one value for each text; by default the angle of each adjacent pair, or what
                the study is about.

        Returns:
            `difference` with the 95% interval `low` … `high` over texts (bootstrap-t, each entry by itself),
            the means `a` and `b`, and the number of texts `n`; dims those of `what` without texts, in its
            unit. NaN where nothing is defined; below 20 texts the ends are NaN and the attribute `withheld`
            says why.

        Raises:
            InputError: a name or variable that is not there, or twice the same condition.

        Source: Efron & Tibshirani (1993), 12.5.
        """
        return contrast(self.dataset, a, b, what, self._seed())

    def _seed(self) -> int:
        return int(self.provenance.get("seed") or 0)

    @complete
    def summary(self) -> Summary:
        """Sentence, claims, warm-up by layer, settings, provenance, warnings; `str()` is a readable table.

        With several conditions: those of the plain run, and the contrasts of the others with it.
        """
        plain = condition_dataset(self.dataset, PLAIN)
        return Summary(
            {
                "study": self.kind,
                "sentence": self.sentence,
                "claims": claim_rows(plain),
                "by_layer": layer_rows(plain),
                "contrasts": contrast_rows(self.dataset, self._seed()),
                "geometries": geometry_rows(plain),
                "settings": self.settings,
                "provenance": {**self.provenance, "numbers_sha256": self.numbers_sha256},
                "warnings": self.warnings,
            }
        )

    @complete
    def figures(self) -> dict[str, Any]:
        """Every plotly figure of the study by name; angles in radians left, in degrees on the right axis.

        With several conditions: those of the plain run, and one of the contrasts with it.
        """
        from laminar_lens.figures import figures

        return dict(figures(self))

    @checked()
    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a netCDF file, whole or not at all, that `load_result` reads back identically.

        Raises:
            ResultError: it cannot be written; an earlier file at `path` is kept.
        """
        return write_dataset(self.dataset, path)

    @checked()
    @complete
    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write one self-contained HTML page: sentence, claims, figures, provenance; it needs no network.

        Raises:
            ResultError: it cannot be written; an earlier file at `path` is kept.
        """
        from laminar_lens.report import render

        return write_text(path, render(self))

    def __repr__(self) -> str:
        sizes = ", ".join(f"{printable(name)} {size}" for name, size in self.dataset.sizes.items())
        return f"<{type(self).__name__} {printable(self.kind)}: {sizes}>\n{printable(self.sentence)}"

    @complete
    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(printable(cell))}</td>" for cell in cells) + "</tr>"
            for cells in (
                (r["claim"], r["verdict"], r["text"], estimate_text(r))
                for r in claim_rows(condition_dataset(self.dataset, PLAIN))
            )
        )
        return f"<p><strong>{html.escape(printable(self.sentence))}</strong></p>" + (
            f"<table>{rows}</table>" if rows else ""
        )


@checked()
def load_result(path: str | os.PathLike[str]) -> StudyResult:
    """Read a file that `save` wrote, as the class of its study.

    Raises:
        ResultError: missing, truncated, foreign, altered, with a part of another kind, or written by a newer
            version. A file that lacks a variable loads, and says so where it is shown.
    """
    dataset = read_dataset(path)
    kind = str(dataset.attrs.get("study"))
    if kind not in _CLASSES:
        raise ResultError(
            f"{path} holds a study {kind!r} that this version does not know; upgrade Laminar Lens"
        )
    check_labels(path, dataset)
    check_kinds(path, dataset)
    module, name = _CLASSES[kind]
    result: StudyResult = getattr(importlib.import_module(module), name)(dataset)
    return result


def label_dataset(
    dataset: xr.Dataset,
    *,
    study: str,
    sentence: str,
    provenance: Mapping[str, Any],
    settings: Mapping[str, Any],
    warnings: Sequence[str] = (),
) -> xr.Dataset:
    """The dataset with the attributes that every result carries (a shallow copy; other attributes stay)."""
    return dataset.assign_attrs(
        study=study,
        format=FORMAT,
        sentence=sentence,
        provenance=json.dumps(json_safe(provenance), ensure_ascii=False),
        settings=json.dumps(json_safe(settings), ensure_ascii=False),
        warnings=json.dumps([str(warning) for warning in warnings], ensure_ascii=False),
    )


def make_provenance(
    info: Mapping[str, Any], settings: Mapping[str, Any], *, backend: str, seed: int, texts: Any
) -> dict[str, Any]:
    """Everything needed to repeat a run, JSON-safe.

    Args:
        info: the model's description and how it was captured.
        settings: the study's arguments.
        backend: the kernel that computed the angles.
        seed: seed of every random draw.
        texts: the prompts (text, or an integer array of tokens); only their number and SHA-256 are kept.

    Returns:
        Keys `model`, `settings`, `backend`, `seed`, `n_texts`, `texts_sha256`, `versions`, `platform`, `date`
        (in UTC).
    """
    n_texts, digest = texts_fingerprint(texts)
    packages = ("laminar-lens", "transformer-lens", "torch", "transformers", "numpy", "scipy", "scikit-learn")
    return {
        "model": json_safe(info),
        "settings": json_safe(settings),
        "backend": backend,
        "seed": int(seed),
        "n_texts": n_texts,
        "texts_sha256": digest,
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "platform": f"{platform.system()} {platform.machine()}",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def texts_fingerprint(texts: Any) -> tuple[int, str]:
    """Number and SHA-256 of texts, or of token ids."""
    if isinstance(texts, str):
        texts = [texts]
    if isinstance(texts, Sequence) and all(isinstance(text, str) for text in texts):
        raw = json.dumps(list(texts)).encode()
    else:
        tokens = np.asarray(texts, dtype="<i8")
        raw = json.dumps(tokens.shape).encode() + tokens.tobytes()
    return len(texts), hashlib.sha256(raw).hexdigest()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _from_json(name: str, attrs: Mapping[Any, Any], default: Any) -> Any:
    text = attrs.get(name)
    if not text:
        return default
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ResultError(f"the result's attribute {name!r} is not JSON: {str(text)[:60]!r}") from error
    return plain_json(type(default), name, value)
