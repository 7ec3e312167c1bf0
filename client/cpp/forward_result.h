// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/statusor.h"
#include "core/attention/request.h"
#include "core/tensor/tensor.h"

namespace grpc {
class ByteBuffer;
}  // namespace grpc

namespace attention {

struct ParsedAnswer;

/// Where the server spent its time on one request.
struct ServerTiming {
  std::chrono::nanoseconds decode{};  ///< parsing and validating
  std::chrono::nanoseconds queue{};   ///< waiting for the executor
  /// Computing, together with the other requests of the batch.
  std::chrono::nanoseconds compute{};
  /// From the message's arrival until the answer is ready to be
  /// written.
  std::chrono::nanoseconds total{};
};

/// Answer of one forward pass.
///
/// Owns its elements, and the views live as long as any copy of the result;
/// unless they went into memory of the caller's, which the views borrow then.
/// Copies are cheap and share the elements. Immutable, so thread-safe.
class ForwardResult {
 public:
  /// Parse an answer as it came over the wire. Cost: one copy of its elements.
  /// \param into where the elements go; null: into memory of the result's own.
  /// \return INTERNAL when the server's answer is malformed, INVALID_ARGUMENT
  ///   when `into` has not its shapes and dtype, or weights where it has none,
  ///   or none where it has some: nothing is written there then.
  [[nodiscard]] static absl::StatusOr<ForwardResult> Parse(
      const grpc::ByteBuffer& message, const AttentionOutputs* into = nullptr);

  /// Shape and dtype of the query, last dimension E.
  [[nodiscard]] const TensorView& output() const;
  /// (N, L, S'), per head (N, H, L, S'); unbatched (L, S') or (H, L, S'); unset
  /// when not asked for.
  [[nodiscard]] const std::optional<TensorView>& weights() const;
  /// Version of the module that computed this.
  [[nodiscard]] std::uint64_t module_version() const;
  /// Requests computed together with this one, itself included.
  [[nodiscard]] std::uint32_t batch_size() const;
  [[nodiscard]] ServerTiming timing() const;

 private:
  explicit ForwardResult(std::shared_ptr<const ParsedAnswer> answer)
      : answer_(std::move(answer)) {}

  std::shared_ptr<const ParsedAnswer> answer_;
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
  /// As ForwardResult::Parse, into memory of the result's own or the caller's.
  [[nodiscard]] absl::StatusOr<ForwardResult> Decode() const;
  [[nodiscard]] absl::StatusOr<ForwardResult> DecodeInto(
      const AttentionOutputs& outputs) const;

 private:
  std::shared_ptr<grpc::ByteBuffer> bytes_;
};

}  // namespace attention
