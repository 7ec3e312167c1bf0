# SPDX-License-Identifier: Apache-2.0
"""Modules: upload, list, describe, load, unload."""

import numpy as np
import pytest
from attention_client import (
    InvalidRequestError,
    ModuleConfig,
    ModuleExistsError,
    UnknownModuleError,
    _modules,
)
from attention_client._modules import Upload
from numpy_attention import CONFIG, WIDTH, assert_close, attention, make_weights

WEIGHTS = make_weights()
QUERY = np.random.default_rng(3).standard_normal((2, WIDTH)).astype(np.float32)


def test_upload_describes_the_module(client, name):
    info = client.upload(name, CONFIG, WEIGHTS)

    assert (info.name, info.state, info.weights_dtype) == (name, "ready", "float32")
    config = info.config["multi_head_attention"]
    assert (config["embed_dim"], config["num_heads"]) == (WIDTH, 4)
    assert len(info.weights_digest) == 64
    assert client.modules.get(name) == info


def test_a_config_may_be_the_message(client, name):
    config = ModuleConfig()
    config.multi_head_attention.embed_dim = WIDTH
    config.multi_head_attention.num_heads = 2

    info = client.upload(name, config, WEIGHTS)

    assert info.config["multi_head_attention"]["num_heads"] == 2


def test_what_to_compute_in_is_part_of_a_config(client, name):
    info = client.upload(
        name, {**CONFIG, "compute_dtype": "COMPUTE_DTYPE_BFLOAT16"}, WEIGHTS
    )

    assert info.config["compute_dtype"] == "COMPUTE_DTYPE_BFLOAT16"
    assert info.compute_dtype in ("bfloat16", "float32")  # The machine decides.
    output = client.forward(name, QUERY.astype(np.float64)).output
    assert_close(output, attention(WEIGHTS, QUERY)[0])


def test_an_unknown_field_of_a_config_is_an_error(client, name):
    with pytest.raises(ValueError, match="num_head"):
        client.upload(name, {"multi_head_attention": {"num_head": 2}}, WEIGHTS)


def test_weights_of_another_shape_are_refused(client, name):
    weights = {**WEIGHTS, "out_proj.bias": np.zeros(3, np.float32)}

    with pytest.raises(InvalidRequestError, match="out_proj.bias"):
        client.upload(name, CONFIG, weights)


def test_a_module_is_replaced_only_if_asked(client, name):
    first = client.upload(name, CONFIG, WEIGHTS)

    with pytest.raises(ModuleExistsError, match=name):
        client.upload(name, CONFIG, make_weights(1))
    second = client.upload(name, CONFIG, make_weights(1), replace=True)

    assert second.version > first.version
    assert second.weights_digest != first.weights_digest


def test_a_prefix_takes_one_layer_out_of_a_model(client, name):
    model = {f"layers.0.attn.{key}": value for key, value in WEIGHTS.items()}
    # Not sent: the service has no such dtype.
    model["layers.0.other.counter"] = np.zeros(1, np.int16)

    client.upload(name, CONFIG, model, weights_prefix="layers.0.attn.")

    output = client.forward(name, QUERY).output
    assert_close(output, attention(WEIGHTS, QUERY)[0])


@pytest.mark.parametrize("transposed", [False, True])
def test_weights_with_names_and_layout_of_their_own(client, name, transposed):
    config = {"multi_head_attention": {**CONFIG["multi_head_attention"]}}
    config["multi_head_attention"]["separate_projections"] = True
    parts = dict(zip("abc", np.split(WEIGHTS["in_proj_weight"], 3)))
    parts["out"] = WEIGHTS["out_proj.weight"]
    biases = dict(zip("abc", np.split(WEIGHTS["in_proj_bias"], 3)))
    biases["out"] = WEIGHTS["out_proj.bias"]
    state_dict = {f"{part}.bias": bias for part, bias in biases.items()}
    for part, matrix in parts.items():
        state_dict[f"{part}.weight"] = matrix.T if transposed else matrix
    names = {"q_proj": "a", "k_proj": "b", "v_proj": "c", "out_proj": "out"}

    client.upload(name, config, state_dict, weight_names=names, transposed=transposed)

    output = client.forward(name, QUERY).output
    assert_close(output, attention(WEIGHTS, QUERY)[0])


def test_what_a_file_lacks_and_has_too_much_is_in_the_header():
    mask = {"masked_bias": np.zeros(1, np.uint8)}  # Old masks are; it is sent.
    upload = Upload(
        "x", CONFIG, {**WEIGHTS, **mask}, zero_biases=["a"], ignored=["masked_bias"]
    )

    header, *rest = _modules.to_messages(upload)

    names = header.header.weight_names
    assert (list(names.zero_biases), list(names.ignored)) == (["a"], ["masked_bias"])
    assert b"masked_bias" in rest[0].data


