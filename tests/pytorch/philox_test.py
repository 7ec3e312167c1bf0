# SPDX-License-Identifier: Apache-2.0
"""The vectors of tests/core/tensor/philox_test.cc, checked in Python."""

import unittest

import numpy as np

import philox


def fnv1a(array):
    """64-bit FNV-1a hash of an array's bytes."""
    digest = 0xCBF29CE484222325
    for byte in array.tobytes():
        digest = ((digest ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return digest


class PhiloxTest(unittest.TestCase):
    def assert_block(self, key, counter, words):
        counters = np.array([counter], dtype=np.uint32)
        self.assertEqual(philox.philox4x32(key, counters)[0].tolist(), words)

    def test_yields_known_answers_of_random123(self):
        # Source: Random123 1.14, tests/kat_vectors, philox4x32 10.
        self.assert_block(
            0, [0, 0, 0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
        )
        self.assert_block(
            0xFFFFFFFFFFFFFFFF,
            [0xFFFFFFFF] * 4,
            [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        )
        self.assert_block(
            0x299F31D0A4093822,
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        )


class RandomArrayTest(unittest.TestCase):
    def test_yields_recorded_bits_for_every_dtype(self):
        recorded = {
            "float32": 0xD3A44AAC2049541C,
            "float64": 0xB5B1838F55815564,
            "float16": 0xDB555A4002782686,
            "bfloat16": 0x89937A0BCA532CE2,
        }
        for dtype, digest in recorded.items():
            with self.subTest(dtype=dtype):
                array = philox.random_array(dtype, (7, 11, 13), 42 << 33, 3, 0.3)
                self.assertEqual(fnv1a(array), digest)

    def test_stays_within_scale(self):
        array = philox.random_array("float32", (10000,), 1, 0, 2.0)
        self.assertGreaterEqual(array.min(), -2.0)
        self.assertLess(array.max(), 2.0)
        self.assertLess(abs(array.mean()), 0.05)

    def test_makes_empty_arrays(self):
        self.assertEqual(philox.random_array("float32", (0, 4), 1).shape, (0, 4))


if __name__ == "__main__":
    unittest.main()
