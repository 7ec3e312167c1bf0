// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "core/tensor/tensor.h"

namespace grpc {
class ByteBuffer;
}  // namespace grpc

namespace attention {

namespace v1 {
class ForwardResponse;
}  // namespace v1

/// Where the server spent its time on one request.
struct ServerTiming {
  std::chrono::nanoseconds decode{};   ///< parsing and validating
  std::chrono::nanoseconds queue{};    ///< waiting for the executor
  std::chrono::nanoseconds compute{};  ///< computing
};

/// Answer of one forward pass.
///
/// Owns the response message; the views borrow from it and live as long as any
/// copy of the result. Copies are cheap and share the message.
/// Immutable, so thread-safe.
class ForwardResult {
 public:
  /// Check a response and take it over.
  /// \return INTERNAL when the server's answer is malformed.
  [[nodiscard]] static absl::StatusOr<ForwardResult> Create(
      std::shared_ptr<const v1::ForwardResponse> response);

  /// Shape and dtype of the query, last dimension E.
  [[nodiscard]] const TensorView& output() const { return output_; }
  /// (N, L, S'), per head (N, H, L, S'); unbatched (L, S') or (H, L, S'); unset
  /// when not asked for.
  [[nodiscard]] const std::optional<TensorView>& weights() const {
    return weights_;
  }
  /// Version of the module that computed this.
  [[nodiscard]] std::uint64_t module_version() const;
  /// Requests computed together with this one, itself included.
  [[nodiscard]] std::uint32_t batch_size() const;
  [[nodiscard]] ServerTiming timing() const;

 private:
  ForwardResult() = default;

  std::shared_ptr<const v1::ForwardResponse> response_;
  TensorView output_;
  std::optional<TensorView> weights_;
};

/// A serialised request; immutable, so thread-safe; copies share the bytes.
class PreparedForward {
 public:
  explicit PreparedForward(std::shared_ptr<const grpc::ByteBuffer> bytes)
      : bytes_(std::move(bytes)) {}
  [[nodiscard]] const grpc::ByteBuffer& bytes() const { return *bytes_; }
  /// Size of the message in bytes.
  [[nodiscard]] std::size_t num_bytes() const;

 private:
  std::shared_ptr<const grpc::ByteBuffer> bytes_;
};

/// An answer as it came over the wire. Immutable, so thread-safe.
class ForwardReply {
 public:
  explicit ForwardReply(std::shared_ptr<grpc::ByteBuffer> bytes)
      : bytes_(std::move(bytes)) {}
  /// Parse the answer. Cost: one copy of it.
  /// \return INTERNAL when the server's answer is malformed.
  [[nodiscard]] absl::StatusOr<ForwardResult> Decode() const;

 private:
  std::shared_ptr<grpc::ByteBuffer> bytes_;
};

}  // namespace attention
