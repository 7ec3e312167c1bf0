# SPDX-License-Identifier: Apache-2.0
"""What the remote modules share."""

from __future__ import annotations

import functools
import warnings
from typing import Any, Dict, List, Mapping, Optional, Tuple, Union

import torch
from torch import nn

from .. import _modules, errors
from .._forward import ForwardRequest
from ..client import AttentionClient
from . import _operator
from ._judge import Modes, modes_of, refuse_nested
from ._stand_in import Config, StandIn, kinds_of

Target = Union[str, AttentionClient]
"""A client, or the address of a server to make one for."""


class Layer:
    """A layer that is served, as `_operator.register` wants it.

    Attributes:
        KIND: the field of its configuration in ModuleConfig.
    """

    KIND: str

    def __init__(self, name: str, stand_in: StandIn) -> None:
        """A module's name, and the layer it is."""
        self.name = name
        self.stand_in = stand_in

    @classmethod
    def found(cls, client: AttentionClient, name: str) -> Layer:
        """A module that is served; ValueError for another kind of layer."""
        config, dtype = layer_config(client, name, cls.KIND)
        cls.check_config(name, config)
        return cls(name, StandIn.of_dtype(cls.make, config, dtype))

    @classmethod
    def uploaded(
        cls, client: AttentionClient, source: Any, compute_dtype: str, **naming: Any
    ) -> Layer:
        """PyTorch's layer, served; `naming` is that of `serve`."""
        config = cls.to_config(source)
        whole = module_config(cls.KIND, config, compute_dtype)
        name = serve(client, whole, source.state_dict(), **naming)
        return cls(name, StandIn(cls.make, config, kinds_of(source)))

    @staticmethod
    def to_config(layer: Any) -> Config:
        """The configuration of PyTorch's layer; ValueError if it has none."""
        raise NotImplementedError

    @staticmethod
    def check_config(name: str, config: Config) -> None:
        """ValueError for what PyTorch's layer cannot have."""

    @staticmethod
    def make(config: Config) -> Any:
        """The layer of a configuration, in float32 on the meta device."""
        raise NotImplementedError

    def answer(
        self,
        client: AttentionClient,
        inputs: Any,
        options: Any,
        modes: Modes,
        seed: Any,
    ) -> Tuple[Any, Any]:
        """Output and weights, as the layer's forward."""
        raise NotImplementedError

    def answer_shapes(
        self, inputs: Any, options: Any, modes: Modes
    ) -> List[Tuple[Any, torch.dtype]]:
        """Shapes and dtypes of what is not None."""
        raise NotImplementedError

    @classmethod
    def described(cls, description: Any) -> Any:
        """The layer of a description."""
        device = torch.device("cpu")
        kinds = {
            name: (getattr(torch, dtype), device)
            for name, dtype in description["dtypes"].items()
        }
        stand_in = StandIn(cls.make, description["config"], kinds)
        return cls(description["module"], stand_in)

    def describe(self, client: AttentionClient) -> str:
        """The text of this callee at a client's server."""
        kinds = self.stand_in.kinds
        description = {
            "module": self.name,
            "config": self.stand_in.config,
            "dtypes": {name: dtype_name(dtype) for name, (dtype, _) in kinds.items()},
        }
        return _operator.describe(client.target, type(self).__name__, description)


