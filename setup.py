"""Builds the extension, and nothing else; metadata is in pyproject.toml. Without csrc sources there is nothing to build."""

from setuptools import setup

setup()
