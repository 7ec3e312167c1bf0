# SPDX-License-Identifier: Apache-2.0
"""Messages made and taken apart without protobuf's copies, against protobuf."""

import random

import numpy as np
import pytest
from attention_client import ForwardRequest, _forward, _tensors, _wire
from attention_client._generated import attention_service_pb2, tensor_pb2
from google.protobuf.message import DecodeError

Request = attention_service_pb2.ForwardRequest
Response = attention_service_pb2.ForwardResponse
StreamRequest = attention_service_pb2.ForwardStreamRequest
StreamResponse = attention_service_pb2.ForwardStreamResponse
DTYPES = {
    "float32": tensor_pb2.DATA_TYPE_FLOAT32,
    "float64": tensor_pb2.DATA_TYPE_FLOAT64,
    "float16": tensor_pb2.DATA_TYPE_FLOAT16,
    "bool": tensor_pb2.DATA_TYPE_BOOL,
}


@pytest.fixture(autouse=True)
def of_any_length(monkeypatch):
    """Short messages are taken apart too."""
    monkeypatch.setattr(_wire, "_LEAST_BYTES", 0)


def random_array(source, dtype=None):
    shape = [source.randrange(5) for _ in range(source.randrange(4))]
    size = int(np.prod(shape))
    values = np.array([source.randrange(2) for _ in range(size)]).reshape(shape)
    array = values.astype(dtype or source.choice(list(DTYPES)))
    return array.T if source.random() < 0.3 else array


def tensor(array):
    """The message that protobuf would be given."""
    return tensor_pb2.Tensor(
        dtype=DTYPES[array.dtype.name], shape=array.shape, data=array.tobytes()
    )


def random_request(source):
    """A request, and the message it is."""
    arrays = {"query": random_array(source)}
    for name in ("key", "value", "attn_mask", "key_padding_mask"):
        if source.random() < 0.5:
            arrays[name] = random_array(source)
    flags = ("is_causal", "need_weights", "average_attn_weights", "training")
    plain = {name: source.random() < 0.5 for name in flags}
    plain["dropout_seed"] = source.randrange(1 << 64)
    module = "m" * source.randrange(200)
    message = Request(
        module=module,
        masked_row_policy=attention_service_pb2.MASKED_ROW_POLICY_TORCH,
        **{name: tensor(array) for name, array in arrays.items()},
        **plain,
    )
    return ForwardRequest(module, **arrays, **plain), message


def test_requests_are_what_protobuf_would_send():
    source = random.Random(1)
    for number in range(2000):
        request, want = random_request(source)

        data = _forward.to_bytes(request)
        got = Request.FromString(data)
        streamed = StreamRequest.FromString(
            _forward.to_stream_bytes(number, request, 1 << 30)
        )

        assert got == want
        assert streamed == StreamRequest(id=number, request=want)
        assert _forward.num_bytes(request) == len(data)


def delimited(field, content):
    return bytes([field << 3 | 2]) + varint(len(content)) + content


def varint(value):
    encoded = b""
    while value >= 0x80:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def random_tensor_bytes(source):
    fields = [
        b"\x08\x01",
        b"\x08\x04",
        delimited(2, b"\x03\x04"),
        b"\x10\x05",
        delimited(3, bytes(source.randrange(256) for _ in range(300))),
        b"\x18\x01",  # data, as a number
        delimited(15, b"unknown"),
    ]
    return b"".join(source.sample(fields, source.randrange(len(fields))))


def random_answer_bytes(source):
    """Fields of an answer in any order: some twice, some unknown."""
    fields = [
        delimited(1, random_tensor_bytes(source)),
        b"\x18\x07",
        b"\x20\x02",
        delimited(5, b"\x08\x0a\x10\x14"),
        b"\x79" + bytes(8),
        b"\x7d" + bytes(4),
        delimited(300 % 16, b"more"),
    ]
    if source.random() < 0.5:
        fields.append(delimited(2, random_tensor_bytes(source)))
    if source.random() < 0.1:
        fields.append(delimited(1, random_tensor_bytes(source)))
    if source.random() < 0.1:
        fields.append(b"\x7b\x08\x01\x7c")  # a group
    return b"".join(source.sample(fields, source.randrange(len(fields) + 1)))


def damaged(source, data):
    """The message cut off or with another byte, now and then."""
    if not data or source.random() < 0.5:
        return data
    place = source.randrange(len(data))
    if source.random() < 0.5:
        return data[:place]
    return data[:place] + bytes([source.randrange(256)]) + data[place + 1 :]


