// SPDX-License-Identifier: Apache-2.0
#include "core/fused/patch_sink.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "core/onednn/tile.h"
#include "core/tensor/convert.h"

namespace attention {
namespace {

bool IsAligned(const std::byte* data, std::size_t size) {
  return reinterpret_cast<std::uintptr_t>(data) % size == 0;
}

// Column `column` of float32 rows, if they can be written as they are.
PatchSink::Place PlaceIn(const MutableRows& rows, std::int64_t column) {
  std::byte* to = rows.data + column * rows.element_size();
  if (rows.dtype != DataType::kFloat32 || !IsAligned(to, sizeof(float))) {
    return {};
  }
  return {reinterpret_cast<float*>(to), rows.step};
}

}  // namespace

void StoreRows(const Patch& patch, Epilogue epilogue, const MutableRows& rows,
               std::int64_t column) {
  std::byte* to = rows.data + column * rows.element_size();
  if (IsAligned(to, static_cast<std::size_t>(rows.element_size()))) {
    if (rows.dtype == DataType::kFloat32) {
      return StorePatch(patch, epilogue, reinterpret_cast<float*>(to),
                        rows.step);
    }
    if (rows.dtype == DataType::kBFloat16) {
      return StorePatch(patch, epilogue, reinterpret_cast<std::uint16_t*>(to),
                        rows.step);
    }
  }
  std::array<float, kTileRows> line;
  for (std::int64_t i = 0; i < patch.rows; ++i) {
    Patch one = patch;
    one.values += i * patch.stride;
    one.rows = 1;
    StorePatch(one, epilogue, line.data(), patch.columns);
    StoreReals(line.data(), static_cast<std::size_t>(patch.columns), rows.dtype,
               to + i * rows.row_bytes());
  }
}

void MatrixSink::Store(std::int64_t row, std::int64_t column,
                       const Patch& patch) const {
  StoreRows(patch, epilogue_, rows_.from_row(row), column);
}

PatchSink::Place MatrixSink::Accept(std::int64_t row, std::int64_t column,
                                    std::int64_t /*rows*/,
                                    std::int64_t /*columns*/) const {
  if (epilogue_ != Epilogue::kNone) return {};
  return PlaceIn(rows_.from_row(row), column);
}

void OutputSink::Store(std::int64_t row, std::int64_t column,
                       const Patch& patch) const {
  const PassSequence* place =
      PlaceOf(sequences_, &PassSequence::first_query, row);
  for (std::int64_t first = 0; first < patch.rows; ++place) {
    const Sequence& sequence = *place->sequence;
    const std::int64_t position = row + first - place->first_query;
    Patch part = patch;
    part.values += first * patch.stride;
    part.rows = std::min(patch.rows - first, sequence.query_length - position);
    StoreRows(part, Epilogue::kNone, sequence.output.from_row(position),
              column);
    first += part.rows;
  }
}

// Where one sequence's rows, or several ones' that follow one another without a
// gap, are all of the patch.
PatchSink::Place OutputSink::Accept(std::int64_t row, std::int64_t column,
                                    std::int64_t rows,
                                    std::int64_t /*columns*/) const {
  const PassSequence* place =
      PlaceOf(sequences_, &PassSequence::first_query, row);
  const MutableRows run =
      place->sequence->output.from_row(row - place->first_query);
  const std::byte* end =
      run.row(place->first_query + place->sequence->query_length - row);
  for (const PassSequence* next = place + 1;
       next < sequences_.data() + sequences_.size() &&
       next->first_query < row + rows;
       ++next) {
    const Sequence& sequence = *next->sequence;
    const MutableRows& output = sequence.output;
    if (sequence.query_length == 0) continue;
    if (output.data != end || output.step != run.step ||
        output.dtype != run.dtype) {
      return {};
    }
    end = output.row(sequence.query_length);
  }
  return PlaceIn(run, column);
}

}  // namespace attention
