# SPDX-License-Identifier: Apache-2.0
"""The operator that stands for a call in the graphs that PyTorch makes of models.

torch.compile, torch.export and torch.jit.trace see one operator,
`attention_client::forward`, which holds as a text whom to call: the server's
address, the module's name and configuration. Where a graph is loaded,
attention_client.torch has to be imported. For torch.fx a remote layer is a leaf.
"""

from __future__ import annotations

import functools
import json
from typing import Any, Callable, Dict, Iterable, Optional, Tuple
from weakref import WeakKeyDictionary

import torch
import torch.fx

from ..client import AttentionClient
from ._judge import REMEMBERED_CALLS, Modes, autocast_dtype

# With a seed where dropout is applied; `autocast` is what autocast casts to.
_SCHEMA = """forward(
    str callee, Tensor query, Tensor? key, Tensor? value, Tensor? attn_mask,
    Tensor? key_padding_mask, Tensor? seed, *, bool need_weights,
    bool average_attn_weights, bool is_causal, float? scale, float dropout_p,
    bool training, ScalarType? autocast, bool grad) -> (Tensor, Tensor)"""
_DEFAULTS: Dict[str, Any] = {
    "attn_mask": None,
    "key_padding_mask": None,
    "need_weights": False,
    "average_attn_weights": True,
    "is_causal": False,
    "scale": None,
    "dropout_p": 0.0,
}
_REFUSAL = "no_gradient(str callee, Tensor gradient, Tensor tensor) -> Tensor"

# Clients that live, by target, the oldest first, and whether a caller gave them.
_clients: Dict[str, WeakKeyDictionary[AttentionClient, bool]] = {}
# Those made here, of targets that have none.
_own_clients: Dict[str, AttentionClient] = {}
# Makes what computes, by kind, of its description.
_makers: Dict[str, Callable[[Any], Any]] = {}


def register(kind: str, make: Callable[[Any], Any]) -> None:
    """Tell how a callee of a kind is made of its description.

    It has `answer(client, inputs, options, modes, seed)`, which computes, and
    `answer_shapes(inputs, options, modes)`, which tells shapes and dtypes.
    """
    _makers[kind] = make


def adopt(client: AttentionClient, *, given: bool = True) -> None:
    """Let a graph's calls of its target go by a client, while it is open.

    The first is taken, and one that a caller has not `given`, but that was loaded
    with a model, only where there is no other: it has no credentials.
    """
    known = _clients.setdefault(client.target, WeakKeyDictionary())
    known[client] = given or known.get(client, False)


def describe(target: str, kind: str, description: Any) -> str:
    """The text of a callee, by which any process can make it."""
    return json.dumps({"target": target, "kind": kind, **description}, sort_keys=True)


@functools.lru_cache(REMEMBERED_CALLS)
def _callee(text: str) -> Tuple[str, Any]:
    """The target, and what computes."""
    description = json.loads(text)
    return description["target"], _makers[description["kind"]](description)


def _client(target: str) -> AttentionClient:
    known: Any = _clients.get(target, {})
    # A list, as other threads may adopt meanwhile.
    living = [reference() for reference in known.keyrefs()] if known else []
    usable = [each for each in living if each and not each._connection._closed]
    chosen: Optional[AttentionClient] = min(
        usable, key=lambda each: not known.get(each, False), default=None
    )
    if chosen is not None:
        return chosen
    if target not in _own_clients:
        _own_clients.setdefault(target, AttentionClient(target))
    return _own_clients[target]


def is_traced(values: Iterable[Any]) -> bool:
    """Whether a call with these tensors is recorded rather than computed."""
    return bool(
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._len_torch_dispatch_stack()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or any(_dispatches(value) for value in values)
    )


def _dispatches(value: Any) -> bool:
    ordinary = torch.Tensor.__torch_dispatch__
    return torch.is_tensor(value) and type(value).__torch_dispatch__ is not ordinary