def parsed(parse, data):
    """What a parser makes of bytes; None where it refuses them."""
    try:
        return parse(data)
    except DecodeError:
        return None


def put_together(answer):
    """The message whose parts these are."""
    message = Response.FromString(answer.fields.SerializeToString())
    for name in ("output", "weights"):
        elements = bytes(getattr(answer, name))
        assert not elements or message.HasField(name)
        if message.HasField(name):
            getattr(message, name).data = elements
    return message


def test_answers_are_what_protobuf_makes_of_them():
    source = random.Random(2)
    for _ in range(5000):
        data = damaged(source, random_answer_bytes(source))

        got, want = parsed(_wire.parse_answer, data), parsed(Response.FromString, data)

        assert (got is None) == (want is None), data
        if got is not None:
            assert put_together(got).SerializeToString() == want.SerializeToString()


def test_answers_of_a_stream_are_what_protobuf_makes_of_them():
    source = random.Random(3)
    error = attention_service_pb2.Error(code=5, message="no such module")
    for _ in range(5000):
        fields = [
            b"\x08\x07",
            delimited(2, random_answer_bytes(source)),
            delimited(15, b"unknown"),
        ]
        if source.random() < 0.3:
            fields.append(delimited(3, error.SerializeToString()))
        if source.random() < 0.2:
            fields.append(delimited(2, random_answer_bytes(source)))
        source.shuffle(fields)
        data = damaged(source, b"".join(fields))

        got = parsed(_wire.parse_stream_answer, data)
        want = parsed(StreamResponse.FromString, data)

        assert (got is None) == (want is None), data
        if got is None:
            continue
        assert got.id == want.id
        assert (got.error is not None) == want.HasField("error")
        if got.error is not None:
            assert got.error == want.error
        answer = put_together(got.answer).SerializeToString()
        assert answer == want.response.SerializeToString()


def test_plain_answers_keep_their_elements_where_they_were_received():
    response = Response(output=tensor(np.ones((30, 40), np.float32)), batch_size=3)
    data = response.SerializeToString()

    answer = _wire.parse_answer(data)

    assert isinstance(answer.output, memoryview) and answer.output.obj is data
    assert not answer.fields.output.data


def received(elements, offset):
    """Elements at an offset from a multiple of 16, in bytes that hold more."""
    for before in range(16):
        data = bytes(before) + elements.tobytes() + b"behind"
        address = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
        if (address + before) % 16 == offset:
            return memoryview(data)[before : before + elements.nbytes]
    raise AssertionError("bytes lie at other places than malloc's")


@pytest.mark.parametrize("offset", range(16))
def test_elements_may_lie_anywhere(offset):
    want = np.arange(5000, dtype=np.float32)

    got = _tensors.from_elements(tensor(want), received(want, offset), want)

    np.testing.assert_array_equal(got, want)
    assert got.flags.aligned and got.flags.writeable
    got += 1
    np.testing.assert_array_equal(got, want + 1)


def test_elements_that_lie_well_are_not_copied():
    want = np.arange(5000, dtype=np.float32)
    elements = received(want, 0)

    got = _tensors.from_elements(tensor(want), elements, want)

    assert np.shares_memory(got, np.frombuffer(elements, np.uint8))


@pytest.mark.parametrize("others, is_shared", [(-1, True), (0, True), (1, False)])
def test_elements_keep_no_more_than_twice_their_bytes(others, is_shared):
    want = np.arange(5000, dtype=np.float32)
    data = want.tobytes() + bytes(want.nbytes + others)
    elements = memoryview(data)[: want.nbytes]

    got = _tensors.from_elements(tensor(want), elements, want)

    np.testing.assert_array_equal(got, want)
    assert np.shares_memory(got, np.frombuffer(data, np.uint8)) == is_shared
    assert got.flags.writeable


def test_an_array_outlives_all_else_of_its_answer():
    want = np.arange(50_000, dtype=np.float64)
    answer = _wire.parse_answer(Response(output=tensor(want)).SerializeToString())
    got = _tensors.from_elements(answer.fields.output, answer.output, want)
    del answer

    others = [bytes(want.nbytes) for _ in range(20)]

    np.testing.assert_array_equal(got, want)
    assert len(others) == 20


def test_contiguous_arrays_are_read_where_they_are():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)

    elements = np.frombuffer(_tensors.elements(array), np.uint8)

    assert np.shares_memory(elements, array)
