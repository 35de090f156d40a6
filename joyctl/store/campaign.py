"""A campaign's folder: what was asked for (campaign.json), specs in their folders, the lock."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from joyctl.errors import Missing, Refused
from joyctl.store import layout
from joyctl.store.files import write_text


def read_campaign_json(folder: Path) -> dict[str, Any] | None:
    """The contents of campaign.json; None when there is none. A torn file is refused."""
    path = folder / layout.CAMPAIGN
    if not path.exists():
        return None
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Refused(f"{path} is not JSON: {error}", hint="Restore it, or remove the campaign.") from error
    return value


@contextmanager
def campaign_lock(folder: Path) -> Iterator[None]:
    """Hold the campaign for this process.

    Raises Refused when another one holds it, Missing where there can be no such folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        message = f"{folder} cannot be made: {error.strerror}"
        raise Missing(message, hint="Mend that, or name another folder of campaigns: --results DIR.") from error
    path, holder = folder / ".lock", folder / ".lock-holder"
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        who = holder.read_text(encoding="utf-8").strip() if holder.exists() else "another process"
        raise Refused(f"{folder} is being worked on by {who}", hint="joyctl status shows how far it is.") from error
    try:
        write_text(holder, f"process {os.getpid()} on {socket.gethostname()}\n")
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()
