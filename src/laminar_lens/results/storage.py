"""Datasets to netCDF and back: no pickle, atomic, and nothing that was altered is read as if it were not.

What netCDF refuses or loses is written reversibly: attributes that are not plain numbers or text as JSON,
text that holds a NUL or half a surrogate pair with backslash escapes. Two hashes are stored and checked on
load: `numbers_sha256` over the variables (the same for two runs that gave the same numbers), `attrs_sha256`
over what is written about them. The file is built in memory, so that a full disk meets plain Python and not
the HDF5 library, and sealed as a whole (`results.seal`).
"""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from laminar_lens.errors import ResultError
from laminar_lens.results.seal import check_seal, seal_of
from laminar_lens.results.sizes import check_sizes

FORMAT_NAME = "laminar-lens"
FORMAT_VERSION = 1
FORMAT = f"{FORMAT_NAME}/{FORMAT_VERSION}"

_JSON = "json:"
_MARK = "laminar_lens_strings"
_HASHES = ("numbers_sha256", "attrs_sha256")
_ESCAPES = re.compile(r"\\(\\|u[0-9a-f]{4})")
_UNSAFE = re.compile("[\x00\\\\\ud800-\udfff]")


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well.

    When the block raises, the temporary file is removed and what was at `path` before is still there.

    Raises:
        ResultError: the folder does not exist, `path` is a folder, or it cannot be written.
    """
    target = Path(os.path.realpath(path))
    if os.path.isdir(target):
        raise ResultError(f"cannot write {path}: it is a folder; give a file name inside it")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except OSError as error:
        raise ResultError(
            f"cannot write {path}: {_one_line(error.strerror or error)}; give a path in a folder that exists "
            "and can be written"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write `text` as UTF-8, whole or not at all; returns the path.

    Raises:
        ResultError: it cannot be written; an earlier file at `path` is kept.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(text.encode("utf-8", errors="replace"))
    return Path(path)


def numbers_sha256(dataset: xr.Dataset) -> str:
    """SHA-256 over the variables sorted by name: name, axes, type, shape and bytes; text as UTF-8.

    Attributes (date, provenance, labels) do not enter: runs that gave the same numbers have the same hash.
    """
    digest = hashlib.sha256()
    for name in sorted(str(key) for key in dataset.variables):
        variable = dataset.variables[name]
        values = np.asarray(variable.values)
        text = is_text(values)
        kind = "str" if text else values.dtype.newbyteorder("<").str
        digest.update(json.dumps([name, [str(d) for d in variable.dims], kind, list(values.shape)]).encode())
        if text:
            for string in values.ravel().tolist():
                raw = str(string).encode("utf-8", errors="surrogatepass")
                digest.update(len(raw).to_bytes(8, "little") + raw)
        else:
            digest.update(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def canonical(dataset: xr.Dataset) -> xr.Dataset:
    """A shallow copy whose text variables have one type, whichever way they were made.

    Raises:
        ResultError: a variable holds objects that are neither numbers nor text.
    """
    text = {str(name): v for name, v in dataset.variables.items() if is_text(np.asarray(v.values), str(name))}
    return _with_values(dataset, {name: text_array(v.values) for name, v in text.items()}, {})


def text_array(values: Any) -> NDArray[Any]:
    """Strings as a numpy array: fixed width, or objects where fixed width would cut a NUL off the end."""
    array = np.asarray(values, dtype=object)
    if any(str(s).endswith("\0") for s in array.ravel().tolist()):
        return array
    return array.astype(np.str_)


def is_text(values: NDArray[Any], name: str = "") -> bool:
    """Whether an array holds strings; ResultError when it holds objects of another kind."""
    if values.dtype.kind in "UT":
        return True
    if values.dtype.kind in "biuf":
        return False
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values.ravel().tolist()):
        return True
    raise ResultError(f"variable {name!r} has type {values.dtype}; a result holds numbers, booleans and text")


def write_dataset(dataset: xr.Dataset, path: str | os.PathLike[str]) -> Path:
    """Write to netCDF (h5netcdf), whole or not at all; returns the path. Equal results give equal bytes.

    It takes as much memory again as the file is long.

    Raises:
        ResultError: it cannot be written; an earlier file at `path` is kept.
    """
    dataset = canonical(dataset).drop_encoding()
    attrs = {str(k): v for k, v in dataset.attrs.items() if k not in _HASHES}
    dataset.attrs = {**attrs, "format": FORMAT}
    dataset.attrs |= {"numbers_sha256": numbers_sha256(dataset), "attrs_sha256": _attrs_sha256(dataset)}
    try:
        encoded = _encode(dataset)
        body = encoded.to_netcdf(engine="h5netcdf", encoding=_storage(encoded))
    except (Exception, MemoryError) as error:
        raise ResultError(f"cannot write {path}: {_one_line(error)}") from error
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(body)
        file.write(seal_of(body))
        file.flush()
        os.fsync(file.fileno())
    return Path(path)


def read_dataset(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read what `write_dataset` wrote, and check that it is still that.

    Raises:
        ResultError: missing, truncated, foreign, newer than this version, altered, or larger than its length
            allows.
    """
    if not os.path.isfile(path):
        raise ResultError(f"{path}: no such file; give a result that save() wrote")
    check_seal(path)
    try:
        check_sizes(path)
        dataset = xr.load_dataset(
            path, engine="h5netcdf", mask_and_scale=False, decode_times=False, decode_timedelta=False
        )
    except ResultError:
        raise
    except Exception as error:
        raise ResultError(
            f"{path} cannot be read as netCDF ({_one_line(error)}): it is truncated, damaged or of another "
            "kind; run the study again"
        ) from error
    _check_format(path, dataset.attrs.get("format"))
    try:
        dataset = _decode(dataset.drop_encoding())
        stored = tuple(str(dataset.attrs[key]) for key in _HASHES)
        found = (numbers_sha256(dataset), _attrs_sha256(dataset))
    except Exception as error:
        raise ResultError(f"{path} is damaged ({_one_line(error)}); run the study again") from error
    if stored != found:
        raise ResultError(
            f"{path} was altered after it was saved (its hash does not match); run the study again"
        )
    return dataset


