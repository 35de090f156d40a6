"""Built-in recipes, suites and clusters travel in the wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from joyctl.recipe.locate import builtin_folder, builtin_names

CHECKOUT = Path(__file__).parents[1]


def test_in_a_checkout_they_stand_at_its_top():
    assert builtin_folder("recipe") == CHECKOUT / "recipes"
    assert builtin_names("recipe") == ["ladder-160m", "ladder-1b", "paper-7b", "tiny"]
    assert "local" in builtin_names("cluster")
    assert builtin_folder("suite") == CHECKOUT / "recipes" / "suites"
    assert {"micro", "core", "core-small", "humaneval_64"} <= {*builtin_names("suite")}


@pytest.mark.slow
def test_an_installed_wheel_finds_its_own(tmp_path: Path):
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.split(".")[0]) < 77:
        pytest.skip("this setuptools is older than pyproject.toml asks for")
    source = tmp_path / "source"  # building leaves folders behind
    names = ["joyctl", "recipes", "clusters", "pyproject.toml", "setup.py", "README.md", "LICENSE"]
    for name in names:
        path = CHECKOUT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--wheel-dir", tmp_path, source], check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:  # what `pip install --target` does with a pure wheel
        archive.extractall(installed)
        assert {f"joyctl/report/page/page.{ending}" for ending in ("html.j2", "css", "js")} <= {*archive.namelist()}
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"joyctl"}
    code = (
        "import joyctl; from joyctl.recipe.load import load_recipe, load_cluster;"
        "from joyctl.recipe.suite import load_suite;"
        "names = [load_recipe(name).name for name in ('tiny', 'paper-7b', 'ladder-160m', 'ladder-1b')];"
        "print(joyctl.__file__, *names, load_cluster('local').kind, load_suite('core').tasks[0].task)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=installed, check=True, capture_output=True, text=True, timeout=120
    )
    names = ["tiny", "paper-7b", "ladder-160m", "ladder-1b"]
    assert done.stdout.split() == [str(installed / "joyctl" / "__init__.py"), *names, "local", "mmlu"]
