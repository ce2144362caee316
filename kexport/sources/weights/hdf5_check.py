"""What an HDF5 file of weights may hold, looked at before any value is read.

Refused: links, data in other files, objects twice, other data than numbers, and everything that takes far more memory
than the file has bytes: declared shapes, chunks that are larger than their dataset, and chunks that inflate to more
than they may (every compressed chunk is inflated here once, counting; a filter that cannot be counted is refused).
"""

from __future__ import annotations

import zlib
from math import prod
from typing import Any

from kexport.errors import SourceError

MAX_OBJECTS = 200_000
MAX_BYTES = 16 * 10**9  # ten times the largest application; what a file declares, not what it has
MAX_EXPANSION = 100
SAVE_HINT = 'save with model.save_weights("x.weights.h5")'
_FREE_BYTES = 16 * 2**20  # a dataset below this size may be compressed as well as it can be
_FREE_SUM = 64 * 2**20
_BLOCK = 2**20
_CHECKSUM_BYTES = 4
_GZIP, _SHUFFLE, _FLETCHER32, _LZF = 1, 2, 3, 32000
_KINDS = "fiub"
_LZF_BYTES = 2**20  # stored; LZF makes at most 100 of one


def check(file: Any, file_bytes: int, told: str) -> None:
    """Look at every object of an open file of ``file_bytes``. Raises SourceError, naming the object."""
    import h5py

    seen: set[int] = set()
    declared = 0
    pending = [(file, "")]
    while pending:
        group, place = pending.pop()
        for name in group:
            link = group.get(name, getlink=True)
            where = f"{place}/{name}"
            if not isinstance(link, h5py.HardLink):
                raise _refused(told, where, f"a {type(link).__name__}")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen or len(seen) > MAX_OBJECTS:
                raise _refused(told, where, "a second link to an object" if address in seen else "one object too many")
            seen.add(address)
            if isinstance(item, h5py.Group):
                pending.append((item, _bounded(where, told)))
            else:
                declared += _dataset_bytes(item, told, where)
    if declared > MAX_BYTES:
        raise _refused(told, "/", f"{declared / 1e9:.1f} GB of data declared")
    if declared > max(_FREE_SUM, MAX_EXPANSION * file_bytes):
        raise _refused(told, "/", f"{declared} bytes of data in {file_bytes}")


def _bounded(where: str, told: str) -> str:
    if where.count("/") > 100:
        raise _refused(told, where[:60], "the first of more than 100 groups in each other")
    return where


def _dataset_bytes(item: Any, told: str, where: str) -> int:
    import h5py

    if not isinstance(item, h5py.Dataset):
        raise _refused(told, where, f"a {type(item).__name__}")
    if item.external or item.is_virtual:
        raise _refused(told, where, "data in another file")
    if item.shape is None:
        raise _refused(told, where, "a dataset without values")
    size = prod(int(axis) for axis in item.shape) * int(item.dtype.itemsize)
    stored = int(item.id.get_storage_size())
    if MAX_BYTES >= size > max(_FREE_BYTES, MAX_EXPANSION * stored):  # above MAX_BYTES the whole file is refused
        raise _refused(told, where, f"{size} bytes of data in {stored}")
    if not _is_number(item):
        raise _refused(told, where, f"data of type {item.dtype}")
    if item.chunks is not None and size <= MAX_BYTES:
        _check_chunks(item, size, told, where)
    return size


def _is_number(item: Any) -> bool:
    """A plain number; bfloat16 is two bytes of no type, and says so in an attribute."""
    half = item.dtype.str == "|V2" and item.attrs.get("dtype") == "bfloat16"
    return half or (item.dtype.kind in _KINDS and item.dtype.subdtype is None)


def _check_chunks(item: Any, size: int, told: str, where: str) -> None:
    chunk = prod(int(axis) for axis in item.chunks) * int(item.dtype.itemsize)
    if chunk > max(_FREE_BYTES, size):
        raise _refused(told, where, f"{size} bytes of data in chunks of {chunk}")
    filters = _filters(item)
    known = {_GZIP, _SHUFFLE, _FLETCHER32, _LZF}
    unknown = [code for code in filters if code not in known]
    if unknown or len(set(filters)) < len(filters) or {_GZIP, _LZF} <= set(filters):
        raise _refused(told, where, f"data behind the filters {filters}")
    if {_GZIP, _LZF} & set(filters):

        def look(info: Any) -> None:
            what = _what_is_wrong(item, info, chunk, filters)
            if what:
                raise _refused(told, where, what)

        item.id.chunk_iter(look)


def _filters(item: Any) -> list[int]:
    plist = item.id.get_create_plist()
    return [int(plist.get_filter(number)[0]) for number in range(plist.get_nfilters())]


def _what_is_wrong(item: Any, info: Any, chunk: int, filters: list[int]) -> str | None:
    """Why a compressed chunk that should have ``chunk`` bytes is not read; None if it may be."""
    compressor = _GZIP if _GZIP in filters else _LZF
    if info.filter_mask >> filters.index(compressor) & 1:  # this chunk was stored without it
        return None
    stored = int(info.size)
    if stored > 2 * chunk + _BLOCK or (compressor == _LZF and stored > _LZF_BYTES):
        return f"a chunk of {stored} bytes for {chunk}"
    if compressor == _LZF:
        return None
    limit = chunk + _CHECKSUM_BYTES
    inflated = _inflated(item.id.read_direct_chunk(info.chunk_offset)[1], limit)
    return f"a chunk of more than {chunk} bytes in {stored}" if inflated > limit else None


def _inflated(data: bytes, limit: int) -> int:
    """How many bytes a deflated chunk has; it is not inflated further than just above ``limit``."""
    inflater = zlib.decompressobj()
    total = 0
    try:
        while data and not inflater.eof and total <= limit:
            total += len(inflater.decompress(data, _BLOCK))
            data = inflater.unconsumed_tail
    except zlib.error as error:
        raise OSError(f"a compressed chunk is damaged: {error}") from error
    return total


def _refused(told: str, where: str, what: str) -> SourceError:
    kind = "weights" if told.startswith("weights") else "model"
    return SourceError(f"{told}: {where:.200} is {what}, which a {kind} file does not hold", hint=SAVE_HINT)
