"""Trees of datasets to netCDF and back: no pickle, atomic, and nothing altered is read as if it were not.

What netCDF refuses or loses is written reversibly: attributes that are not plain numbers or text as JSON,
text that holds a NUL or half a surrogate pair with backslash escapes; what several datasets hold alike is
stored once (`results.sharing`). Three hashes are stored and checked on load: `numbers_sha256` over the
answers' variables (the same for two runs that gave the same numbers), `measured_sha256` over what was
measured, `attrs_sha256` over what is written about both. The file is built in memory, so that a full disk
meets plain Python and not the HDF5 library, and sealed as a whole (`results.seal`).
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from laminar_lens.errors import ResultError
from laminar_lens.files import write_bytes
from laminar_lens.results.hashes import answers_sha256, measured_sha256
from laminar_lens.results.seal import check_seal, seal_of
from laminar_lens.results.sharing import shared, unshared
from laminar_lens.results.sizes import check_sizes
from laminar_lens.results.values import canonical, is_text, text_array, with_values

FORMAT_NAME = "laminar-lens"
FORMAT_VERSION = 1
FORMAT = f"{FORMAT_NAME}/{FORMAT_VERSION}"

_JSON = "json:"
_MARK = "laminar_lens_strings"
_HASHES = ("numbers_sha256", "measured_sha256", "attrs_sha256")
_ESCAPES = re.compile(r"\\(\\|u[0-9a-f]{4})")
_UNSAFE = re.compile("[\x00\\\\\ud800-\udfff]")


def write_tree(tree: xr.DataTree, path: str | os.PathLike[str]) -> Path:
    """Write to netCDF (h5netcdf), whole or not at all; returns the path. Equal results give equal bytes.

    It takes as much memory again as the file is long.

    Raises:
        ResultError: it cannot be written; an earlier file at `path` is kept.
    """
    nodes = {node.path: canonical(node.to_dataset(inherit=False)).drop_encoding() for node in tree.subtree}
    root = nodes["/"]
    root.attrs = {**{str(k): v for k, v in root.attrs.items() if k not in _HASHES}, "format": FORMAT}
    root.attrs |= {name: value for name, value in _hashes(tree, nodes).items() if value is not None}
    try:
        encoded = shared({name: _encode(node) for name, node in nodes.items()})
        storage = {name: _storage(node) for name, node in encoded.items()}
        body = xr.DataTree.from_dict(encoded).to_netcdf(engine="h5netcdf", encoding=storage)
    except (Exception, MemoryError) as error:
        raise ResultError(f"cannot write {path}: {_one_line(error)}") from error
    assert isinstance(body, memoryview)
    return write_bytes(path, body, seal_of(body))


def read_tree(path: str | os.PathLike[str]) -> xr.DataTree:
    """Read what `write_tree` wrote, and check that it is still that.

    Raises:
        ResultError: missing, truncated, foreign, newer than this version, altered, or larger than its length
            allows.
    """
    if not os.path.isfile(path):
        raise ResultError(f"{path}: no such file; give a result that save() wrote")
    check_seal(path)
    try:
        check_sizes(path)
        tree = xr.load_datatree(
            path, engine="h5netcdf", mask_and_scale=False, decode_times=False, decode_timedelta=False
        )
    except ResultError:
        raise
    except Exception as error:
        raise ResultError(
            f"{path} cannot be read as netCDF ({_one_line(error)}): it is truncated, damaged or of another "
            "kind; run the study again"
        ) from error
    _check_format(path, tree.attrs.get("format"))
    try:
        stored = {node.path: node.to_dataset(inherit=False).drop_encoding() for node in tree.subtree}
        nodes = {name: _decode(node) for name, node in unshared(stored).items()}
        tree = xr.DataTree.from_dict(nodes)
        said, found = {name: tree.attrs.get(name) for name in _HASHES}, _hashes(tree, nodes)
    except Exception as error:
        raise ResultError(f"{path} is damaged ({_one_line(error)}); run the study again") from error
    if said != found:
        raise ResultError(
            f"{path} was altered after it was saved (its hash does not match); run the study again"
        )
    return tree


def _check_format(path: str | os.PathLike[str], found: object) -> None:
    match = re.fullmatch(rf"{FORMAT_NAME}/(\d+)", str(found))
    if match is None:
        raise ResultError(
            f"{path} is not a Laminar Lens result (it has no format attribute {FORMAT!r}): give the .nc file "
            "that a study wrote"
        )
    if int(match[1]) > FORMAT_VERSION:
        raise ResultError(
            f"{path} has format {found!r}, written by a newer Laminar Lens; upgrade (this reads {FORMAT!r})"
        )
    if int(match[1]) != FORMAT_VERSION:
        raise ResultError(f"{path} has the unknown format {found!r}; this version reads {FORMAT!r}")


def _hashes(tree: xr.DataTree, nodes: Mapping[str, xr.Dataset]) -> dict[str, str | None]:
    """What is stored in a file's root beside the numbers."""
    return dict(
        zip(
            _HASHES,
            (answers_sha256(tree), measured_sha256(tree), _attrs_sha256(nodes)),
            strict=True,
        )
    )


