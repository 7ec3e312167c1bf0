// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>

#include "core/onednn/kernel.h"

namespace attention {

/// What the kernels of one attention tile are compiled for.
struct AttentionShape {
  std::int64_t num_heads = 0;  ///< G, heads computed together
  std::int64_t height = 0;     ///< query rows, one of kTileHeights
  std::int64_t columns = 0;    ///< score columns, padded; at least 1

  friend auto operator<=>(const AttentionShape&,
                          const AttentionShape&) = default;
};

/// Bound on the scratchpad of one attention primitive: with strided operands
/// oneDNN copies a block of keys, at most a few hundred rows of one head.
inline constexpr std::size_t kKernelScratchBytes = std::size_t{1} << 20U;

/// The three primitives of one attention tile. Heads are split by strides: head
/// g of a row-major [rows, E] matrix is its columns [gD, (g+1)D).
///
///   scores   S = Q K^T / sqrt(D)   Q [G, height, D], K [G, columns, D] in rows
///                                  of E; S [G, height, columns] dense
///   softmax  P = softmax(S)        in place, rows of [G * height, columns]
///   values   O = P V               V like K; O like Q
struct AttentionKernels {
  AttentionKernels(const AttentionShape& shape, std::int64_t head_dim,
                   std::int64_t embed_dim);

  MatmulKernel scores;
  SoftmaxKernel softmax;
  MatmulKernel values;
  std::size_t scratchpad_bytes;  ///< enough for any of the three
};

/// Compiles attention kernels on demand and keeps the most recently used.
/// Thread-safe.
class AttentionKernelCache {
 public:
  AttentionKernelCache(std::int64_t head_dim, std::int64_t embed_dim)
      : head_dim_(head_dim), embed_dim_(embed_dim) {}

  /// Return the kernels of a shape, compiling them (about a millisecond) unless
  /// kept. Throws dnnl::error.
  [[nodiscard]] std::shared_ptr<const AttentionKernels> Get(
      const AttentionShape& shape);

  /// Shapes kept; a compiled shape holds about 100 KiB.
  static constexpr std::size_t kCapacity = 256;

 private:
  struct Entry {
    std::shared_ptr<const AttentionKernels> kernels;
    std::list<AttentionShape>::iterator use;
  };

  const std::int64_t head_dim_;
  const std::int64_t embed_dim_;
  std::mutex mutex_;
  std::map<AttentionShape, Entry> entries_;
  std::list<AttentionShape> uses_;  // most recent first
};

}  // namespace attention
