# SPDX-License-Identifier: Apache-2.0
"""The package as it is installed."""

import importlib.metadata
import importlib.util
import pathlib
import re
import subprocess

import attention_client
from attention_client import _generated


def version(text):
    return tuple(int(part) for part in re.findall(r"\d+", text))


def test_is_the_wheel_and_not_the_source():
    assert "site-packages" in attention_client.__file__


def test_stubs_live_in_the_package_alone():
    assert importlib.util.find_spec("attention") is None
    files = {path.name for path in pathlib.Path(_generated.__path__[0]).glob("*.py")}
    assert "attention_service_pb2_grpc.py" in files


def test_bounds_are_those_of_the_generator():
    requirements = {
        re.match(r"[\w-]+", line)[0]: line
        for line in importlib.metadata.requires("attention-client")
        if "extra ==" not in line
    }

    assert set(requirements) == {"grpcio", "numpy", "protobuf"}
    for package in ("grpcio", "protobuf"):
        bound = re.fullmatch(rf"{package}>=([\d.]+)", requirements[package])[1]
        installed = version(importlib.metadata.version(package))
        assert version(bound) <= installed
    assert version(requirements["protobuf"]) >= (4, 21)


def test_tells_type_checkers_that_it_has_types():
    assert (pathlib.Path(attention_client.__file__).parent / "py.typed").exists()


def test_version_is_the_servers(server_binary):
    printed = subprocess.check_output([server_binary, "--version"], text=True)

    assert printed.splitlines()[0] == f"attention-server {attention_client.__version__}"
    assert attention_client.__version__ == importlib.metadata.version(
        "attention-client"
    )
