# SPDX-License-Identifier: Apache-2.0
"""The part of the build that pyproject.toml cannot say: version and generated stubs.

Run by the build backend, build_backend/attention_build.py, not by hand.
"""

import pathlib

import stubs
import version
from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

VERSION = version.read()
GENERATED = stubs.generate()
GENERATED.files["version.py"] = f'__version__ = "{VERSION}"\n'


class BuildWithStubs(build_py):
    """Adds attention_client._generated and the .proto files to the package."""

    def run(self):
        super().run()
        root = "src" if self.editable_mode else self.build_lib
        package = pathlib.Path(root, "attention_client")
        stubs.write(GENERATED, package / "_generated")
        stubs.copy_protos(package / "proto")


class SourceWithProtos(sdist):
    """Adds the .proto files, which lie outside this folder in the repository."""

    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        stubs.copy_protos(pathlib.Path(base_dir, "proto"))


setup(
    version=VERSION,
    cmdclass={"build_py": BuildWithStubs, "sdist": SourceWithProtos},
    install_requires=[
        f"grpcio>={GENERATED.grpcio_version}",
        f"protobuf>={GENERATED.protobuf_version}",
        "numpy>=1.20",
    ],
)
