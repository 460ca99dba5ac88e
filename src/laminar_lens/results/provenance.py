"""What every result says of itself: the labels, and everything needed to repeat the run."""

import datetime
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from laminar_lens.results.storage import FORMAT
from laminar_lens.results.summary import json_safe


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
    info: Mapping[str, Any], settings: Mapping[str, Any], *, backend: str, seed: int, texts: object
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
    packages = ("laminar-lens", "transformer-lens", "torch", "transformers", "numpy", "scipy")
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