def fx_tracer(values: Iterable[Any]) -> Any:
    """The tracer of torch.fx that records a call with these; None without."""
    if torch.compiler.is_compiling():
        return None
    proxies = (value for value in values if isinstance(value, torch.fx.Proxy))
    return next((proxy.tracer for proxy in proxies), None)


def call(
    callee: str, inputs: Any, seed: Any, training: bool, options: Dict[str, Any]
) -> Tuple[Any, Any]:
    """Record a call; returns output and weights as recorded."""
    query, key, value = inputs
    output, weights = torch.ops.attention_client.forward(
        callee,
        query,
        None if key is query else key,
        None if value is key else value,
        seed=seed,
        training=training,
        autocast=autocast_dtype(query),
        grad=torch.is_grad_enabled(),
        **{**_DEFAULTS, **options},
    )
    return output, weights if options.get("need_weights") else None


def _forward(callee: str, *tensors: Any, **options: Any) -> Any:
    inputs, seed, modes = _taken_apart(tensors, options)
    target, made = _callee(callee)
    output, weights = made.answer(_client(target), inputs, options, modes, seed)
    return output, inputs[0].new_empty(0) if weights is None else weights


def _forward_shapes(callee: str, *tensors: Any, **options: Any) -> Any:
    inputs, _, modes = _taken_apart(tensors, options)
    query, (_, made) = inputs[0], _callee(callee)
    answers = [
        query.new_empty(shape, dtype=dtype)
        for shape, dtype in made.answer_shapes(inputs, options, modes)
    ]
    return answers[0], answers[1] if len(answers) > 1 else query.new_empty(0)


def _taken_apart(tensors: Any, options: Dict[str, Any]) -> Tuple[Any, Any, Modes]:
    """Inputs, seed and modes; what is left are the layer's options."""
    query, key, value, options["attn_mask"], options["key_padding_mask"], seed = tensors
    key = query if key is None else key
    modes = Modes(*(options.pop(name) for name in Modes._fields))
    return (query, key, key if value is None else value), seed, modes


def _no_gradient(callee: str, gradient: Any, tensor: Any) -> Any:
    description = json.loads(callee)
    raise no_gradient(description.get("module", description["kind"]))


def no_gradient(module: str) -> RuntimeError:
    """What a backward pass through a module raises."""
    return RuntimeError(
        f"attention module {module!r} is computed by a server and is for inference "
        "only: a gradient was asked for, but none can pass through it. Call the "
        "model under torch.no_grad(), or detach the layer's inputs."
    )


def _keep_inputs(ctx: Any, inputs: Any, keyword_only_inputs: Any, output: Any) -> None:
    ctx.callee, *tensors = inputs
    # Of their shapes, without their numbers.
    ctx.save_for_backward(
        *(
            tensor.new_empty(()).expand(tensor.shape) if needed else None
            for tensor, needed in zip(tensors, ctx.needs_input_grad[1:])
        )
    )


def _backward(ctx: Any, *gradients: Any) -> Any:
    # An operator: a compiler traces this long before anybody asks for a gradient.
    refuse = torch.ops.attention_client.no_gradient
    gradient = next(each for each in gradients if each is not None)
    return None, *(
        None if tensor is None else refuse(ctx.callee, gradient, tensor)
        for tensor in ctx.saved_tensors
    )


def _register() -> torch.library.Library:
    library = torch.library.Library("attention_client", "DEF")
    library.define(_SCHEMA)
    library.define(_REFUSAL)
    library.impl("forward", _forward, "CompositeExplicitAutograd")
    library.impl("no_gradient", _no_gradient, "CompositeExplicitAutograd")
    name = "attention_client::forward"
    torch.library.register_fake(name, _forward_shapes, lib=library)
    torch.library.register_fake(
        "attention_client::no_gradient",
        lambda callee, gradient, tensor: torch.empty_like(tensor),
        lib=library,
    )
    torch.library.register_autograd(
        name, _backward, setup_context=_keep_inputs, lib=library
    )
    return library


_library = _register()
