"""Where a file's ids lie and of what type they are, as its header and what lies beside it say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np

from joyctl.data.formats import datatrove, megatron
from joyctl.data.formats.mapping import mapped
from joyctl.errors import Problem, RecipeError, Refused
from joyctl.recipe.sources import Tokenised

COPY = "Copy the file anew from where it was made, or make it again."


@dataclass(frozen=True)
class Layout:
    """Where a file's ids lie, of what type they are, and which documents they are."""

    dtype: str
    offset: int = 0
    tokens: int | None = None
    """As said elsewhere than by its size."""
    said_by: str | None = None
    """Which file says so."""
    documents: int | None = None
    index: Path | None = None


def layout_of(path: Path, form: str, spec: Tokenised) -> Layout:
    """The layout of a file of format `form`.

    Raises Refused where it is not of that format or disagrees with what lies beside it, Missing where that is not
    there, RecipeError where `spec` must tell its type.
    """
    if form == "megatron":
        return _megatron(path)
    if form == "datatrove":
        return _datatrove(path, spec)
    return _npy(path) if form == "npy" else _flat(path, spec)


def _megatron(path: Path) -> Layout:
    index = megatron.index_of(path)
    header = megatron.read_header(index)
    megatron.check_size(header, index)
    megatron.check(header, index, path, mapped(index))
    return Layout(header.dtype, documents=header.documents, index=index)


def _datatrove(path: Path, spec: Tokenised) -> Layout:
    index, metadata = datatrove.index_of(path), datatrove.metadata_of(path)
    size = path.stat().st_size
    dtype: str | None = spec.dtype
    tokens: int | None = None
    said_by: str | None = None
    if metadata.is_file():
        known = datatrove.read_metadata(metadata.read_text(encoding="utf-8", errors="replace"), str(metadata))
        dtype, tokens, said_by = datatrove.DTYPES[known.width], known.tokens, str(metadata)
    if index.is_file():
        last = datatrove.last_end(index)
        if tokens is not None and last != tokens:
            raise Refused(f"{index} ends at token {last:,}, {metadata} says {tokens:,}", hint=COPY)
        tokens, said_by = last, str(index)
        if dtype is None:
            dtype = datatrove.DTYPES.get(size // last if last and size % last == 0 else 0)
            if dtype is None:
                raise Refused(f"{path} has {size:,} bytes; {index} says {last:,} ids, of 2 or 4 bytes each", hint=COPY)
        datatrove.check_rising(index, mapped(index))
        return Layout(dtype, 0, tokens, said_by, index.stat().st_size // 8, index)
    if dtype is None:
        raise _untold(path, f"it has neither {index.name} nor {metadata.name} beside it")
    return Layout(dtype, 0, tokens, said_by)


def _npy(path: Path) -> Layout:
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            if version > (2, 0):
                raise ValueError(f"version {version} of the format")
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
        except (ValueError, SyntaxError, TokenError) as error:  # numpy reads the header as Python
            raise Refused(f"{path} is not a .npy file: {error}", hint=COPY) from error
        offset = file.tell()
    if dtype.kind not in "iu" or len(shape) != 1 or dtype.newbyteorder("<") != dtype:
        raise Refused(
            f"{path} holds {dtype} of shape {list(shape)}; token ids are little-endian integers in one dimension",
            hint="Write it anew: numpy.save(path, ids.reshape(-1).astype('<u4')).",
        )
    return Layout(dtype.name, offset, int(shape[0]), "its header")


def _flat(path: Path, spec: Tokenised) -> Layout:
    if spec.dtype is None:
        raise _untold(path, "bare ids do not tell their type")
    return Layout(spec.dtype)


def _untold(path: Path, why: str) -> RecipeError:
    return RecipeError([Problem(str(path), "tokenised.dtype", f"missing; {why}")], hint="Give uint16, int32 or uint32.")
