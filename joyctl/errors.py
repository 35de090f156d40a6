"""Every error a user can cause or meet, with its exit code.

JoyctlError                 shown as text, never as a traceback
├── RecipeError        3    a recipe, cluster or override is invalid; carries every problem found
├── Refused            4    doing it would harm a result: drift, a held lock, a failed audit
├── RunsFailed         5    the campaign ended, some runs did not
├── Diverged           5    training produced a loss that is not finite
└── Missing            6    this machine lacks something: a tool, a file, space, a sandbox

Anything else that escapes is a bug (exit code 1) and shows its traceback. Usage errors (2) are typer's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class JoyctlError(Exception):
    """An error to be shown to the user: what was wrong, where, and (``hint``) what to do."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a recipe: ``where`` is ``file:line:column`` or ``override 'a.b=c'``."""

    where: str
    key: str
    message: str

    def __str__(self) -> str:
        key = f" {self.key}:" if self.key else ""
        return f"{self.where}{key} {self.message}"


class RecipeError(JoyctlError):
    """A recipe or cluster file, or an override, is invalid; lists every problem at once."""

    exit_code = 3

    def __init__(self, problems: Sequence[Problem], *, hint: str | None = None) -> None:
        self.problems = tuple(problems)
        count = f"{len(self.problems)} error{'s' if len(self.problems) != 1 else ''}, nothing was changed."
        super().__init__("\n".join([*map(str, self.problems), count]), hint=hint)


class Refused(JoyctlError):
    """Going on would harm a result or another process: drift, lock, failed audit."""

    exit_code = 4


class RunsFailed(JoyctlError):
    """Some runs of a campaign failed; the others are complete."""

    exit_code = 5


class Diverged(JoyctlError):
    """Training produced a loss that is not finite; nothing after the last checkpoint is kept."""

    exit_code = 5


class Missing(JoyctlError):
    """Something this command needs is not on this machine."""

    exit_code = 6


class Interrupted(JoyctlError):
    """A stage was asked to stop (SIGTERM, Ctrl-C), saved its state and can be carried on."""

    exit_code = 130
