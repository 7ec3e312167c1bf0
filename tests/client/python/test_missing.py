# SPDX-License-Identifier: Apache-2.0
"""Where an extra is not installed, its name is said."""

import subprocess
import sys

import pytest

_WITHOUT = """
import sys
sys.modules[{missing!r}] = None
try:
    {statement}
except ImportError as error:
    assert type(error) is ModuleNotFoundError, error
    assert error.name == {missing!r}
    print(error)
"""


@pytest.mark.parametrize(
    ("missing", "statement", "text"),
    [
        (
            "torch",
            "import attention_client.torch",
            "attention_client.torch needs PyTorch: "
            'pip install "attention-client[torch]"',
        ),
        (
            "ml_dtypes",
            "from attention_client import _tensors; _tensors._numpy_dtype('bfloat16')",
            "bfloat16 in NumPy needs ml_dtypes: "
            'pip install "attention-client[ml-dtypes]"',
        ),
    ],
)
def test_a_missing_package_is_named_with_its_extra(missing, statement, text):
    program = _WITHOUT.format(missing=missing, statement=statement)

    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert result.stdout.strip() == text


def test_a_package_pytorch_misses_is_not_taken_for_pytorch():
    program = """
import sys, types
sys.modules["torch"] = types.ModuleType("torch")
import attention_client.torch
"""

    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )

    assert "needs PyTorch" not in result.stderr and "ImportError" in result.stderr
