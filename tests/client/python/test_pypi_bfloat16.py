# SPDX-License-Identifier: Apache-2.0
"""bfloat16 in NumPy, by ml_dtypes, which Debian does not have."""

import ml_dtypes
import numpy as np
from numpy_attention import CONFIG, WIDTH, make_weights


def test_ml_dtypes_bfloat16_is_answered_in_bfloat16(client, name):
    weights = {
        key: value.astype(ml_dtypes.bfloat16) for key, value in make_weights().items()
    }
    query = np.random.default_rng(5).standard_normal((4, WIDTH))

    info = client.upload(name, CONFIG, weights)
    output = client.forward(name, query.astype(ml_dtypes.bfloat16)).output

    assert info.weights_dtype == "bfloat16"
    assert output.dtype == ml_dtypes.bfloat16
    want = client.forward(name, query.astype(np.float32)).output
    np.testing.assert_allclose(output.astype(np.float32), want, rtol=0.02, atol=0.02)
