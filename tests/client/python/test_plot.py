# SPDX-License-Identifier: Apache-2.0
"""Heatmaps of attention weights."""

import sys

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


def boxes(axis):
    """Where the labels of an axis are, in pixels, in their order."""
    return [label.get_window_extent() for label in axis.get_ticklabels()]


def overlaps(figure):
    """Labels, names and titles that cover one another, anywhere in a figure."""
    figure.draw_without_rendering()
    texts = []
    for axes in panels(figure):
        texts += boxes(axes.xaxis) + boxes(axes.yaxis)
        for text in (axes.xaxis.label, axes.yaxis.label, axes.title):
            if text.get_text():
                texts.append(text.get_window_extent())
        texts.append(axes.get_window_extent())
    return [
        (one.bounds, other.bounds)
        for i, one in enumerate(texts)
        for other in texts[:i]
        if one.overlaps(other)
    ]


@pytest.mark.parametrize("dpi", [50, 100, 200])
@pytest.mark.parametrize("heads", [1, 3, 8])
def test_labels_of_20_tokens_are_all_there_and_do_not_overlap(heads, dpi):
    words = [f"token{i}" for i in range(20)]

    figure = plot_attention(np.ones((heads, 20, 20)), words)

    figure.set_dpi(dpi)
    assert labels(panels(figure)[-1].xaxis) == words
    assert labels(panels(figure)[-1].yaxis) == words
    assert overlaps(figure) == []


@pytest.mark.parametrize("heads, step", [(1, 20), (12, 50)])
def test_labels_of_512_tokens_are_thinned_and_numbered(heads, step):
    words = [f"word{i}" for i in range(512)]

    figure = plot_attention(np.ones((heads, 512, 512)), words)

    expected = [f"{i} word{i}" for i in range(0, 512, step)]
    assert labels(panels(figure)[-1].xaxis) == expected
    assert labels(panels(figure)[-1].yaxis) == expected
    assert overlaps(figure) == []


def test_numbers_do_not_overlap_either():
    for shape in [(2, 7, 100), (1, 1), (5, 300, 2), (1000, 1000)]:
        figure = plot_attention(np.ones(shape))
        assert overlaps(figure) == [], shape
        assert labels(panels(figure)[0].xaxis)[0] == "0"


def test_a_figure_holds_all_of_its_labels():
    figure = plot_attention(np.ones((3, 20, 20)), ["a very long label"] * 20, title="t")

    figure.draw_without_rendering()
    for axes in panels(figure):
        for box in boxes(axes.xaxis) + boxes(axes.yaxis):
            assert box.x0 >= 0 and box.y0 >= 0
            assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


def test_all_panels_have_one_scale():
    weights = np.zeros((2, 3, 3))
    weights[0, 0, 0], weights[1, 1, 1] = 0.25, 0.75

    limits = {axes.images[0].get_clim() for axes in panels(plot_attention(weights))}

    assert limits == {(0.0, 0.75)}


def test_a_single_key_stays_bright_among_many():
    weights = np.zeros((2, 2048, 2048))
    weights[1, 777, 1234] = 1.0
    weights[0, 5] = np.nan

    first, second = panels(plot_attention(weights))

    shown = second.images[0].get_array()
    assert max(shown.shape) < 512
    assert shown.max() == 1.0
    assert not first.images[0].get_array().mask.any()  # rows beside it have weights
    assert second.get_xlim() == (-0.5, 2047.5)


def test_rows_of_nan_have_a_color_of_their_own():
    weights = np.full((2, 2), 0.5)
    weights[1] = np.nan

    (axes,) = panels(plot_attention(weights))

    image = axes.images[0]
    seen, unseen = image.to_rgba(image.get_array())[:, 0]
    assert tuple(unseen) == pytest.approx((0.839, 0.271, 0.255, 1.0), abs=1e-3)
    assert tuple(seen) != tuple(unseen)


def test_nothing_but_nan_is_drawn():
    (axes,) = panels(plot_attention(np.full((2, 2), np.nan)))

    assert axes.images[0].get_clim() == (0.0, 1.0)


def test_all_sequences_of_a_batch():
    figure = plot_attention(
        np.ones((2, 2, 2, 2)), [["a", "b"], ["c", "d"]], sequence=None
    )

    drawn = panels(figure)
    assert [axes.get_title() for axes in drawn] == [
        "sequence 0, head 0",
        "sequence 0, head 1",
        "sequence 1, head 0",
        "sequence 1, head 1",
    ]
    assert labels(drawn[0].xaxis) == ["a", "b"]
    assert labels(drawn[3].yaxis) == ["c", "d"]


def test_averaged_batches_are_one_panel_for_each_sequence():
    drawn = panels(plot_attention(np.ones((2, 3, 3)), averaged=True, sequence=None))

    assert [axes.get_title() for axes in drawn] == ["sequence 0", "sequence 1"]


def test_ragged_batches_have_labels_of_their_own(client, name):
    client.upload(name, CONFIG, make_weights())
    rows = [np.ones((length, WIDTH), np.float32) for length in (3, 2)]
    result = client.forward(name, rows, need_weights=True, average_attn_weights=False)

    figure = plot_attention(result.weights, [["a", "b", "c"], ["d", "e"]], sequence=None)

    assert labels(panels(figure)[0].xaxis) == ["a", "b", "c"]
    assert labels(panels(figure)[4].xaxis) == ["d", "e"]


def test_layers_are_drawn_together():
    layers = {"layer 0": np.ones((2, 3, 3)), "$layer$ 1": np.ones((1, 2, 3, 3))}

    drawn = panels(plot_attention(layers, list("abc")))

    assert [axes.get_title() for axes in drawn] == [
        "layer 0, head 0",
        "layer 0, head 1",
        "$layer$ 1, head 0",
        "$layer$ 1, head 1",
    ]
    with pytest.raises(ValueError, match="at least one layer"):
        plot_attention({})


@pytest.mark.parametrize(
    "token, shown",
    [
        ("$5$", "$5$"),
        ("$\\frac$", "$\\frac$"),
        ("<script>", "<script>"),
        ("a\nb\t\0", "a\\nb\\t\\u0000"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("Donaudampfschifffahrt", "Donaudampfschif…"),
        ("", ""),
    ],
)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_any_token_is_shown_as_it_is_or_escaped(token, shown):
    figure = plot_attention(np.eye(2), [token, "b"])

    figure.draw_without_rendering()
    assert labels(panels(figure)[0].xaxis) == [shown, "b"]


def test_lists_of_labels_must_be_as_many_as_sequences():
    with pytest.raises(ValueError, match="key_tokens: expected labels of 2 sequences"):
        plot_attention(np.ones((2, 1, 2, 2)), key_tokens=[["a", "b"]] * 3)
    with pytest.raises(ValueError, match="query_tokens: expected 2 labels, got 3"):
        plot_attention(np.ones((2, 1, 2, 2)), [["a", "b"], ["a"] * 3], sequence=1)


def test_sequence_must_be_one_of_the_batch():
    for sequence in (2, -3):
        with pytest.raises(ValueError, match="sequence: expected one of 2"):
            plot_attention(np.ones((2, 1, 2, 2)), sequence=sequence)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)

    with pytest.raises(ImportError, match=r'pip install "attention-client\[plot\]"'):
        plot_attention(np.eye(2))
