# SPDX-License-Identifier: Apache-2.0
"""What the service has beyond torch.nn.MultiheadAttention, against PyTorch's
answer to the equivalent masks."""

import torch
from attention.v1 import attention_service_pb2

import judge
import live
import remote

TOP_LEFT = attention_service_pb2.CAUSAL_TOP_LEFT
BOTTOM_RIGHT = attention_service_pb2.CAUSAL_BOTTOM_RIGHT
ZERO = attention_service_pb2.MASKED_ROW_POLICY_ZERO
NAN = attention_service_pb2.MASKED_ROW_POLICY_NAN


class LiveStructureTest(live.LiveTestCase):
    def assert_answers(self, module, fields, equivalent):
        """The server's answer to `fields` is PyTorch's to `equivalent`."""
        answer = self.client.forward("m", **fields)
        judge.check(answer, module, equivalent)

    def test_causal_equals_the_bool_mask(self):
        lengths = [(7, 7), (5, 18), (18, 5), (1, 33), (33, 1)]
        for appended in (False, True):
            module = self.upload(
                embed_dim=24, num_heads=3, batch_first=True,
                add_bias_kv=appended, add_zero_attn=appended,
            )
            for queries, keys in lengths:
                for causal in (TOP_LEFT, BOTTOM_RIGHT):
                    self.check_causal(module, (queries, keys), causal)

    def check_causal(self, module, lengths, causal):
        queries, keys = lengths
        diagonal = 1 if causal == TOP_LEFT else 1 + keys - queries
        mask = torch.ones(queries, keys, dtype=torch.bool).triu(diagonal)
        for need_weights in (True, False):
            inputs = {
                "query": torch.randn(2, queries, 24),
                "key": torch.randn(2, keys, 24),
                "need_weights": need_weights,
            }
            with self.subTest(lengths=lengths, causal=causal):
                self.assert_answers(
                    module,
                    inputs | {"causal": causal},
                    inputs | {"attn_mask": mask},
                )

    def test_causal_joins_the_other_masks(self):
        module = self.upload(embed_dim=24, num_heads=3)
        mask, causal = torch.randn(9, 14), torch.ones(9, 14).triu(1).bool()
        inputs = {
            "query": torch.randn(9, 2, 24),
            "key": torch.randn(14, 2, 24),
            "key_padding_mask": torch.rand(2, 14) < 0.3,
            "need_weights": True,
            "average_attn_weights": False,
        }

        self.assert_answers(
            module,
            inputs | {"attn_mask": mask, "causal": TOP_LEFT},
            inputs | {"attn_mask": mask.masked_fill(causal, -torch.inf)},
        )

    def test_valid_lens_equal_the_key_padding_mask(self):
        module = self.upload(embed_dim=24, num_heads=3, batch_first=True)
        inputs = {
            "query": torch.randn(4, 9, 24),
            "key": torch.randn(4, 14, 24),
        }
        for dtype in (torch.int32, torch.int64):
            lengths = torch.tensor([14, 3, 0, 20], dtype=dtype)
            padding = torch.arange(14) >= lengths[:, None]
            for need_weights in (True, False):
                with self.subTest(dtype=dtype, need_weights=need_weights):
                    inputs["need_weights"] = need_weights
                    self.assert_answers(
                        module,
                        inputs | {"valid_lens": lengths},
                        inputs | {"key_padding_mask": padding},
                    )

    def test_valid_lens_per_row_equal_the_mask_per_sequence(self):
        module = self.upload(embed_dim=24, num_heads=3, batch_first=True)
        lengths = torch.randint(0, 15, (4, 9))
        mask = torch.arange(14) >= lengths[:, :, None]
        inputs = {
            "query": torch.randn(4, 9, 24),
            "key": torch.randn(4, 14, 24),
            "need_weights": True,
        }

        self.assert_answers(
            module,
            inputs | {"valid_lens": lengths},
            inputs | {"attn_mask": mask.repeat_interleave(3, dim=0)},
        )

    def test_valid_lens_join_the_key_padding_mask(self):
        module = self.upload(embed_dim=24, num_heads=3, batch_first=True)
        lengths, holes = torch.tensor([11, 5]), torch.rand(2, 14) < 0.3
        inputs = {
            "query": torch.randn(2, 9, 24),
            "key": torch.randn(2, 14, 24),
            "need_weights": True,
        }

        self.assert_answers(
            module,
            inputs | {"valid_lens": lengths, "key_padding_mask": holes},
            inputs
            | {"key_padding_mask": holes | (torch.arange(14) >= lengths[:, None])},
        )

    def test_ragged_batch_equals_the_padded_one(self):
        for appended in (False, True):
            module = self.upload(
                embed_dim=24, num_heads=3, batch_first=True,
                add_bias_kv=appended,
            )
            queries = [torch.randn(n, 24) for n in (5, 17, 1)]
            keys = [torch.randn(n, 24) for n in (19, 2, 8)]
            with self.subTest(appended=appended):
                self.check_ragged(module, queries, keys)

    def check_ragged(self, module, queries, keys):
        answer = self.client.forward(
            "m",
            query=torch.cat(queries),
            key=torch.cat(keys),
            query_lengths=[len(rows) for rows in queries],
            key_lengths=[len(rows) for rows in keys],
            need_weights=True,
        )
        output, weights = judge.forward(
            module,
            {
                "query": torch.nn.utils.rnn.pad_sequence(queries, True),
                "key": torch.nn.utils.rnn.pad_sequence(keys, True),
                "key_padding_mask": padding_of([len(rows) for rows in keys]),
            },
        )
        visible = ~padding_of([len(rows) for rows in queries])
        self.assertEqual(answer.weights.shape, weights.shape)
        self.assert_close(answer.output, output[visible])
        self.assert_close(answer.weights[visible], weights[visible])

    def test_ragged_self_attention_equals_each_sequence_alone(self):
        self.upload(embed_dim=24, num_heads=3)
        rows = [torch.randn(n, 24) for n in (5, 17, 1, 40)]

        answer = self.client.forward(
            "m", query=torch.cat(rows), query_lengths=[5, 17, 1, 40],
            causal=BOTTOM_RIGHT,
        )

        alone = [
            self.client.forward("m", query=part, causal=BOTTOM_RIGHT).output
            for part in rows
        ]
        self.assert_same_bits(answer.output, torch.cat(alone))

    def test_zero_policy_zeroes_masked_rows(self):
        module = self.upload(embed_dim=24, num_heads=3)
        mask = torch.zeros(5, 7, dtype=torch.bool)
        mask[2] = True
        inputs = {
            "query": torch.randn(5, 2, 24),
            "key": torch.randn(7, 2, 24),
            "attn_mask": mask,
        }

        answer = self.client.forward(
            "m", **inputs, need_weights=True, masked_row_policy=ZERO
        )

        output, weights = judge.forward(module, inputs)
        output[2], weights[:, 2] = module.out_proj.bias, 0.0
        self.assert_close(answer.output, output)
        self.assert_close(answer.weights, weights)

    def test_nan_policy_marks_masked_rows(self):
        module = self.upload(embed_dim=24, num_heads=3)
        mask = torch.zeros(5, 7, dtype=torch.bool)
        mask[2] = True
        inputs = {
            "query": torch.randn(5, 2, 24),
            "key": torch.randn(7, 2, 24),
            "attn_mask": mask,
        }

        answer = self.client.forward("m", **inputs, masked_row_policy=NAN)

        self.assertIsNone(answer.weights)
        self.assert_close(answer.output, judge.forward(module, inputs)[0])

    def test_what_stands_in_padding_changes_nothing(self):
        self.upload(embed_dim=24, num_heads=3, batch_first=True)
        padding = torch.rand(3, 21) < 0.4
        query, key = torch.randn(3, 9, 24), torch.randn(3, 21, 24)
        poisoned = key.masked_fill(padding[:, :, None], torch.nan)
        for need_weights in (True, False):
            fields = {
                "query": query,
                "key_padding_mask": padding,
                "need_weights": need_weights,
            }
            clean = self.client.forward("m", key=key, **fields)

            answer = self.client.forward("m", key=poisoned, **fields)

            self.assert_same_bits(answer.output, clean.output)

    def test_batch_equals_its_sequences_alone(self):
        self.upload(embed_dim=40, num_heads=5, batch_first=True)
        query, key = torch.randn(4, 29, 40), torch.randn(4, 53, 40)
        batch = self.client.forward("m", query=query, key=key, need_weights=True)
        for n in range(4):
            alone = self.client.forward(
                "m", query=query[n : n + 1], key=key[n : n + 1],
                need_weights=True,
            )
            self.assert_same_bits(alone.output[0], batch.output[n])
            self.assert_same_bits(alone.weights[0], batch.weights[n])

    def test_query_may_have_another_dtype_than_the_weights(self):
        for weights_dtype in judge.DEFAULT_TOLERANCES:
            module = self.upload(
                embed_dim=24, num_heads=3, dtype=weights_dtype
            ).double()
            for query_dtype in judge.DEFAULT_TOLERANCES:
                query = torch.randn(9, 2, 24).to(query_dtype)
                answer = self.client.forward("m", query=query, need_weights=True)

                with self.subTest(weights=weights_dtype, query=query_dtype):
                    output, weights = judge.forward(
                        module, {"query": query.double()}
                    )
                    self.assertEqual(answer.output.dtype, query_dtype)
                    self.assert_close(answer.output, output)
                    self.assert_close(answer.weights, weights)

    def test_stream_gives_the_bits_of_single_calls(self):
        self.upload(embed_dim=24, num_heads=3)
        queries = {id_: torch.randn(id_, 2, 24) for id_ in range(1, 33)}
        requests = {
            id_: remote.to_request("m", query=query)
            for id_, query in queries.items()
        }

        responses = self.client.forward_stream(requests)

        self.assertEqual(responses.keys(), queries.keys())
        for id_, query in queries.items():
            single = self.client.forward("m", query=query)
            streamed = remote.to_answer(responses[id_].response)
            self.assert_same_bits(streamed.output, single.output)


def padding_of(lengths):
    """The key_padding_mask of sequences of these lengths."""
    return torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]


if __name__ == "__main__":
    live.main()
