# SPDX-License-Identifier: Apache-2.0
"""Training mode of every family over the wire, element by element.

The masks are a function of the request's seed and of an element's place, so
they are computed here as well (family_dropout.py), and the whole output is
compared with PyTorch's formula under them.
"""

import live
import remote
from family_dropout import training
from live_family_test import FAMILIES

_PROBABILITIES = [0.1, 0.5, 0.3, 0.0, 0.7, 1.0]
_NUM_CASES = 24


class LiveFamilyDropoutTest(live.LiveTestCase):
    def assert_all_equal_pytorch(self, family, is_suitable=lambda case: True):
        """Compare _NUM_CASES random cases of a family in training mode."""
        num_cases = num_changed = index = 0
        while num_cases < _NUM_CASES:
            case = FAMILIES[family](seed=5, index=index)
            index += 1
            if not is_suitable(case):
                continue
            p = _PROBABILITIES[num_cases % len(_PROBABILITIES)]
            seed = case.random.getrandbits(64)
            num_cases += 1
            evaluated = case.judged(case.inputs)[0]
            with (
                self.subTest(case.describe(), index=index - 1, p=p, seed=seed),
                training(case, p, seed),
            ):
                config = remote.to_config(case.config, case.kind)
                self.client.upload("m", config, case.tensors, **case.header)

                answer = self.client.forward("m", **case.inputs)

                case.check(answer, case.inputs)
                trained = case.judged(case.inputs)[0]
                num_changed += not trained.equal(evaluated)
        # Not where p is 0, nor where there is nothing to drop.
        self.assertGreater(num_changed, _NUM_CASES // 2)

    def test_d2l_attention_drops_weights_but_returns_them_whole(self):
        self.assert_all_equal_pytorch("d2l-attention")

    def test_d2l_dot_product_drops_weights_but_returns_them_whole(self):
        self.assert_all_equal_pytorch("d2l-dot-product")

    def test_hand_written_attention_returns_dropped_weights(self):
        self.assert_all_equal_pytorch("hand-written-attention")

    def test_scaled_dot_product_attention_drops_weights(self):
        self.assert_all_equal_pytorch(
            "scaled-dot-product-attention",
            # Its judge has no place of its own for other rows.
            lambda case: case.features["masked_row_policy"] != "nan",
        )

    def test_encoder_layer_drops_at_four_sites(self):
        self.assert_all_equal_pytorch("encoder-layer")

    def test_d2l_block_drops_at_three_sites(self):
        self.assert_all_equal_pytorch(
            "encoder-block", lambda case: case.features["form"] == "d2l"
        )

    def test_each_layer_of_a_stack_has_masks_of_its_own(self):
        self.assert_all_equal_pytorch("encoder-stack")


if __name__ == "__main__":
    live.main()