class RemoteModule(nn.Module):
    """A module whose weights and forward pass are a server's.

    Has no parameters. Copies (copy.deepcopy, pickle, torch.save) compute with the
    same served module; a loaded one connects at its first call.

    Attributes:
        client: the client it calls.
        module_name: name of the served module.
    """

    def __init__(self, client: AttentionClient, layer: Layer) -> None:
        """See the derived classes."""
        super().__init__()
        _operator.adopt(client)
        self.client = client
        self.module_name = layer.name
        self._dropout_probability = layer.stand_in.config.get("dropout", 0.0)
        self._be(layer)

    def _be(self, layer: Layer) -> None:
        self._layer = layer
        self._callee = layer.describe(self.client)

    def __setstate__(self, state: Any) -> None:
        """Behind pickle: the process may be another one."""
        super().__setstate__(state)
        self._be(self._layer)
        _operator.adopt(self.client, given=False)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """A call; or its record by torch.fx, for which it is a leaf.

        So train(), eval(), hooks and torch.autocast are those of the graph's calls.
        """
        tracer = _operator.fx_tracer((*inputs, *options.values()))
        if tracer is None:
            return super().__call__(*inputs, **options)
        path = tracer.path_of_module(self)
        return tracer.create_proxy("call_module", path, inputs, options)

    def _answer(self, inputs: Any, **options: Any) -> Tuple[Any, Any]:
        """Compute, or record the call where PyTorch makes a graph of it."""
        given = (*inputs, *options.values())
        if _operator.fx_tracer(given) is not None:
            raise RuntimeError(
                "torch.fx records a layer on a server as a whole: trace a model that "
                "has it as a part, and calls it"
            )
        refuse_nested(inputs, AssertionError)
        seed = dropout_seed(self.training, self._dropout_probability)
        if _operator.is_traced(given):
            return _operator.call(self._callee, inputs, seed, self.training, options)
        modes = modes_of(inputs[0], self.training)
        return self._layer.answer(self.client, inputs, options, modes, seed)

    def __prepare_scriptable__(self) -> Any:
        """Behind torch.jit.script, which compiles source code."""
        raise RuntimeError(
            f"{type(self).__name__} calls a server, which TorchScript cannot: use "
            "torch.jit.trace, torch.export or torch.compile, which record the call"
        )

    def _apply(self, function: Any, *args: Any, **options: Any) -> Any:
        """Behind half(), to(), cuda(), ...: what such a layer would then take.

        The weights on the server stay as they are.
        """
        super()._apply(function, *args, **options)
        stand_in = self._layer.stand_in.converted(function)
        self._be(type(self._layer)(self.module_name, stand_in))
        return self

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, *args: Any, **options: Any
    ) -> None:
        """Behind load_state_dict(): for strict, none of its weights is expected."""
        super()._load_from_state_dict(state_dict, prefix, *args, **options)
        if any(name.startswith(prefix) for name in state_dict):
            warnings.warn(
                f"{prefix[:-1] or 'this layer'} is served as {self.module_name!r} at "
                f"{self.client.target!r}: its weights are not replaced. Load them into "
                "the model, then offload it.",
                stacklevel=2,
            )

    def unload(self) -> None:
        """Stop serving the module, for everyone who uses it."""
        try:
            self.client.modules.unload(self.module_name)
        except errors.UnknownModuleError:
            pass

    def extra_repr(self) -> str:
        """See torch.nn.Module."""
        return f"{self.module_name!r} at {self.client.target!r}"

    def __getattr__(self, name: str) -> Any:
        """What is not its own is as the layer it stands for: embed_dim, ...

        Weights have shape, dtype and device, but no values, and parts cannot be
        called alone: RuntimeError.
        """
        try:
            return super().__getattr__(name)
        except AttributeError:
            layer = self.__dict__.get("_layer")
            if layer is None or name.startswith("__"):
                raise
        return getattr(layer.stand_in.layer, name)


class _NoGradient(torch.autograd.Function):
    """The identity, through which no gradient passes."""

    @staticmethod
    def forward(ctx: Any, name: str, tensor: Any, *_: Any) -> Any:
        ctx.name = name
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise _operator.no_gradient(ctx.name)


def compute(client: AttentionClient, request: ForwardRequest) -> Tuple[Any, Any]:
    """Output and weights of a request whose arrays are tensors.

    A backward pass through them raises RuntimeError.
    """
    result = client.compute(request)
    tensors: Tuple[Any, ...] = (
        request.query,
        request.key,
        request.value,
        request.attn_mask,
        request.key_padding_mask,
    )
    inputs = [t for t in tensors if torch.is_tensor(t) and t.requires_grad]
    output, weights = result.output, result.weights
    if inputs and torch.is_grad_enabled():
        output = _NoGradient.apply(request.module, output, *inputs)
        if weights is not None:
            weights = _NoGradient.apply(request.module, weights, *inputs)
    return output, weights


