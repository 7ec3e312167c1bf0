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
  std::int64_t head_dim = 0;        ///< D
  std::int64_t value_head_dim = 0;  ///< Dv
  std::int64_t query_width = 0;     ///< of the rows of the packed matrices
  std::int64_t key_width = 0;
  std::int64_t value_width = 0;
  std::int64_t output_width = 0;
  float scale = 1.0F;
  std::int64_t num_heads = 0;            ///< G, heads computed together
  std::int64_t num_key_value_heads = 0;  ///< of them: G, or 1 for all
  std::int64_t height = 0;               ///< query rows, one of kTileHeights
  std::int64_t columns = 0;              ///< score columns, padded; at least 1

  friend auto operator<=>(const AttentionShape&,
                          const AttentionShape&) = default;
};

/// Bound on the scratchpad of one attention primitive: with strided operands
/// oneDNN copies a block of keys, at most a few hundred rows of one head.
inline constexpr std::size_t kKernelScratchBytes = std::size_t{1} << 20U;

/// The three primitives of one attention tile. Heads are split by strides: head
/// g of a row-major [rows, E] matrix is its columns [gD, (g+1)D).
///
///   scores   S = scale Q K^T   Q [G, height, D], K [G or 1, columns, D] in
///   rows
///                              of the packed matrices; S [G, height, columns]
///                              dense
///   softmax  P = softmax(S)    in place, rows of [G * height, columns]
///   values   O = P V           V like K, O like Q, with Dv
struct AttentionKernels {
  explicit AttentionKernels(const AttentionShape& shape);

  MatmulKernel scores;
  SoftmaxKernel softmax;
  MatmulKernel values;
  std::size_t scratchpad_bytes;  ///< enough for any of the three
};

/// Compiles attention kernels on demand and keeps the most recently used.
/// Thread-safe.
class AttentionKernelCache {
 public:
  /// Return the kernels of a shape, compiling them (about a millisecond) unless
  /// kept. Throws dnnl::error.
  [[nodiscard]] std::shared_ptr<const AttentionKernels> Get(
      const AttentionShape& shape);

  /// Shapes kept; a compiled shape takes up to 0.7 MB (measured with AVX-512).
  static constexpr std::size_t kCapacity = 128;

  /// The cache all modules of the process share.
  [[nodiscard]] static AttentionKernelCache& Process();

 private:
  struct Entry {
    std::shared_ptr<const AttentionKernels> kernels;
    std::list<AttentionShape>::iterator use;
  };

  std::mutex mutex_;
  std::map<AttentionShape, Entry> entries_;
  std::list<AttentionShape> uses_;  // most recent first
};

}  // namespace attention