def _attrs_sha256(nodes: Mapping[str, xr.Dataset]) -> str:
    plain = {}
    for path, dataset in nodes.items():
        everything = {"": dataset.attrs, **{str(k): v.attrs for k, v in dataset.variables.items()}}
        for name, attrs in everything.items():
            known = {str(k): _encode_attr(v) for k, v in attrs.items() if k not in _HASHES}
            plain[f"{path}:{name}"] = known
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: object) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _encode_attr(value: object) -> Any:
    """Numbers and plain text as they are; anything else, and text that could be taken for it, as JSON."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str) and value and not value.startswith(_JSON) and not _UNSAFE.search(value):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    return _JSON + json.dumps(value, default=_plain)


def _decode_attr(value: object) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return json.loads(value[len(_JSON) :]) if isinstance(value, str) and value.startswith(_JSON) else value


def _encode(dataset: xr.Dataset) -> xr.Dataset:
    values: dict[str, NDArray[Any]] = {}
    marks: dict[str, dict[str, str]] = {}
    for key, variable in dataset.variables.items():
        if is_text(np.asarray(variable.values)):
            strings = variable.values.ravel().tolist()
            unsafe = any(_UNSAFE.search(s) for s in strings)
            marks[str(key)] = {_MARK: "escaped" if unsafe else "plain"}
            if unsafe:
                flat = np.array([_UNSAFE.sub(_escape, s) for s in strings], dtype=np.str_)
                values[str(key)] = flat.reshape(variable.shape)
    encoded = with_values(dataset, values, marks)
    for variable in encoded.variables.values():
        variable.attrs = {str(k): _encode_attr(v) for k, v in variable.attrs.items()}
    encoded.attrs = {str(k): _encode_attr(v) for k, v in encoded.attrs.items()}
    return encoded


def _decode(dataset: xr.Dataset) -> xr.Dataset:
    dataset.attrs = {k: _decode_attr(v) for k, v in dataset.attrs.items()}
    values: dict[str, NDArray[Any]] = {}
    for key, variable in dataset.variables.items():
        mark = variable.attrs.pop(_MARK, None)
        variable.attrs = {k: _decode_attr(v) for k, v in variable.attrs.items()}
        if mark is None:
            continue
        strings = [str(s) for s in variable.values.ravel().tolist()]
        if mark == "escaped":
            strings = [_ESCAPES.sub(_unescape, s) for s in strings]
        flat = np.empty(len(strings), dtype=object)
        flat[:] = strings
        values[str(key)] = text_array(flat.reshape(variable.shape))
    return with_values(dataset, values)


def _storage(dataset: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Without fill values; large numeric arrays are compressed."""
    storage: dict[str, dict[str, Any]] = {}
    for key, variable in dataset.variables.items():
        packed = variable.dtype.kind in "iuf" and variable.size > 4096 and variable.ndim > 1
        storage[str(key)] = {"_FillValue": None} | (
            {"zlib": True, "complevel": 4, "shuffle": True} if packed else {}
        )
    return storage


def _escape(match: re.Match[str]) -> str:
    return "\\\\" if match[0] == "\\" else f"\\u{ord(match[0]):04x}"


def _unescape(match: re.Match[str]) -> str:
    return "\\" if match[1] == "\\" else chr(int(match[1][1:], 16))


def _one_line(error: object) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
