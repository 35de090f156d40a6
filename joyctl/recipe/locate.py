"""Find the file that a recipe's, cluster's or suite's name or path means; built-in ones travel with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from joyctl.errors import Problem, RecipeError
from joyctl.recipe.rules import did_you_mean

Kind = Literal["recipe", "cluster", "suite"]
PLACES: dict[Kind, str] = {"recipe": "recipes", "cluster": "clusters", "suite": "recipes/suites"}
"""Where a checkout keeps the built-in files of each kind."""


def builtin_folder(kind: Kind) -> Path:
    """The folder of built-in recipes, clusters or suites.

    An installed wheel has them inside the package (setup.py puts them there), a source checkout at its top.
    """
    package = Path(__file__).parent.parent
    installed = package / "builtin" / PLACES[kind]
    return installed if installed.is_dir() else package.parent / PLACES[kind]


def builtin_names(kind: Kind) -> list[str]:
    """Names of the built-in files of a kind, sorted."""
    return sorted(path.stem for path in builtin_folder(kind).glob("*.yaml"))


def locate(name_or_path: str, kind: Kind) -> Path:
    """The absolute path of a built-in name or of a YAML file; raises RecipeError when there is none."""
    if "/" not in name_or_path and not name_or_path.endswith((".yaml", ".yml")):
        if name_or_path in builtin_names(kind):
            return builtin_folder(kind) / f"{name_or_path}.yaml"
        raise _missing(name_or_path, kind, f"no built-in {kind} has this name")
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        raise _missing(name_or_path, kind, "this is a folder; give a YAML file in it")
    if not path.is_file():
        raise _missing(name_or_path, kind, "no such file")
    if path.suffix != ".yaml":
        raise _missing(name_or_path, kind, f"a {kind} file ends in .yaml; rename it to {path.stem}.yaml")
    return path.absolute()


def shown(path: Path, given: str | None = None) -> str:
    """A file as its user knows it: as given, else relative to the current folder when inside it."""
    if given is not None and ("/" in given or given.endswith(".yaml")):
        return given
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _missing(given: str, kind: Kind, why: str) -> RecipeError:
    names = builtin_names(kind)
    files = _files_near(given, kind)
    same = [file for file in files if Path(file).stem == Path(given).stem]
    # A file of that very name is meant, however different its whole path looks.
    hint = f"; did you mean '{same[0]}'?" if same else did_you_mean(given, [*files, *names])
    remedy = f"Built in: {', '.join(names)}. Give any other {kind} by its path, such as ./mine.yaml"
    return RecipeError([Problem(f"{kind} '{given}':", "", why + hint)], hint=remedy)


def _files_near(given: str, kind: Kind) -> list[str]:
    """YAML files where the user may have meant to point, written as the user would write them."""
    folder = Path(given).expanduser().parent
    places = {folder, Path(f"{kind}s")} if folder == Path() else {folder}
    return sorted(str(file) for place in places if place.is_dir() for file in place.glob("*.yaml"))
