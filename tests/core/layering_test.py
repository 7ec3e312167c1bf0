# SPDX-License-Identifier: Apache-2.0
"""Check every include line against the architecture's edges.

A folder may include itself, the folders named beside it, and what lies below
those. core/ may include neither gRPC, protobuf, spdlog, CLI11, Prometheus nor
OpenSSL; only core/onednn sees oneDNN, only core/simd sees Highway, and only
server/metrics sees Prometheus. server/ does not see what computes a module.
"""

import pathlib
import re
import sys

# Folder -> folders directly below it (CONTRIBUTING.md, "Architecture").
EDGES = {
    "core/simd": [],
    "core/tensor": ["core/simd"],
    "core/parallel": ["core/tensor"],
    "core/safetensors": ["core/tensor"],
    "core/attention": ["core/parallel"],
    "core/reference": ["core/attention"],
    "core/onednn": ["core/attention"],
    "core/fused": ["core/onednn"],
    "core/engine": ["core/fused"],
    "core/module": ["core/engine", "core/reference"],
    "core/serving": ["core/module"],
    "core/usage": ["core/tensor"],
    "proto/wire": ["proto", "core/attention", "core/usage"],
    "server/weights": ["core/attention", "core/safetensors"],
    "server/repository": ["server/weights", "core/module", "proto/wire"],
    "server/modules": ["server/repository", "core/serving"],
    "server/net": ["server/repository"],
    "server/rpc": ["server/modules", "server/net", "proto/wire"],
    "server/metrics": ["server/rpc"],
    "server/host": ["server/metrics", "core/usage"],
    "server": ["server/host"],
    "client/cpp": ["proto/wire", "core/safetensors"],
    "client/cpp/cli": ["client/cpp", "core/usage"],
}
PRODUCT = ("core", "proto", "server", "client")
FORBIDDEN_IN_CORE = re.compile(
    r"^(grpc|grpcpp/|google/protobuf|attention/v1/|spdlog|CLI/|prometheus|openssl)"
)
COMPUTING = re.compile(r"^core/(engine|fused|onednn|reference|simd)/")
PROMETHEUS = re.compile(r"^prometheus/")
HIGHWAY = re.compile(r"^hwy/")
ONEDNN = re.compile(r"^(oneapi/|dnnl|omp\.h)")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')


def below(folder):
    """Return the folder and everything it may include."""
    reachable = {folder}
    for lower in EDGES.get(folder, []):
        reachable |= below(lower)
    return reachable


def folder_of(path):
    """Return the folder a file belongs to: the deepest one with edges."""
    for parent in [path.parent, *path.parent.parents]:
        if parent.as_posix() in EDGES:
            return parent.as_posix()
    return path.parent.as_posix()


def violation(source, include):
    """Return why `source` may not include `include`, or None."""
    folder = folder_of(source)
    if folder.startswith("core") and FORBIDDEN_IN_CORE.match(include):
        return "core/ may not include it"
    if folder.startswith("server") and COMPUTING.match(include):
        return "server/ asks core/module"
    if folder != "core/onednn" and ONEDNN.match(include):
        return "only core/onednn may include it"
    if folder != "core/simd" and HIGHWAY.match(include):
        return "only core/simd may include it"
    if folder != "server/metrics" and PROMETHEUS.match(include):
        return "only server/metrics may include it"
    if include.startswith(("attention/v1/", "grpc/health/", "grpc/reflection/")):
        target = "proto"
    elif include.split("/")[0] in PRODUCT:
        target = folder_of(pathlib.PurePosixPath(include))
    else:
        return None
    if target not in below(folder):
        return f"{folder} may not depend on {target}"
    return None


def check(root):
    """Return one line for each include that breaks a rule."""
    errors = []
    sources = 0
    for top in PRODUCT:
        for path in sorted((root / top).rglob("*")):
            if path.suffix not in (".h", ".cc"):
                continue
            sources += 1
            source = path.relative_to(root)
            for number, line in enumerate(path.read_text().splitlines(), 1):
                found = INCLUDE.match(line)
                why = found and violation(source, found.group(1))
                if why:
                    errors.append(f"{source}:{number}: {found.group(1)}: {why}")
    if sources == 0:
        errors.append(f"no source found below {root}")
    return errors


def self_test():
    """Prove that the rules can fail."""
    path = pathlib.PurePosixPath
    assert violation(path("core/attention/x.cc"), "core/onednn/tile.h")
    assert violation(path("core/serving/x.cc"), "grpcpp/grpcpp.h")
    assert violation(path("core/simd/x.cc"), "core/tensor/convert.h")
    assert violation(path("core/tensor/x.cc"), "hwy/highway.h")
    assert violation(path("server/x.cc"), "oneapi/dnnl/dnnl.hpp")
    assert violation(path("proto/wire/x.cc"), "core/safetensors/safetensors.h")
    assert violation(path("client/cpp/x.cc"), "server/host/options.h")
    assert violation(path("server/host/x.cc"), "core/engine/compute_path.h")
    assert violation(path("server/rpc/x.cc"), "server/metrics/metrics_page.h")
    assert violation(path("server/host/x.cc"), "prometheus/counter.h")
    assert violation(path("server/weights/x.cc"), "server/repository/x.h")
    assert not violation(path("server/x.cc"), "core/attention/config.h")


if __name__ == "__main__":
    self_test()
    found_errors = check(pathlib.Path(sys.argv[1]))
    print("\n".join(found_errors) or "every include follows the architecture")
    sys.exit(1 if found_errors else 0)
