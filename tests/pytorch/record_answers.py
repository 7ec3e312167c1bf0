# SPDX-License-Identifier: Apache-2.0
"""Record PyTorch's answers to tests/golden/cases.json.

    python3 tests/pytorch/record_answers.py

writes tests/golden/NAME.safetensors for every case: tensors `output` and, when
the case returns them, `weights`. A tensor of more than 5,000 elements is
recorded as a sample: X.positions (int64, into the flattened tensor), X.values,
and over all elements X.sum and X.max_abs (float64). 16-bit cases hold what the
same module gives in float64 on the same 16-bit weights and inputs. PyTorch's
fast path is off: semantics.md's slow path is the reference.
"""

import numpy as np
import torch

import golden_cases
import philox
import safetensors_io

_LARGEST_WHOLE = 5000
_SAMPLE_SIZE = 2000


def answer(case):
    """Run the case; returns the tensors to record by name."""
    module = golden_cases.make_module(case)
    inputs = golden_cases.make_inputs(case)
    if golden_cases.dtype_of(case).itemsize == 2:
        module.double()
        inputs = {name: _widen(value) for name, value in inputs.items()}
    output, weights = module(**inputs)
    recorded = _record("output", output)
    if weights is not None:
        recorded |= _record("weights", weights)
    return recorded


def _widen(value):
    is_real = torch.is_tensor(value) and value.is_floating_point()
    return value.double() if is_real else value


def _record(name, tensor):
    if tensor.numel() <= _LARGEST_WHOLE:
        return {name: tensor}
    flat = tensor.reshape(-1)
    order = np.argsort(philox.random_words(flat.numel(), seed=0, stream=0))
    positions = torch.from_numpy(np.sort(order[:_SAMPLE_SIZE]))
    return {
        f"{name}.positions": positions,
        f"{name}.values": flat[positions],
        f"{name}.sum": flat.double().sum(),
        f"{name}.max_abs": flat.double().abs().max(),
    }


def main():
    torch.backends.mha.set_fastpath_enabled(False)
    torch.set_num_threads(1)
    total = 0
    for case in golden_cases.load_cases():
        with torch.no_grad():
            recorded = answer(case)
        metadata = {"torch": torch.__version__, "case": case["name"]}
        data = safetensors_io.dump_safetensors(recorded, metadata)
        path = golden_cases.GOLDEN_DIR / f"{case['name']}.safetensors"
        path.write_bytes(data)
        total += len(data)
        shapes = {name: tuple(value.shape) for name, value in recorded.items()}
        print(f"{case['name']}: {len(data)} bytes, {shapes}")
    print(f"{total} bytes in all, from PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
