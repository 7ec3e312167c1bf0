# SPDX-License-Identifier: Apache-2.0
"""setuptools as build backend, with grpcio-tools required only where needed."""

import stubs
from setuptools.build_meta import (
    build_editable,
    build_sdist,
    build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]


# The hooks of setuptools are not asked for more: they would run setup.py, which
# needs the generator.
def get_requires_for_build_wheel(config_settings=None):
    return stubs.build_requirements()


def get_requires_for_build_editable(config_settings=None):
    return stubs.build_requirements()


def get_requires_for_build_sdist(config_settings=None):
    return stubs.build_requirements()
