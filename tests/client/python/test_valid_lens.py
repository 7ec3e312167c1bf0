# SPDX-License-Identifier: Apache-2.0
"""valid_lens: whole numbers of any dtype, and nothing else."""

import numpy as np
import pytest
from numpy_attention import CONFIG, WIDTH, make_weights

WHOLE = np.array([4, 2])


@pytest.fixture(scope="module")
def module(client):
    client.upload("valid-lens", CONFIG, make_weights())
    return "valid-lens"


@pytest.fixture
def query():
    return np.random.default_rng(3).standard_normal((2, 4, WIDTH)).astype(np.float32)


@pytest.mark.parametrize(
    "lengths",
    [
        [4.0, 2.0],
        [4, 2.0],
        WHOLE.astype(np.float32),
        WHOLE.astype(np.float64),
        WHOLE.astype(np.float16),
        WHOLE.astype(np.uint8),
        WHOLE.astype(">i2"),
        [[4.0] * 4, [2.0] * 4],
    ],
    ids=lambda lengths: f"{type(lengths).__name__} {np.asarray(lengths).dtype}",
)
def test_whole_numbers_are_taken_in_any_dtype(client, module, query, lengths):
    got = client.forward(module, query, valid_lens=lengths).output

    want = client.forward(module, query, valid_lens=[4, 2]).output
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("lengths", "text"),
    [
        ([4, 1.5], r"valid_lens\[1\]: .*got 1\.5"),
        (np.array([[1.0, 2.25]]), r"valid_lens\[0, 1\]: .*got 2\.25"),
        ([float("nan"), 1], r"valid_lens\[0\]: .*got nan"),
        ([1, float("inf")], r"valid_lens\[1\]: .*got inf"),
        ([1, 1e30], r"valid_lens\[1\]: .*got 1e\+30"),
        (np.array([2**63], np.uint64), r"valid_lens\[0\]: .*got 9223372036854775808"),
        (np.float32(0.5), r"valid_lens\[\]: .*got 0\.5"),
    ],
    ids=str,
)
def test_another_number_is_refused_by_its_value(client, module, query, lengths, text):
    with pytest.raises(ValueError, match=text):
        client.forward(module, query, valid_lens=lengths)


@pytest.mark.parametrize("lengths", [[True, False], ["4", "2"], [1j, 2j]], ids=str)
def test_what_is_no_number_is_refused_by_its_dtype(client, module, query, lengths):
    with pytest.raises(TypeError, match="valid_lens: expected integers, got "):
        client.forward(module, query, valid_lens=lengths)
