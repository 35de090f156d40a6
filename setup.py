"""Puts the built-in recipes, suites and clusters, which stand at the top of a checkout, inside the package."""

from setuptools import find_packages, setup

BUILT_IN = {
    "joyctl.builtin.recipes": "recipes",
    "joyctl.builtin.recipes.published": "recipes/published",
    "joyctl.builtin.recipes.suites": "recipes/suites",
    "joyctl.builtin.clusters": "clusters",
}

setup(packages=[*find_packages(include=["joyctl", "joyctl.*"]), *BUILT_IN], package_dir=BUILT_IN)
