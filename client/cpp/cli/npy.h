// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "core/tensor/tensor.h"

namespace attention {

/// Read an array in NumPy's .npy format, versions 1.0, 2.0 and 3.0.
///
/// Strict: little-endian, C order, dtypes f2, f4, f8, b1, i4 and i8, a header
/// of at most 64 KiB with exactly the three keys of the format, and data of
/// exactly the length the header says.
/// \return INVALID_ARGUMENT saying what is wrong and, where NumPy can mend it,
///   how. Thread-safe.
/// Source:
/// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
[[nodiscard]] absl::StatusOr<Tensor> ParseNpy(std::span<const std::byte> file);

/// Lay out a tensor as a .npy file, version 1.0; its data is aligned to 64
/// bytes from the start of the file.
/// \return INVALID_ARGUMENT for bfloat16, which the format does not know.
[[nodiscard]] absl::StatusOr<std::string> SerializeNpy(
    const TensorView& tensor);

}  // namespace attention
