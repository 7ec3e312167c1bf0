// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <string>

#include "core/tensor/tensor.h"

namespace attention {

/// Tensors by name, such as a state_dict.
using NamedTensors = std::map<std::string, TensorView, std::less<>>;

/// Tensors of a dtype that is none of DataType's: the file's name of it, by
/// tensor name.
using ForeignTensors = std::map<std::string, std::string, std::less<>>;

}  // namespace attention
