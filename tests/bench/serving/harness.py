# SPDX-License-Identifier: Apache-2.0
"""The real server and the real client as processes, for measuring."""

import json
import math
import pathlib
import resource
import signal
import struct
import subprocess
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "pytorch"))
import attention_server  # noqa: E402  (found by the line above)


def _safetensors(tensors, config):
    """A file of float32 tensors with a module's configuration."""
    header = {"__metadata__": {"config": json.dumps(config)}}
    offset = 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(tensor.shape),
                        "data_offsets": [offset, offset + tensor.nbytes]}
        offset += tensor.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    parts = [tensor.tobytes() for tensor in tensors.values()]
    return struct.pack("<Q", len(text)) + text + b"".join(parts)


def _uniform(embed_dim):
    """What draws tensors as torch initialises them."""
    random = np.random.default_rng(7)
    bound = 1 / math.sqrt(embed_dim)
    return lambda *shape: random.uniform(-bound, bound, shape).astype(np.float32)


def _attention_tensors(uniform, embed_dim, prefix=""):
    return {
        prefix + "in_proj_bias": uniform(3 * embed_dim),
        prefix + "in_proj_weight": uniform(3 * embed_dim, embed_dim),
        prefix + "out_proj.bias": uniform(embed_dim),
        prefix + "out_proj.weight": uniform(embed_dim, embed_dim),
    }


def write_multi_head_attention(directory, name, embed_dim, num_heads):
    """Put a module of torch's kind, batch_first, into a repository."""
    tensors = _attention_tensors(_uniform(embed_dim), embed_dim)
    config = {"multi_head_attention": {"embed_dim": embed_dim,
                                       "num_heads": num_heads,
                                       "bias": True, "batch_first": True}}
    path = pathlib.Path(directory) / f"{name}.safetensors"
    path.write_bytes(_safetensors(tensors, config))


def write_encoder_layer(directory, name, embed_dim, num_heads):
    """Put a torch.nn.TransformerEncoderLayer, batch_first, into a repository."""
    uniform, hidden = _uniform(embed_dim), 4 * embed_dim
    tensors = _attention_tensors(uniform, embed_dim, "self_attn.") | {
        "linear1.weight": uniform(hidden, embed_dim),
        "linear1.bias": uniform(hidden),
        "linear2.weight": uniform(embed_dim, hidden),
        "linear2.bias": uniform(embed_dim),
    }
    for norm in ("norm1", "norm2"):
        tensors |= {f"{norm}.weight": uniform(embed_dim),
                    f"{norm}.bias": uniform(embed_dim)}
    config = {"transformer_encoder_layer": {
        "d_model": embed_dim, "nhead": num_heads, "dim_feedforward": hidden,
        "batch_first": True}}
    path = pathlib.Path(directory) / f"{name}.safetensors"
    path.write_bytes(_safetensors(tensors, config))


def write_attention_alone(directory, name, head_dim):
    """Put a module of one head without projections into a repository."""
    config = {"scaled_dot_product_attention": {"num_heads": 1,
                                               "head_dim": head_dim}}
    path = pathlib.Path(directory) / f"{name}.safetensors"
    path.write_bytes(_safetensors({}, config))


class Server(attention_server.AttentionServer):
    """The server on a socket of its own, serving a whole repository."""

    def __init__(self, bin_dir, modules, socket, *options):
        self.target = f"unix:{socket}"
        super().__init__(bin_dir / "attention-server", "--listen", self.target,
                         "--modules", modules, "--load", "all", *options)

    def resident_bytes(self):
        """The memory it holds now."""
        pages = pathlib.Path(f"/proc/{self._process.pid}/statm").read_text()
        return int(pages.split()[1]) * resource.getpagesize()


class EchoServer(attention_server.AttentionServer):
    """What answers every call with the bytes it came with."""

    def __init__(self, bin_dir, socket):
        super().__init__(bin_dir / "echo_server")
        self.target = f"unix:{socket}"
        self._command = [bin_dir / "echo_server", "127.0.0.1:0", self.target]


class Load:
    """One attention-client bench under way; ended with the context."""

    def __init__(self, bin_dir, server, module, shape, *options, timeout=None,
                 by_tcp=False):
        """A request has `timeout` seconds, by default the client's own."""
        command = [bin_dir / "attention-client", "--target",
                   server.address if by_tcp else server.target,
                   *([] if timeout is None else ["--timeout", str(timeout)]),
                   "bench", module, "--random", ",".join(map(str, shape)),
                   "--json", *map(str, options)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._process.poll() is None:
            self._process.terminate()
            self._process.communicate()

    def failed(self):
        """Whether it has ended with an error."""
        return self._process.poll() not in (None, 0)

    def result(self, may_fail=False):
        """Wait for its report; of a run some of whose requests failed, too, if
        they may."""
        out, err = self._process.communicate()
        if self._process.returncode not in ((0, 1) if may_fail else (0,)):
            raise RuntimeError(f"attention-client bench exited with "
                               f"{self._process.returncode}:\n{err}{out}")
        return json.loads(out)

    def stop(self):
        """End it early and wait for its report."""
        self._process.terminate()
        out, err = self._process.communicate()
        if self._process.returncode != 128 + signal.SIGTERM:
            raise RuntimeError(f"attention-client bench exited with "
                               f"{self._process.returncode}:\n{err}{out}")
        return json.loads(out)
