# SPDX-License-Identifier: Apache-2.0
"""Dropout over the wire: PyTorch's formula with the server's mask read back.

PyTorch draws its mask from a generator of its own, so the masks cannot agree;
what is made of a mask must. P are the weights in eval mode, W those returned
in training: each element of W is 0 or P / (1 - p).
"""

import torch
from torch.nn import functional

import judge
import live

_SEED = 7


class LiveDropoutTest(live.LiveTestCase):
    def upload_with_dropout(self, p, **config):
        config = {"embed_dim": 24, "num_heads": 3, "dropout": p} | config
        config.setdefault("batch_first", True)
        return self.upload(**config)

    def train(self, seed=_SEED, **fields):
        """Forward in training mode, by default with weights per head."""
        fields = {"need_weights": True, "average_attn_weights": False} | fields
        return self.client.forward(
            "m", training=True, dropout_seed=seed, **fields
        )

    def assert_dropped(self, dropped, kept, p):
        """Every element of `dropped` is 0 or that of `kept` / (1 - p), and the
        rate of zeros is within 4 standard deviations of p."""
        is_zero = dropped == 0
        want = torch.where(is_zero, 0.0, kept.double() / (1.0 - p))
        self.assert_close(dropped, want)
        count = dropped.numel()
        deviation = abs(is_zero.sum().item() - count * p)
        self.assertLessEqual(deviation, 4.0 * (count * p * (1.0 - p)) ** 0.5)

    def test_zeroes_or_scales_each_weight(self):
        query = torch.randn(4, 37, 24)
        for p in (0.1, 0.5, 0.9):
            with self.subTest(p=p):
                module = self.upload_with_dropout(p)
                _, kept = judge.forward(
                    module, {"query": query, "average_attn_weights": False}
                )

                dropped = self.train(query=query).weights

                self.assert_dropped(dropped, kept, p)

    def test_drops_each_row_column_and_head_alike(self):
        p = 0.3
        self.upload_with_dropout(p)

        is_zero = self.train(query=torch.randn(4, 97, 24)).weights == 0

        for axis in range(4):
            for part in is_zero.unbind(axis):
                sigma = (part.numel() * p * (1.0 - p)) ** 0.5
                deviation = abs(part.sum().item() - part.numel() * p)
                # Not 4: this looks at 201 parts.
                self.assertLessEqual(deviation, 5.0 * sigma)

    def test_output_is_made_of_the_dropped_weights(self):
        for appended in (False, True):
            with self.subTest(appended=appended):
                module = self.upload_with_dropout(
                    0.4, add_bias_kv=appended, add_zero_attn=appended
                )
                query, key = torch.randn(3, 19, 24), torch.randn(3, 33, 24)

                answer = self.train(query=query, key=key)

                want = project(module, answer.weights, key)
                self.assert_close(answer.output, want)

    def test_averages_weights_after_dropout(self):
        self.upload_with_dropout(0.4)
        query = torch.randn(3, 19, 24)
        per_head = self.train(query=query)

        averaged = self.train(query=query, average_attn_weights=True)

        self.assert_close(averaged.weights, per_head.weights.mean(1))
        self.assert_same_bits(averaged.output, per_head.output)

    def test_output_does_not_depend_on_returning_weights(self):
        self.upload_with_dropout(0.4)
        query = torch.randn(3, 19, 24)
        with_weights = self.train(query=query)

        without_weights = self.train(query=query, need_weights=False)

        self.assert_close(without_weights.output, with_weights.output)

    def test_same_seed_gives_the_same_bits(self):
        self.upload_with_dropout(0.4)
        query = torch.randn(3, 19, 24)
        first = self.train(query=query)

        again = self.train(query=query)

        self.assert_same_bits(again.weights, first.weights)
        self.assert_same_bits(again.output, first.output)

    def test_other_seeds_and_places_give_other_masks(self):
        self.upload_with_dropout(0.5)
        query = torch.randn(1, 19, 24).repeat(2, 1, 1)
        mask = self.train(query=query).weights == 0

        other = self.train(query=query, seed=_SEED + (1 << 32)).weights == 0

        self.assertFalse(torch.equal(mask, other))
        self.assertFalse(torch.equal(mask[0], mask[1]))
        self.assertFalse(torch.equal(mask[:, 0], mask[:, 1]))

    def test_first_sequence_is_the_same_alone_and_in_a_batch(self):
        self.upload_with_dropout(0.4)
        query = torch.randn(5, 19, 24)
        batch = self.train(query=query)

        alone = self.train(query=query[:1])

        self.assert_same_bits(alone.weights, batch.weights[:1])
        self.assert_same_bits(alone.output, batch.output[:1])

    def test_mask_does_not_depend_on_padding(self):
        self.upload_with_dropout(0.4)
        query = torch.randn(2, 19, 24)
        padding = torch.rand(2, 19) < 0.4
        mask = self.train(query=query).weights == 0

        padded = self.train(query=query, key_padding_mask=padding).weights == 0

        visible = ~padding[:, None, None, :].expand_as(mask)
        self.assertTrue(torch.equal(padded[visible], mask[visible]))

    def test_mask_does_not_depend_on_dtype(self):
        query = torch.randn(2, 19, 24, dtype=torch.float64)
        masks = []
        for dtype in (torch.float32, torch.float64):
            self.upload_with_dropout(0.4, dtype=dtype)
            masks.append(self.train(query=query.to(dtype)).weights == 0)

        self.assertTrue(torch.equal(masks[0], masks[1]))

    def test_zero_probability_changes_nothing(self):
        self.upload_with_dropout(0.0)
        query = torch.randn(2, 19, 24)
        kept = self.client.forward(
            "m", query=query, need_weights=True, average_attn_weights=False
        )

        trained = self.train(query=query)

        self.assert_same_bits(trained.weights, kept.weights)
        self.assert_same_bits(trained.output, kept.output)

    def test_probability_one_leaves_the_output_bias(self):
        module = self.upload_with_dropout(1.0)
        query = torch.randn(2, 19, 24)

        answer = self.train(query=query)

        self.assertEqual(answer.weights.abs().max(), 0.0)
        want = module.out_proj.bias.expand_as(query)
        self.assert_close(answer.output, want)

    def test_is_off_unless_training(self):
        module = self.upload_with_dropout(0.9)
        query = torch.randn(2, 19, 24)

        answer = self.client.forward("m", query=query, dropout_seed=_SEED)

        self.assert_close(answer.output, judge.forward(module, {"query": query})[0])


def project(module, weights, values):
    """out_proj(weights V) for weights (N, H, L, S') in float64."""
    module, wide = judge.widen(module, {"weights": weights, "values": values})
    width = module.embed_dim
    projected = functional.linear(
        wide["values"],
        module.in_proj_weight[2 * width :],
        module.in_proj_bias[2 * width :],
    )
    batch = projected.shape[0]
    if module.bias_v is not None:
        row = module.bias_v.expand(batch, 1, width)
        projected = torch.cat([projected, row], dim=1)
    if module.add_zero_attn:
        projected = functional.pad(projected, (0, 0, 0, 1))
    heads = projected.unflatten(-1, (module.num_heads, -1)).transpose(1, 2)
    context = (wide["weights"] @ heads).transpose(1, 2).flatten(2)
    return module.out_proj(context)


if __name__ == "__main__":
    live.main()
