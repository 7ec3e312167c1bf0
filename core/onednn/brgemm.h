// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <memory>

struct dnnl_brgemm;

namespace attention {

/// A multiplication of small matrices of bfloat16, C = A B or C += A B, by
/// oneDNN's batch-reduce GEMM ukernels, with float32 sums.
///
///   A [rows, depth]     row-major, lda elements from row to row
///   B [depth, columns]  packed by pairs of rows, [depth / 2, ldb, 2]
///   C [rows, columns]   float32, row-major, ldc elements from row to row
///
/// `rows` may differ from call to call: there is a kernel for each power of two
/// up to kMaxRows, and a tile takes the kernels that its height is the sum of.
/// A row's bits do not depend on the height of the kernel that computes it, nor
/// on zeros at the end of `depth`. A call costs some 30 ns; with AMX, another
/// 240 where the kernel differs from the thread's last. (oneDNN 3.7 allocates
/// 40 bytes in each and frees them.) Immutable and thread-safe.
class Brgemm {
 public:
  static constexpr std::int64_t kMaxRows = 64;

  struct Shape {
    std::int64_t columns = 0;
    std::int64_t depth = 0;  ///< even
    std::int64_t lda = 0;
    std::int64_t ldb = 0;  ///< a multiple of 16
    std::int64_t ldc = 0;
    bool accumulate = false;

    friend auto operator<=>(const Shape&, const Shape&) = default;
  };

  /// Compile the kernels, 40 to 100 us each. Throws dnnl::error.
  explicit Brgemm(const Shape& shape);

  /// Compute `rows` rows, any number. Throws dnnl::error. Whoever computes
  /// calls Release() on the same thread when done.
  void Execute(std::int64_t rows, const std::uint16_t* a,
               const std::uint16_t* b, float* c) const;

  /// Let go of the processor's state that kernels have set for the calling
  /// thread (AMX's tiles), if any.
  static void Release();

  /// Whether this machine, as far as oneDNN may use it (ONEDNN_MAX_CPU_ISA),
  /// has such kernels. Found out once, by compiling some.
  [[nodiscard]] static bool IsAvailable();

 private:
  struct Destroy {
    void operator()(dnnl_brgemm* kernel) const;
  };
  using Kernel = std::unique_ptr<dnnl_brgemm, Destroy>;

  [[nodiscard]] static Kernel Compile(const Shape& shape, std::int64_t rows);

  Shape shape_;
  std::array<Kernel, 7> kernels_;  // of 64, 32, ..., 1 rows
};

}  // namespace attention