def test_zero_biases_and_ignored_tensors(client, name):
    weights = {n: w for n, w in WEIGHTS.items() if n != "in_proj_bias"}
    mask = {"masked_bias": np.zeros(1, np.uint8)}
    client.upload(
        name,
        CONFIG,
        {**weights, **mask},
        zero_biases=["in_proj_bias"],
        ignored=["masked_bias"],
    )

    want = {**WEIGHTS, "in_proj_bias": 0 * WEIGHTS["in_proj_bias"]}
    assert_close(client.forward(name, QUERY).output, attention(want, QUERY)[0])


def test_an_upload_that_has_the_services_names_says_nothing_of_names():
    header = next(_modules.to_messages(Upload("x", CONFIG, WEIGHTS))).header

    assert not header.HasField("weight_names")


def test_weights_longer_than_a_message_are_sent_in_pieces(client, name):
    width = 1536  # in_proj_weight alone has 27 MiB.
    config = {"multi_head_attention": {"embed_dim": width, "num_heads": 1}}
    weights = {
        "in_proj_weight": np.zeros((3 * width, width), np.float32),
        "in_proj_bias": np.zeros(3 * width, np.float32),
        "out_proj.weight": np.zeros((width, width), np.float32),
        "out_proj.bias": np.arange(width, dtype=np.float32),
    }

    client.upload(name, config, weights)

    output = client.forward(name, np.zeros((1, width), np.float32)).output
    np.testing.assert_array_equal(output[0], weights["out_proj.bias"])
    client.modules.unload(name)


def test_a_persisted_module_is_loaded_again(client, name, repository):
    client.upload(name, CONFIG, WEIGHTS, persist=True)
    client.modules.unload(name)
    assert client.modules.get(name).state == "available"

    info = client.modules.load(name)

    assert info.state == "ready"
    assert (repository / f"{name}.safetensors").exists()
    assert_close(client.forward(name, QUERY).output, attention(WEIGHTS, QUERY)[0])


def test_an_unloaded_module_is_gone(client, name):
    client.upload(name, CONFIG, WEIGHTS)
    assert name in [module.name for module in client.modules.list()]

    client.modules.unload(name)

    assert name not in [module.name for module in client.modules.list()]
    with pytest.raises(UnknownModuleError, match=name):
        client.forward(name, QUERY)


def test_a_tensor_without_a_dtype_of_the_service_is_refused(client, name):
    with pytest.raises(TypeError, match="dtype int16"):
        client.upload(name, CONFIG, {**WEIGHTS, "x": np.zeros(1, np.int16)})


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"multi_head_attention": {"embed_dimm": 4}}, 'did you mean "embed_dim"'),
        ({"multi_head_attention": {"embed_dimm": 4}}, "num_heads, dropout, bias"),
        ({"multihead_attention": {}}, 'did you mean "multi_head_attention"'),
        ({"compute_dtype": "bfloat16"}, "FLOAT32, COMPUTE_DTYPE_BFLOAT16, got 'bf"),
        ({"compute_dtype": 9}, "compute_dtype: expected one of"),
        ({"multi_head_attention": {"embed_dim": "wide"}}, "expected an integer"),
        ({"multi_head_attention": {"embed_dim": 1.5}}, "expected an integer"),
        ({"multi_head_attention": {"embed_dim": True}}, "expected an integer"),
        ({"multi_head_attention": {"dropout": "some"}}, "dropout: expected a number"),
        ({"multi_head_attention": {"bias": 1}}, "bias: expected true or false"),
        ({"multi_head_attention": 4}, "multi_head_attention: expected a dict"),
        ({"transformer_encoder": {"layer": {"nheads": 1}}}, 'did you mean "nhead"'),
        ("multi_head_attention", "config: expected a dict"),
    ],
)
def test_a_mistake_in_a_config_says_what_there_is(client, name, config, text):
    with pytest.raises((TypeError, ValueError), match=text):
        client.upload(name, config, WEIGHTS)


@pytest.mark.parametrize("width", [WIDTH, str(WIDTH), float(WIDTH), np.int64(WIDTH)])
def test_numbers_of_a_config_are_those_of_json(client, name, width):
    config = {"multiHeadAttention": {"embedDim": width, "num_heads": 4}}

    info = client.upload(name, config, WEIGHTS)

    assert info.config["multi_head_attention"]["embed_dim"] == WIDTH
