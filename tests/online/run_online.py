# SPDX-License-Identifier: Apache-2.0
"""The clients with what PyPI and npm have today: run_online.py SERVER FOLDER.

Makes virtual environments and a Node.js project in FOLDER, which is made anew. Fails
where a registry does not answer, saying so: `./dev test` alone needs none.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PYTHON_TESTS = ROOT / "tests/client/python"
sys.path[:0] = [str(ROOT / "tests/pytorch"), str(PYTHON_TESTS)]
import attention_server  # noqa: E402  (found by the line above)
import make_package  # noqa: E402
import readme  # noqa: E402


class Failure(Exception):
    pass


def run(what, *command, **options):
    """Run a command; its failure is the whole run's, under the name `what`."""
    print(f"online: {what}", flush=True)
    result = subprocess.run([str(part) for part in command], check=False, **options)
    if result.returncode != 0:
        raise Failure(f"{what}: exit code {result.returncode}")


def make_environment(folder):
    """An empty virtual environment with pip; returns its python."""
    run(f"empty environment {folder.name}", sys.executable, "-m", "venv", folder)
    return folder / "bin/python"


def test_package(folder, server, generator, environment):
    """Install the package as a user would, and run its tests without torch."""
    source = folder / "source"
    if not source.exists():
        make_package.copy_sources(source)
    python = make_environment(folder / f"venv-{generator}")
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    run("asking PyPI for pytest", *pip, "install", "--quiet", "pytest", env=environment)
    package = f"{source / 'client/python'}[ml-dtypes,plot]"
    what = f"pip install ./client/python, stubs by {generator}"
    run(what, *pip, "install", "--quiet", package, env=environment)
    run("installed", *pip, "list", env=environment)
    run(
        f"its tests, stubs by {generator}",
        *(python, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *(PYTHON_TESTS, "--pypi", "--server", server),
    )
    return python


def test_reflection(server, python):
    """Learn what is served as a tool without the .proto files does."""
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    run("asking PyPI for grpcio-reflection", *pip, "install", "-q", "grpcio-reflection")
    with attention_server.AttentionServer(server) as running:
        script = ROOT / "tests/online/reflect.py"
        printed = output_of(python, script, running.address)
    print(printed)
    if not printed.endswith("status: SERVING\n"):
        raise Failure(f"reflection: expected the server's health, got {printed!r}")


# What the example's answer is compared with: the same request by another client.
_SAME_REQUEST = """
import sys
import numpy as np
from attention_client import AttentionClient
client = AttentionClient(sys.argv[1])
x = np.sin(np.arange(5 * 64)).astype(np.float32).reshape(1, 5, 64)
print(*client.forward("batch_first", x).output[0, 0, :4])
"""

_UPLOAD = """
import sys
import numpy as np
from attention_client import AttentionClient
config = {"embed_dim": 64, "num_heads": 2, "batch_first": True}
random = np.random.default_rng(1)
shapes = {"in_proj_weight": (192, 64), "in_proj_bias": (192,),
          "out_proj.weight": (64, 64), "out_proj.bias": (64,)}
weights = {n: random.uniform(-1, 1, s).astype(np.float32) for n, s in shapes.items()}
AttentionClient(sys.argv[1]).upload(
    "batch_first", {"multi_head_attention": config}, weights)
"""


def output_of(*command):
    command = [str(part) for part in command]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if result.returncode != 0:
        raise Failure(f"{command[0]}: {result.stdout}{result.stderr}")
    return result.stdout


def test_node(folder, server, python):
    """Run client/README.md's example and compare its answer."""
    folder.mkdir()
    (folder / "package.json").write_text("{}\n")
    packages = ["@grpc/grpc-js", "@grpc/proto-loader"]
    quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
    run("asking npm for gRPC", "npm", "install", *quiet, *packages, cwd=folder)
    with attention_server.AttentionServer(server) as running:
        (example,) = readme.code_blocks("client/README.md", "js", running.address)
        (folder / "example.js").write_text(example)
        output_of(python, "-c", _UPLOAD, running.address)
        printed = output_of("node", folder / "example.js")
        want = output_of(python, "-c", _SAME_REQUEST, running.address)
    print(printed)
    shapes, values = printed.split("Float32Array", 1)
    if re.sub(r"\s", "", shapes) != "[1,5,64][1,5,5]":
        raise Failure(
            f"Node.js example: expected shapes (1, 5, 64), (1, 5, 5), got {shapes}"
        )
    got = [float(value) for value in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", values)]
    wanted = [float(value) for value in want.split()]
    if len(got) != 4 or any(abs(g - w) > 1e-5 for g, w in zip(got, wanted)):
        raise Failure(f"Node.js example: expected {wanted}, got {got}")


def main():
    server, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    environment = dict(os.environ)
    try:
        python = test_package(folder, server, "protoc", environment)
        # Without a PATH there is no protoc.
        without_protoc = {**environment, "PATH": str(folder)}
        test_package(folder, server, "grpcio-tools", without_protoc)
        test_reflection(server, python)
        test_node(folder / "node", server, python)
    except Failure as failure:
        return f"online: FAILED: {failure}"
    print("online: all passed")
    return 0


sys.exit(main())
