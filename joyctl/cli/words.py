"""What commands share: `[RECIPE] [key=value ...]`, percentages, and the usual options."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from joyctl.errors import Interrupted, Problem, RecipeError

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[RECIPE] [KEY=VALUE ...]", help="A recipe (default: tiny) and changes to it."),
]
Results = Annotated[
    Path, typer.Option("--results", envvar="JOYCTL_RESULTS", help="Folder of campaigns.", metavar="DIR")
]
DataRoot = Annotated[
    Path, typer.Option("--data", envvar="JOYCTL_DATA", help="Folder of tokenised data.", metavar="DIR")
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, all else on stderr.")]
DEFAULT_RESULTS, DEFAULT_DATA = Path("results"), Path("data")


def split_words(words: list[str] | None) -> tuple[str, list[str]]:
    """The recipe (tiny when none is named) and the overrides that follow it."""
    rest = list(words or [])
    if rest and "=" not in rest[0] and not rest[0].startswith(("+", "~")):
        return rest[0], rest[1:]
    return "tiny", rest


def shares(text: str | None, option: str, what: str = "duration") -> tuple[float, ...] | None:
    """'5,10,12.5' -> (0.05, 0.1, 0.125). Raises RecipeError for what is no percentage between 0 and 100."""
    if text is None:
        return None
    found: list[float] = []
    for word in text.split(","):
        try:
            value = round(float(word) / 100, 9)
        except ValueError:
            value = 0.0
        if not 0 < value < 1:
            message = f"'{word.strip()}' is no {what}; give percent between 0 and 100, such as {option} 5,10,20"
            raise RecipeError([Problem(f"{option} {text}", "", message)])
        found.append(value)
    return tuple(dict.fromkeys(found))


def check_policy(text: str | None) -> str | None:
    """The policy as given. Raises RecipeError when it is none."""
    known = ("renormalise", "renormalise-category", "shrink")
    if text and text not in known and not text.startswith("replace:"):
        message = "unknown policy; give renormalise, renormalise-category, shrink or replace:SOURCE"
        raise RecipeError([Problem(f"--policy {text}", "", message)])
    return text


@contextmanager
def interruptible(hint: str) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block as Interrupted, with what that means as `hint`."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("stopped", hint=hint) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def note(text: str) -> None:
    """A line for the person, on stderr."""
    typer.echo(text, err=True)
