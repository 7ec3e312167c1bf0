// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/compute_rows.h"

#include <algorithm>

#include "core/onednn/for_each_item.h"
#include "core/tensor/convert.h"

namespace attention {
namespace {

// Rows that are copied as one item.
constexpr std::size_t kCopiedRows = 64;

}  // namespace

absl::Status ComputeRows(const LinearLayer& layer, const ProjectionRows& rows,
                         ComputePool& pool) {
  return ForEachItem(pool, layer.num_items(rows), layer.scratch_bytes(),
                     [&](std::int64_t item, std::size_t, std::byte* scratch) {
                       layer.Compute(rows, item, scratch);
                     });
}

absl::Status CopyRows(const ProjectionRows& rows, std::int64_t width,
                      const HeadRows& heads, ComputePool& pool) {
  const std::size_t row_bytes =
      static_cast<std::size_t>(width) * DataTypeSize(rows.input.dtype);
  const std::size_t num_items =
      (rows.sources.size() + kCopiedRows - 1) / kCopiedRows;
  return ForEachItem(
      pool, static_cast<std::int64_t>(num_items), CopyRowsScratchBytes(width),
      [&](std::int64_t item, std::size_t, std::byte* scratch) {
        auto* line = reinterpret_cast<float*>(scratch);
        const std::size_t first = static_cast<std::size_t>(item) * kCopiedRows;
        const std::size_t end =
            std::min(first + kCopiedRows, rows.sources.size());
        for (std::size_t t = first; t < end; ++t) {
          LoadReals(rows.input.dtype,
                    rows.input.data +
                        static_cast<std::size_t>(rows.sources[t]) * row_bytes,
                    static_cast<std::size_t>(width), line);
          StoreHeadRow(line, heads, rows.targets[t], width, rows.output);
        }
      });
}

}  // namespace attention
