"""Puts the built-in recipes and clusters, which stand at the top of a checkout, inside the package."""

from setuptools import find_packages, setup

BUILT_IN = {"joyctl.builtin.recipes": "recipes", "joyctl.builtin.clusters": "clusters"}

setup(packages=[*find_packages(include=["joyctl", "joyctl.*"]), *BUILT_IN], package_dir=BUILT_IN)
