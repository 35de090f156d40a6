"""Datasets that Hugging Face's `datasets` reads: of the hub, or a local folder; streamed, cut by their own shards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import RLock
from typing import Any

from joyctl.data.remote import failures
from joyctl.errors import Missing
from joyctl.recipe.types import Text

_HINT = "Check name, config, split and revision under sources, and that the hub can be reached."


def version(key: str, text: Text) -> str:
    """The commit that the hub has under the recipe's revision, or the digest of a folder's files."""
    from joyctl.data.tokenise.inputs import folder_version

    assert text.dataset is not None
    if Path(text.dataset).is_absolute():
        if not Path(text.dataset).is_dir():
            raise Missing(f"{key}: {text.dataset} is no folder", hint=_HINT)
        return folder_version(Path(text.dataset))
    from huggingface_hub import dataset_info

    try:
        commit = dataset_info(text.dataset, revision=text.revision).sha
    except failures() as error:
        raise _missing(text.dataset, error) from error
    if commit is None:
        raise Missing(f"{key}: the hub names no commit of {text.dataset}", hint=_HINT)
    return commit


def shards(text: Text, commit: str) -> int:
    """Of how many files the dataset is made. Raises Missing where it does not load."""
    return max(1, int(_stream(text, commit).num_shards))


def documents(text: Text, commit: str, number: int, of: int) -> Iterator[str]:
    """The texts of one of `of` stretches of the dataset, in order."""
    stream = _stream(text, commit).shard(num_shards=of, index=number, contiguous=True)
    rows = iter(stream)
    count = 0
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except Exception as error:  # of datasets, and of each library that unpacks and parses for it
            raise _missing(str(text.dataset), error) from error
        count += 1
        where = f"dataset {text.dataset}, stretch {number + 1} of {of}, row {count:,}"
        if text.column not in row:
            have = ", ".join(map(str, row))
            raise Missing(f"{where} has no column '{text.column}', only {have}", hint="Set text.column.")
        if not isinstance(row[text.column], str):
            kind = type(row[text.column]).__name__
            raise Missing(f"{where}: '{text.column}' is no text but {kind}", hint="Set text.column.")
        yield row[text.column]


def _stream(text: Text, commit: str) -> Any:
    import datasets
    from tqdm import tqdm

    tqdm.set_lock(RLock())  # its own is one between processes, of which Python complains when this one is stopped
    assert text.dataset is not None
    revision = None if Path(text.dataset).is_absolute() else commit
    try:
        return datasets.load_dataset(text.dataset, text.config, split=text.split, revision=revision, streaming=True)
    except Exception as error:  # as above: only that library runs here
        raise _missing(text.dataset, error) from error


def _missing(name: str, error: Exception) -> Missing:
    why = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if not why or not isinstance(error, failures()):  # which say what is wrong in words
        why = ": ".join(filter(None, (type(error).__name__, why)))
    return Missing(f"dataset {name} does not load: {why}", hint=_HINT)
