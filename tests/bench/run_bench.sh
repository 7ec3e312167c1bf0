#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Run the benchmarks of a build: run_bench.sh BIN_DIR CACHE_DIR [core|micro|batching|wire|overload|remote] [ARGUMENTS...]
#   core      the forward pass against PyTorch, ONNX Runtime and OpenVINO, interleaved, with ratios (default)
#   micro     Google Benchmark of the forward pass alone
#   batching  a server that computes requests together against one that does not
#   wire      Forward of next to no compute against echoes of the same bytes
#   overload  what is answered in time of more requests than can be
#   remote    a remote layer against PyTorch's own in the same Python process
# All but micro have --help.
set -euo pipefail

bin_dir=$1
cache_dir=$2
what=${3:-core}
shift $(($# < 3 ? $# : 3))
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

case $what in
  core) exec python3 "$here/core/bench_core.py" "$bin_dir" "$cache_dir" "$@" ;;
  micro) exec "$bin_dir/core_bench" "$@" ;;
  wire) exec python3 "$here/serving/bench_wire.py" "$bin_dir" "$cache_dir" "$@" ;;
  overload) exec python3 "$here/serving/bench_overload.py" "$bin_dir" "$cache_dir" "$@" ;;
  remote) exec python3 "$here/serving/bench_remote.py" "$bin_dir" "$cache_dir" "$@" ;;
  batching) exec python3 "$here/serving/bench_batching.py" "$bin_dir" "$cache_dir" "$@" ;;
  *)
    echo "run_bench.sh: unknown benchmark '$what', expected core, micro, batching, wire, overload or remote" >&2
    exit 2
    ;;
esac
