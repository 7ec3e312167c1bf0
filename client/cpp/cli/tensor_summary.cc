// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/cli/tensor_summary.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "client/cpp/cli/tensor_values.h"
#include "core/tensor/format_text.h"

namespace attention {

std::string SummarizeTensor(std::string_view name, const TensorView& tensor) {
  constexpr std::size_t kBlock = 4096;
  constexpr std::size_t kNumFirst = 6;
  const auto total = static_cast<std::size_t>(tensor.shape.num_elements());
  std::string first_values;
  double sum = 0.0;
  double least = std::numeric_limits<double>::infinity();
  double greatest = -least;
  std::size_t num_nan = 0;
  for (std::size_t first = 0; first < total; first += kBlock) {
    for (const double value :
         ReadValues(tensor, first, std::min(kBlock, total - first))) {
      if (std::isnan(value)) {
        ++num_nan;
        continue;
      }
      sum += value;
      least = std::min(least, value);
      greatest = std::max(greatest, value);
    }
  }
  for (const double value : ReadValues(tensor, 0, std::min(kNumFirst, total))) {
    first_values +=
        FormatText("{}{:.6g}", first_values.empty() ? "" : ", ", value);
  }
  std::string text = FormatText(
      "{}: {} {}\n  first [{}{}]", name, DataTypeName(tensor.dtype),
      tensor.shape.ToString(), first_values, total > kNumFirst ? ", ..." : "");
  if (total > num_nan) {
    text +=
        FormatText("  mean {:.6g}  min {:.6g}  max {:.6g}",
                   sum / static_cast<double>(total - num_nan), least, greatest);
  }
  if (num_nan > 0) text += FormatText("  NaN {} of {}", num_nan, total);
  return text + '\n';
}

}  // namespace attention
