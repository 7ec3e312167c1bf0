# SPDX-License-Identifier: Apache-2.0
"""Heatmaps of attention weights."""

import numpy as np
import pytest
from attention_client.plot import plot_attention
from numpy_attention import CONFIG, WIDTH, make_weights


def panels(figure):
    """The axes with a heatmap: all but the color bar's and the empty ones."""
    return [axes for axes in figure.axes if axes.images]


def labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_an_answers_weights_are_drawn_by_head_in_one_call(client, name, tmp_path):
    client.upload(name, CONFIG, make_weights())
    words = ["the", "cat", "sat"]
    query = np.random.default_rng(1).standard_normal((2, 3, WIDTH), dtype=np.float32)
    result = client.forward(name, query, need_weights=True, average_attn_weights=False)

    figure = plot_attention(result.weights, words, sequence=1, title="weights")

    figure.savefig(tmp_path / "weights.png")
    heads = panels(figure)
    assert [axes.get_title() for axes in heads] == [f"head {h}" for h in range(4)]
    for number, axes in enumerate(heads):
        np.testing.assert_allclose(
            axes.images[0].get_array(), result.weights[1, number]
        )
        assert labels(axes.xaxis) == labels(axes.yaxis) == words


def test_averaged_weights_are_one_panel():
    figure = plot_attention(np.eye(3), list("abc"), list("xyz"))

    (axes,) = panels(figure)
    assert (labels(axes.xaxis), labels(axes.yaxis)) == (list("xyz"), list("abc"))


def test_appended_columns_are_labelled():
    figure = plot_attention(np.full((2, 3), 1 / 3), list("ab"))

    assert labels(panels(figure)[0].xaxis) == ["a", "b", "(appended)"]


def test_heads_that_do_not_fill_the_grid_leave_it_empty():
    assert len(panels(plot_attention(np.ones((5, 2, 2))))) == 5


def test_labels_must_fit():
    with pytest.raises(ValueError, match="query_tokens: expected 3 labels, got 1"):
        plot_attention(np.eye(3), ["a"])


def test_weights_must_have_a_shape_of_weights():
    with pytest.raises(ValueError, match="weights: expected"):
        plot_attention(np.ones(3))
