"""The lm-eval task files of held-out losses, in any data folder that has held-out texts."""

from __future__ import annotations

import json
from glob import escape
from pathlib import Path

from joyctl.errors import Missing
from joyctl.store.files import DENIED, write_text

_HELDOUT = """\
# Held-out loss of one source, the shape of wikitext: bits per byte of whole documents.
task: heldout_{source}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {path}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
num_fewshot: 0
metric_list:
  - metric: bits_per_byte
metadata:
  version: 1.0
"""


def quoted(path: Path) -> str:
    """A path as a string of YAML: one of JSON is, where it escapes no letters; those beyond 16 bits would be two.

    `datasets` takes it for a glob.
    """
    return json.dumps(escape(str(path)), ensure_ascii=False)


def heldout_task(source: str, folder: Path) -> dict[str, str]:
    """Content by file name of the task of a source whose held-out texts lie in data folder `folder`."""
    path = quoted(folder.absolute() / "sources" / source / "heldout.jsonl")
    return {f"heldout_{source}.yaml": _HELDOUT.format(source=source, path=path)}


def refresh_heldout(folder: Path, at: Path | None = None) -> list[str]:
    """Write those that are missing or name another place; gives their names.

    `at` is where the folder will stand, when it is still being built under another name.
    """
    files: dict[str, str] = {}
    for texts in sorted(folder.glob("sources/*/heldout.jsonl")):
        files |= heldout_task(texts.parent.name, at or folder)
    return write_changed(folder / "tasks", files)


def write_changed(tasks: Path, files: dict[str, str]) -> list[str]:
    """Write the files of `tasks` that are not as they should be; gives their names.

    Raises Missing where that is not allowed.
    """
    written = []
    for name, text in files.items():
        path = tasks / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            try:
                write_text(path, text)
            except OSError as error:
                if error.errno not in DENIED:
                    raise
                raise Missing(
                    f"{path} names another place than where it lies, and cannot be written: {error.strerror}",
                    hint="Use the data folder by the path under which it was built, or let yourself write in tasks/.",
                ) from error
            written.append(name)
    return written
