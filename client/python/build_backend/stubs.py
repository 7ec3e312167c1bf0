# SPDX-License-Identifier: Apache-2.0
"""Messages and stubs in Python, from proto/attention/v1/*.proto.

By protoc and grpc_python_plugin where both are installed, otherwise by
grpcio-tools. What is generated imports its siblings by relative imports, so that
it lives in any package and no top-level package `attention` appears.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import typing

_HERE = pathlib.Path(__file__).resolve().parent.parent
_PACKAGE = "attention/v1"
_NAMES = ("tensor", "module_config", "module_service", "attention_service")
# The oldest protoc that reads proto3 `optional` and writes .pyi files.
_OLDEST_PROTOC = (3, 20)
# Stubs of plugins before 1.63 do not say what they need; grpc.aio, which the
# client uses, is stable from here.
_OLDEST_GRPCIO = "1.32"

_SIBLING_IMPORT = re.compile(r"^from attention\.v1 import (\w+_pb2) as", re.M)
_PROTOBUF_VERSION = re.compile(r"^# Protobuf Python Version: ([\d.]+)", re.M)
_GRPCIO_VERSION = re.compile(r"^GRPC_GENERATED_VERSION = ['\"]([\d.]+)", re.M)
_PLUGIN_LIBRARY = re.compile(rb"libgrpc_plugin_support\.so\.(\d+\.\d+)")


class Stubs(typing.NamedTuple):
    """Generated files by name, and the oldest packages they run with."""

    files: typing.Dict[str, str]
    protobuf_version: str
    grpcio_version: str


def build_requirements():
    """Packages the generator needs: none where it is installed already."""
    return [] if _installed_protoc() else ["grpcio-tools>=1.51"]


def generate():
    """Generate everything; CalledProcessError where the generator fails."""
    command = _installed_protoc() or [sys.executable, "-m", "grpc_tools.protoc"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                *command,
                f"--proto_path={_proto_folder()}",
                *(
                    f"--{kind}_out={folder}"
                    for kind in ("python", "pyi", "grpc_python")
                ),
                *(f"{_PACKAGE}/{name}.proto" for name in _NAMES),
            ],
            check=True,
        )
        generated = sorted(pathlib.Path(folder, _PACKAGE).iterdir())
        files = {path.name: _relative(path.read_text()) for path in generated}
    files["__init__.py"] = '"""Generated from proto/attention/v1."""\n'
    text = "\n".join(files.values())
    return Stubs(files, _protobuf_version(text), _grpcio_version(text))


def write(stubs, folder):
    """Write the files of a package into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in stubs.files.items():
        (folder / name).write_text(text)


def copy_protos(folder):
    """Copy the .proto files; `generate` works from that folder."""
    (folder / _PACKAGE).mkdir(parents=True, exist_ok=True)
    for path in _proto_folder().glob(f"{_PACKAGE}/*.proto"):
        shutil.copyfile(path, folder / _PACKAGE / path.name)


def _proto_folder():
    """In a source distribution beside setup.py, in the repository at its root."""
    packed = _HERE / "proto"
    return packed if packed.is_dir() else _HERE.parent.parent / "proto"


def _installed_protoc():
    """The command of a usable protoc with grpc_python_plugin, or None."""
    protoc, plugin = shutil.which("protoc"), shutil.which("grpc_python_plugin")
    if not protoc or not plugin or _protoc_version(protoc) < _OLDEST_PROTOC:
        return None
    return [protoc, f"--plugin=protoc-gen-grpc_python={plugin}"]


def _protoc_version(protoc):
    """(3, 21, 12) of "libprotoc 3.21.12", (29, 1) of "libprotoc 29.1"."""
    output = subprocess.run([protoc, "--version"], capture_output=True, text=True)
    return tuple(int(number) for number in re.findall(r"\d+", output.stdout))


def _relative(text):
    text = _SIBLING_IMPORT.sub(r"from . import \1 as", text)
    if re.search(r"^(from|import) attention\b", text, re.M):
        raise RuntimeError("the generator wrote an import that cannot be made relative")
    return text


def _protobuf_version(text):
    """What the generated code says, or protoc's version as Python counts it."""
    if found := _PROTOBUF_VERSION.search(text):
        return found[1]
    version = _protoc_version(_installed_protoc()[0])
    if version[:2] >= (3, 21) and version[0] == 3:
        version = (4, *version[1:])
    elif version[0] > 3:
        version = (4, *version)
    return ".".join(str(number) for number in version)


def _grpcio_version(text):
    """What the stubs say, or the version of the library behind the plugin."""
    if found := _GRPCIO_VERSION.search(text):
        return found[1]
    plugin = pathlib.Path(shutil.which("grpc_python_plugin"))
    found = _PLUGIN_LIBRARY.search(plugin.read_bytes())
    return found[1].decode() if found else _OLDEST_GRPCIO
