# SPDX-License-Identifier: Apache-2.0
"""One server for all tests, and a client of it."""

import itertools
import pathlib
import sys

import pytest

import attention_client

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "pytorch"))
import attention_server  # noqa: E402  (found by the line above)


def pytest_addoption(parser):
    parser.addoption("--server", required=True, help="attention-server")
    parser.addoption(
        "--pypi",
        action="store_true",
        help="run what needs ml_dtypes and matplotlib, and not what needs torch",
    )


def pytest_ignore_collect(collection_path, config):
    unwanted = "test_torch_" if config.getoption("--pypi") else "test_pypi_"
    return True if collection_path.name.startswith(unwanted) else None


@pytest.fixture(scope="session")
def server_binary(request):
    return request.config.getoption("--server")


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    """The server's repository of modules."""
    return tmp_path_factory.mktemp("modules")


@pytest.fixture(scope="session")
def unix_address(tmp_path_factory):
    """The same server as `address`, once that is there."""
    return f"unix:{tmp_path_factory.mktemp('socket')}/s"


@pytest.fixture(scope="session")
def address(server_binary, repository, unix_address):
    options = ("--modules", str(repository), "--listen", unix_address)
    with attention_server.AttentionServer(server_binary, *options) as server:
        yield server.address


@pytest.fixture(scope="session")
def client(address):
    with attention_client.AttentionClient(address) as client:
        yield client


_numbers = itertools.count()


@pytest.fixture
def name():
    """A module name no other test uses."""
    return f"module-{next(_numbers)}"
