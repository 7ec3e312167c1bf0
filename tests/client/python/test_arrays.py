# SPDX-License-Identifier: Apache-2.0
"""Layouts and dtypes of NumPy's arrays."""

import numpy as np
import pytest
from numpy_attention import CONFIG, WIDTH, assert_close, make_weights

WEIGHTS = make_weights()
QUERY = np.random.default_rng(5).standard_normal((2, 4, WIDTH)).astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def module(client):
    client.upload("arrays", CONFIG, WEIGHTS)


@pytest.fixture
def want(client):
    return client.forward("arrays", QUERY).output


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_answers_in_the_querys_dtype(client, want, dtype):
    output = client.forward("arrays", QUERY.astype(dtype)).output

    assert output.dtype == dtype
    np.testing.assert_allclose(output, want, atol=5e-3)


def test_big_endian_arrays_are_converted(client, want):
    assert_close(client.forward("arrays", QUERY.astype(">f4")).output, want)


def test_strided_arrays_are_packed(client, want):
    strided = np.asfortranarray(QUERY)
    assert not strided.flags.c_contiguous

    np.testing.assert_array_equal(client.forward("arrays", strided).output, want)


def test_answers_can_be_written_to(client):
    output = client.forward("arrays", QUERY).output

    output[:] = 0


def test_an_empty_batch_has_an_empty_answer(client):
    output = client.forward("arrays", QUERY[:0]).output

    assert output.shape == (0, 4, WIDTH)
