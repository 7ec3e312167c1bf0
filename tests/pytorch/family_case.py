# SPDX-License-Identifier: Apache-2.0
"""What the random cases of every family of modules share."""

import random

import torch

import implementations
import judge

# Drawn in turn, so that each is in at least a seventh of the cases.
_DTYPES = [
    torch.float32,
    torch.float32,
    torch.float32,
    torch.float32,
    torch.float64,
    torch.bfloat16,
    torch.float16,
]
_LONGEST = 150
_EDGES = [1, 255, 256, 257, 511, 512]


def at_least(count, *values):
    """Requirements of coverage for the values of one parameter."""
    return dict.fromkeys(values, count)


WIDTHS_REQUIRED = at_least(10, 1, 257, 512)
DTYPES_REQUIRED = at_least(30, "float32", "float64", "bfloat16", "float16")


class FamilyCase:
    """Module and inputs number `index` of a family and a seed.

    `kind` and `config` are the ModuleConfig, `module` PyTorch's module,
    `tensors` what is uploaded, with `header`, and `inputs` the fields of the
    ForwardRequest, of the module's dtype. `features` are the values of the
    parameters of `required`.
    """

    family = ""
    kind = ""
    count = 240  # of cases that cover what is required
    required = {}

    def __init__(self, seed, index):
        self._seed, self._index = f"{seed}/{self.family}", index
        self.random = random.Random(f"{self._seed}/{index}")
        torch.manual_seed(self.random.getrandbits(63))
        self.features, self.header = {}, {}
        self.first_sequence = 0  # of those the module is being run on
        self.dtype = self.even("dtype", _DTYPES)
        self.features["dtype"] = str(self.dtype).removeprefix("torch.")
        self.draw()

    def draw(self):
        """Set kind, config, module, tensors, inputs and features."""
        raise NotImplementedError

    def expected(self, module, inputs):
        """PyTorch's (output, weights or None)."""
        raise NotImplementedError

    @property
    def implementation(self):
        """What GetModule is to name."""
        by_reference = self.dtype == torch.float64
        return (
            implementations.REFERENCE
            if by_reference
            else implementations.ONEDNN
        )

    def judged(self, inputs):
        """What an answer to `inputs` is compared with: that of the module, or
        of its float64 self unless both are of float32."""
        module = self.module
        if inputs["query"].dtype != torch.float32:
            module, inputs = judge.widen(module, inputs)
        return self.expected(module, inputs)

    def check(self, answer, inputs):
        """Compare an answer with PyTorch's; AssertionError when they differ."""
        dtype = inputs["query"].dtype
        for name, tensor in answer._asdict().items():
            if tensor is not None and tensor.dtype != dtype:
                raise AssertionError(f"{name} is {tensor.dtype}, not {dtype}")
        tolerance = judge.DEFAULT_TOLERANCES[dtype]
        judge.compare(answer, self.judged(inputs), tolerance)

    def describe(self):
        """Configuration and inputs in a few lines."""
        lines = [f"{self.kind} {self.config}"]
        if self.header:
            lines.append(f"  header: {self.header}")
        for name, value in self.inputs.items():
            if torch.is_tensor(value):
                value = f"{value.dtype} {tuple(value.shape)}"
            lines.append(f"  {name}: {value}")
        return "\n".join(lines)

    # Drawing

    def even(self, name, values):
        """A value for a parameter such that any len(values) cases in a row get
        each once, in an order of their own."""
        turn, place = divmod(self._index, len(values))
        order = list(values)
        random.Random(f"{self._seed}/{name}/{turn}").shuffle(order)
        self.features[name] = order[place]
        return order[place]

    def chance(self, probability):
        return self.random.random() < probability

    def size(self, largest):
        """From 1 to largest; more often small, or about 256 or 512."""
        if largest >= _EDGES[-1] and self.chance(0.08):
            return self.random.choice(_EDGES)
        return int((largest + 1) ** self.random.random())

    def length(self):
        return 0 if self.chance(0.02) else self.size(_LONGEST)

    def width(self):
        """E, from 1 to 512, and H; at times one feature per head."""
        width = self.even("E", ["any"] * 12 + [1, 257, 512])
        if width != "any":
            divisors = [d for d in range(1, 17) if width % d == 0]
            return width, self.random.choice(divisors)
        if self.chance(0.08):
            width = self.size(32)
            return width, width
        num_heads = self.random.randint(1, 9)
        return num_heads * self.size(512 // num_heads), num_heads

    def normal(self, *shape):
        return torch.randn(shape, dtype=torch.float64).to(self.dtype)

    def config_dtype(self):
        """Whether a config names its dtype makes no difference."""
        return {"dtype": self.dtype} if self.chance(0.5) else {}


def store(case, state, renamed=None, transposed=False):
    """Upload `state` under other names, at times as part of a larger model."""
    prefix = case.even("weights_prefix", ["", "", "model.attention."])
    case.tensors = {
        prefix + name: tensor.T if transposed and tensor.dim() == 2 else tensor
        for name, tensor in state.items()
    }
    if prefix:
        case.header["weights_prefix"] = prefix
        case.tensors["model.head.weight"] = torch.randn(3, 2)
    if renamed or transposed:
        names = {"renamed": renamed or {}, "transposed": transposed}
        case.header["weight_names"] = names


def rename(state, renamed):
    """The tensors under the names that WeightNames.renamed gives them, for maps
    in which each name has but one match."""
    tensors = {}
    for name, tensor in state.items():
        for own, other in renamed.items():
            if f"{name}.".startswith(f"{own}."):
                name = other + name[len(own) :]
                break
        tensors[name] = tensor
    return tensors
