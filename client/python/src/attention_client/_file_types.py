# SPDX-License-Identifier: Apache-2.0
"""What kind of file this is, by its first bytes and not by its name."""

from __future__ import annotations

import os
import tarfile
import zipfile
from typing import List, Optional

from ._safetensors import LONGEST_HEADER

SAFETENSORS = "safetensors"
INDEX = "index"
TORCH = "torch"

# What torch.save before 1.6 begins with: a pickle of a number that says so.
_LEGACY_TORCH = tuple(
    bytes([0x80, protocol]) + bytes.fromhex("8a0a6cfc9c46f9206aa850192e")
    for protocol in (2, 3)
)

# What files of other kinds begin with, what they are, and what to do.
_OTHERS = (
    (
        b"version https://git-lfs.github.com/spec/",
        "a git-LFS pointer, not the file it stands for: fetch that by `git lfs pull`",
    ),
    (
        b"\x93NUMPY",
        "a NumPy array (.npy): save a dict of arrays by safetensors.numpy.save_file",
    ),
    (b"GGUF", "a GGUF file: take the .safetensors that it was made from"),
    (
        b"\x89HDF\r\n\x1a\n",
        "an HDF5 file, such as Keras writes: save the weights as .safetensors",
    ),
    (b"\x1f\x8b", "compressed by gzip: unpack it first"),
    (b"BZh", "compressed by bzip2: unpack it first"),
    (b"\xfd7zXZ\x00", "compressed by xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
)
_UNKNOWN = (
    "not a checkpoint: expected a state dict by torch.save, a .safetensors file or a "
    ".safetensors.index.json"
)
_NOT_TORCH = "expected what torch.save writes of model.state_dict(), or .safetensors"


class UnknownFile(Exception):
    """A file that holds no checkpoint; says what it is and what to do."""


def kind_of(path: str) -> str:
    """SAFETENSORS, INDEX or TORCH; UnknownFile for everything else."""
    if os.path.isdir(path):
        raise UnknownFile(_of_folder(path))
    with open(path, "rb") as file:
        start = file.read(1024)
    if not start:
        raise UnknownFile("empty: copy or download it again")
    header_bytes = int.from_bytes(start[:8], "little")
    if start[8:].lstrip()[:1] == b"{" and header_bytes <= LONGEST_HEADER:
        return SAFETENSORS
    other = _of_start(start)
    if other is not None:
        raise UnknownFile(other)
    if start.startswith(b"PK\x03\x04"):
        return _of_archive(path)
    if start[:1] == b"\x80":
        if start.startswith(_LEGACY_TORCH):
            return TORCH
        raise UnknownFile(f"a pickle that torch.save did not write: {_NOT_TORCH}")
    return _of_text(path, start)


def _is_tar(start: bytes) -> bool:
    """Whether torch.load takes it for one: old ones begin with any name."""
    try:
        tarfile.TarInfo.frombuf(start[:512], tarfile.ENCODING, "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def _of_folder(path: str) -> str:
    endings = (".safetensors", ".safetensors.index.json", ".pt", ".pth", ".bin")
    inside = [name for name in sorted(os.listdir(path)) if name.endswith(endings)]
    such = f", such as {inside[-1]}" if inside else ""
    return f"a folder: name the file in it{such}"


def _of_start(start: bytes) -> Optional[str]:
    for magic, text in _OTHERS:
        if start.startswith(magic):
            return text
    if _is_tar(start):
        return "a tar archive: unpack it first"
    # ONNX: the first fields of ModelProto, its version and its producer or graph.
    if start[:1] == b"\x08" and start[2:3] in (b"\x12", b"\x3a", b"\x42"):
        return "an ONNX model: save model.state_dict() of the model it was made from"
    return None


def _of_archive(path: str) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, ValueError):
        raise UnknownFile(
            "an archive that is cut off or damaged: copy or download it again"
        ) from None
    if _holds(names, "constants.pkl"):
        raise UnknownFile(
            "a TorchScript archive, which is a program: whoever trusts it saves its "
            'weights alone, torch.save(torch.jit.load(path).state_dict(), "weights.pt")'
        )
    if _holds(names, "data.pkl"):
        return TORCH
    if names and all(name.endswith(".npy") for name in names):
        raise UnknownFile(
            "an archive of NumPy arrays (.npz): save them by "
            "safetensors.numpy.save_file"
        )
    raise UnknownFile(f"a zip archive that holds no checkpoint: {_NOT_TORCH}")


def _holds(names: List[str], wanted: str) -> bool:
    return any(name.rpartition("/")[2] == wanted for name in names)


def _of_text(path: str, start: bytes) -> str:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise UnknownFile("a web page, not the file: download the file itself")
    if text[:1] in (b"{", b"["):
        if path.endswith(".index.json"):
            return INDEX
        raise UnknownFile(
            "JSON, which holds no weights: name the .safetensors file, or its "
            ".safetensors.index.json"
        )
    if path.endswith(".safetensors"):
        return SAFETENSORS  # Whose reader says what is wrong with it.
    raise UnknownFile(_UNKNOWN)
