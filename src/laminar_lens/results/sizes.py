"""What a netCDF file claims to hold, compared with what it has, before any of it is read.

A file of a few kilobytes can claim arrays of gigabytes: HDF5 allocates what is claimed, and gives fill values
for what was never written. Here every claim has a bound that follows from the file's own length:

- an array has at most `RATIO` times the bytes that are stored for it (deflate cannot do more), exactly those
  bytes when it is not compressed, and no filter but the two that `save` uses;
- all arrays together, and the strings of one array together, are stored in no more bytes than the file has;
- nothing is elsewhere: no links, no external or virtual data, no groups but conditions and their parts.
"""

import os
from typing import Any

import numpy as np

from laminar_lens.errors import ResultError

RATIO = 1032
"""The most bytes that one byte of deflate can become (zlib, "Maximum Compression Factor")."""
DEPTH = 8
"""Groups inside each other, at most: a condition, the studies that each rests on, their `PARTS`."""
PARTS = ("answer", "measured")
"""What a condition has, one of them at least: the answer, what was measured. Beside them stand other studies,
each with the same."""
_BARE_DIMENSION = b"This is a netCDF dimension but not a netCDF variable"
_REFERENCE_BYTES = 16  # of one string of variable length: its length, and where in the file it is


def check_sizes(path: str | os.PathLike[str]) -> None:
    """Opens a sealed file and reads its headers only.

    Raises:
        ResultError: something in it is larger than the file allows, or of a kind that `save` does not write.
        OSError, RuntimeError, ValueError, KeyError: the HDF5 library cannot read the headers.
    """
    import h5py

    length = os.path.getsize(path)
    with h5py.File(path, "r") as file:
        stored = _check_group(path, file, length)
    if stored > length:
        raise ResultError(f"{path} claims {stored:,} bytes of arrays in a file of {length:,}")


def _check_group(path: str | os.PathLike[str], group: Any, length: int, depth: int = 0) -> int:
    """Bytes stored for a group's variables, and for those of the groups in it."""
    import h5py

    _check_attributes(path, group, length)
    stored = 0
    for name in group:
        link = group.get(name, getlink=True)
        kind = group.get(name, getclass=True) if isinstance(link, h5py.HardLink) else None
        if kind is h5py.Group and depth < DEPTH and _is_expected(group[name], name, depth):
            inside = DEPTH if depth and name in PARTS else depth + 1
            stored += _check_group(path, group[name], length, inside)
            continue
        if kind is not h5py.Dataset:
            raise ResultError(
                f"{path}: {name!r} is neither a variable nor a group that save() writes: the file was "
                "altered or written by another version; run the study again"
            )
        dataset = group[name]
        _check_attributes(path, dataset, length)
        if not _is_bare_dimension(dataset):  # a size without values, which is not read
            stored += _check_array(path, name, dataset, length)
        if stored > length:
            break  # hard links may name one array, or one group, again and again
    return stored


def _is_expected(group: Any, name: str, depth: int) -> bool:
    """Whether `save` writes such a group: a condition, one of `PARTS` in it, or what is named as a study may
    be, with those in it; each once."""
    from h5py import h5o

    if h5o.get_info(group.id).rc > 1:  # linked from elsewhere too, perhaps from inside itself
        return False
    if depth and name in PARTS:
        return True
    return any(part in group for part in PARTS) and (depth == 0 or name.isidentifier())


def _check_array(path: str | os.PathLike[str], name: str, dataset: Any, length: int) -> int:
    """Bytes stored for a variable; ResultError when it claims more than they can be."""
    from h5py import h5d, h5t, h5z

    plan, kind = dataset.id.get_create_plist(), dataset.id.get_type()
    claimed = int(dataset.id.get_space().get_simple_extent_npoints()) * int(kind.get_size())
    stored = int(dataset.id.get_storage_size())
    text = kind.get_class() == h5t.STRING and kind.is_variable_str()
    known = kind.get_class() in (h5t.INTEGER, h5t.FLOAT, h5t.ENUM, h5t.STRING)
    filters = {plan.get_filter(i)[0] for i in range(plan.get_nfilters())}
    layouts = {h5d.CONTIGUOUS} if text and claimed else {h5d.CONTIGUOUS, h5d.CHUNKED, h5d.COMPACT}
    usual = filters <= {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE} and not plan.get_external_count()
    if not (known and usual and plan.get_layout() in layouts):
        raise ResultError(f"{path}: variable {name!r} is stored in a way that save() does not use")
    most = stored * (RATIO if h5z.FILTER_DEFLATE in filters else 1)
    if claimed > most or stored > length:
        raise ResultError(
            f"{path}: variable {name!r} claims {claimed:,} bytes where {stored:,} are stored in a file of "
            f"{length:,}: it is damaged or not written by save()"
        )
    if text and claimed:
        _check_strings(path, name, dataset, length)
    return stored


def _check_strings(path: str | os.PathLike[str], name: str, dataset: Any, length: int) -> None:
    """Strings of variable length may share their bytes in a hostile file; `save` writes each by itself."""
    references = np.fromfile(
        path, dtype=np.uint8, count=dataset.size * _REFERENCE_BYTES, offset=dataset.id.get_offset()
    )
    lengths = references.reshape(-1, _REFERENCE_BYTES)[:, :4].copy().view("<u4")
    if (claimed := int(lengths.sum(dtype=np.int64))) > length:
        raise ResultError(
            f"{path}: variable {name!r} claims {claimed:,} bytes of text in a file of {length:,}"
        )


def _check_attributes(path: str | os.PathLike[str], owner: Any, length: int) -> None:
    from h5py import h5a, h5t

    for index in range(h5a.get_num_attrs(owner.id)):
        attribute = h5a.open(owner.id, index=index)
        count = int(attribute.get_space().get_simple_extent_npoints())
        text = attribute.get_type().get_class() == h5t.STRING
        if attribute.get_storage_size() > length or (text and count > 1):
            name = attribute.get_name().decode(errors="replace")
            raise ResultError(f"{path}: attribute {name!r} is larger than save() writes one")


def _is_bare_dimension(dataset: Any) -> bool:
    name = dataset.attrs.get("NAME", b"")
    return isinstance(name, bytes | np.bytes_) and bytes(name).startswith(_BARE_DIMENSION)