def module_config(
    kind: str, config: Dict[str, Any], compute_dtype: str
) -> Dict[str, Any]:
    """The ModuleConfig of a kind's; ValueError for another dtype."""
    if compute_dtype not in ("float32", "bfloat16"):
        raise ValueError(
            f"compute_dtype: expected 'float32' or 'bfloat16', got {compute_dtype!r}"
        )
    if compute_dtype == "float32":
        return {kind: config}
    return {kind: config, "compute_dtype": "COMPUTE_DTYPE_BFLOAT16"}


_HOOKS = (
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
)


def hooks(module: nn.Module) -> Dict[str, Any]:
    """What is to be called before and after a module's forward."""
    given = {name: getattr(module, name, None) for name in _HOOKS}
    return {name: each for name, each in given.items() if each}


def connect(target: Target) -> AttentionClient:
    """The client of a target."""
    return target if isinstance(target, AttentionClient) else AttentionClient(target)


def serve(
    client: AttentionClient,
    config: Mapping[str, Any],
    state_dict: Mapping[str, Any],
    *,
    name: Optional[str] = None,
    replace: bool = False,
) -> str:
    """Upload a module; returns its name.

    Without a name it gets one that is a function of its content, and a module that
    is there under it already is used.
    """
    if name is not None:
        client.upload(name, config, state_dict, replace=replace)
        return name
    name = _modules.content_name("torch", config, state_dict)
    if not _is_served(client, name):
        try:
            client.upload(name, config, state_dict)
        except errors.ModuleExistsError:  # Somebody else was faster.
            pass
    return name


def _is_served(client: AttentionClient, name: str) -> bool:
    try:
        return client.modules.get(name).state == "ready"
    except errors.UnknownModuleError:
        return False


def layer_config(client: AttentionClient, name: str, kind: str) -> Tuple[Any, Any]:
    """Configuration and dtype of a served module; ValueError for another kind."""
    info = client.modules.get(name)
    if kind not in info.config:
        kinds = ", ".join(k for k in info.config if k != "compute_dtype") or "none"
        raise ValueError(f"module {name!r}: expected the kind {kind}, got {kinds}")
    return info.config[kind], getattr(torch, info.weights_dtype)


def stored_dtype(layer: nn.Module) -> Dict[str, str]:
    """The part of a configuration that says what parameters are stored in.

    Empty where they agree; else the dtype that holds them all exactly.
    """
    dtypes = {parameter.dtype for parameter in layer.parameters()}
    if len(dtypes) < 2:
        return {}
    widest = functools.reduce(torch.promote_types, dtypes)
    return {"dtype": f"DATA_TYPE_{dtype_name(widest).upper()}"}


def dtype_name(dtype: torch.dtype) -> str:
    """Such as "float32"."""
    return str(dtype).replace("torch.", "")


def in_dtype(inputs: Tuple[Any, ...], dtype: torch.dtype) -> Any:
    """The inputs in a dtype; what is one object stays one, for its bytes."""
    converted = {id(tensor): tensor.to(dtype) for tensor in inputs}
    return [converted[id(tensor)] for tensor in inputs]


def dropout_seed(training: bool, dropout: float) -> Optional[torch.Tensor]:
    """The seed of a call, drawn by PyTorch's generator; None without dropout."""
    if not training or dropout == 0.0:
        return None
    return torch.randint(0, 2**63 - 1, (), dtype=torch.int64, device="cpu")


def dropout_options(seed: Optional[torch.Tensor]) -> Any:
    """Options of a request with a seed."""
    return {} if seed is None else {"training": True, "dropout_seed": int(seed)}


def mask_options(stand_in: StandIn, mask: Any, is_causal: bool, decided: bool) -> Any:
    """Options for an attn_mask with torch's hint.

    Where torch would let the hint replace the mask, it need not be sent. `decided`
    says that it would not: weights or a key_padding_mask are there.
    """
    attention = getattr(stand_in.layer, "self_attn", stand_in.layer)
    appends = attention.bias_k is not None or attention.add_zero_attn
    if is_causal and not decided and not appends:
        return {"causal": "top_left"}
    return {"attn_mask": mask, "is_causal": is_causal and mask is not None}