def _check_format(path: str | os.PathLike[str], found: object) -> None:
    match = re.fullmatch(rf"{FORMAT_NAME}/(\d+)", str(found))
    if match is None:
        raise ResultError(f"{path} is not a Laminar Lens result (it has no format attribute {FORMAT!r})")
    if int(match[1]) > FORMAT_VERSION:
        raise ResultError(
            f"{path} has format {found!r}, written by a newer Laminar Lens; upgrade (this reads {FORMAT!r})"
        )
    if int(match[1]) != FORMAT_VERSION:
        raise ResultError(f"{path} has the unknown format {found!r}; this version reads {FORMAT!r}")


def _attrs_sha256(dataset: xr.Dataset) -> str:
    everything = {"": dataset.attrs, **{str(k): v.attrs for k, v in dataset.variables.items()}}
    plain = {
        name: {str(k): _encode_attr(v) for k, v in attrs.items() if k not in _HASHES}
        for name, attrs in everything.items()
    }
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=_plain).encode()).hexdigest()


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _encode_attr(value: Any) -> Any:
    """Numbers and plain text as they are; anything else, and text that could be taken for it, as JSON."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str) and value and not value.startswith(_JSON) and not _UNSAFE.search(value):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    return _JSON + json.dumps(value, default=_plain)


def _decode_attr(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return json.loads(value[len(_JSON) :]) if isinstance(value, str) and value.startswith(_JSON) else value


def _encode(dataset: xr.Dataset) -> xr.Dataset:
    values: dict[str, NDArray[Any]] = {}
    marks: dict[str, str] = {}
    for key, variable in dataset.variables.items():
        if is_text(np.asarray(variable.values)):
            strings = variable.values.ravel().tolist()
            unsafe = any(_UNSAFE.search(s) for s in strings)
            marks[str(key)] = "escaped" if unsafe else "plain"
            if unsafe:
                flat = np.array([_UNSAFE.sub(_escape, s) for s in strings], dtype=np.str_)
                values[str(key)] = flat.reshape(variable.shape)
    encoded = _with_values(dataset, values, marks)
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
    return _with_values(dataset, values, {})


def _with_values(dataset: xr.Dataset, values: dict[str, NDArray[Any]], marks: dict[str, str]) -> xr.Dataset:
    """The dataset with some values replaced and text variables marked; the input is not touched."""
    parts: dict[str, xr.Variable] = {}
    for key, variable in dataset.variables.items():
        name = str(key)
        attrs = dict(variable.attrs) | ({_MARK: marks[name]} if name in marks else {})
        parts[name] = xr.Variable(variable.dims, values.get(name, variable.values), attrs)
    coords = {name: parts.pop(name) for name in map(str, dataset.coords)}
    return xr.Dataset(parts, coords, dict(dataset.attrs))


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
