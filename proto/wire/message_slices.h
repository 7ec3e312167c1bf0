// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/tensor/tensor.h"
#include "proto/wire/forward_outline.h"

namespace attention {

/// A message in the making, of slices in the order they are written; large
/// tensors' elements are not copied. Protobuf takes fields in any order. Not
/// thread-safe.
class MessageSlices {
 public:
  /// Append serialised fields.
  void Append(const std::string& fields);
  /// The same of those of a message, whose memory the slices share.
  void Append(const grpc::ByteBuffer& message);
  /// Append a field that is a Tensor; its elements live as long as `owner`,
  /// which the slices share, also where they are few and copied.
  void AppendTensor(int field, const TensorView& tensor,
                    const std::shared_ptr<const void>& owner);
  /// Make all of this a field of a message whose other fields are `fields`.
  void Wrap(int field, const std::string& fields);

  [[nodiscard]] std::size_t num_bytes() const { return num_bytes_; }
  [[nodiscard]] grpc::ByteBuffer Join() const {
    return {slices_.data(), slices_.size()};
  }

 private:
  void Append(grpc::Slice slice);

  std::vector<grpc::Slice> slices_;
  std::size_t num_bytes_ = 0;
};

/// A range of a message, and where it is wanted.
struct RangeCopy {
  ByteRange range;
  std::byte* to = nullptr;
};

/// Copy ranges of a message, which do not overlap and lie within it, in one
/// pass over its slices, however many these are. Reorders `copies`.
void CopyRanges(grpc::ByteBuffer* message, std::span<RangeCopy> copies);

}  // namespace attention
