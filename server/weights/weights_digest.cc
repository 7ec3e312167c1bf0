// SPDX-License-Identifier: Apache-2.0
#include "server/weights/weights_digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/tensor/format_text.h"

namespace attention {
namespace {

/// Incremental SHA-256. Not thread-safe.
class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) {
    Check(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr));
  }

  void Update(std::string_view text) {
    Check(EVP_DigestUpdate(context_.get(), text.data(), text.size()));
  }
  void Update(const Tensor& tensor) {
    Check(EVP_DigestUpdate(context_.get(), tensor.view().data,
                           tensor.num_bytes()));
  }

  /// Lower-case hex.
  [[nodiscard]] std::string Finish() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int size = 0;
    Check(EVP_DigestFinal_ex(context_.get(), digest.data(), &size));
    std::string hex;
    for (const unsigned char byte : std::span(digest).first(size)) {
      hex += FormatText("{:02x}", byte);
    }
    return hex;
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };

  static void Check([[maybe_unused]] int result) {
    assert(result == 1 && "SHA-256 fails only without memory or provider");
  }

  std::unique_ptr<EVP_MD_CTX, Free> context_;
};

std::string Preamble(const WeightSpec& spec, DataType dtype) {
  std::string dims;
  for (const std::int64_t dim : spec.shape.dims()) {
    dims += FormatText("{}{}", dims.empty() ? "" : ",", dim);
  }
  return FormatText("{}\n{}\n{}\n", spec.name, DataTypeName(dtype), dims);
}

}  // namespace

std::string WeightsDigest(const ModuleConfig& config,
                          const ModuleWeights& weights) {
  std::vector<StoredWeight> stored = ListWeights(config, weights);
  std::ranges::sort(
      stored, {}, [](const StoredWeight& weight) { return weight.spec.name; });
  Sha256 hash;
  for (const StoredWeight& weight : stored) {
    hash.Update(Preamble(weight.spec, weights.dtype));
    for (const Tensor* part : weight.parts) hash.Update(*part);
  }
  return hash.Finish();
}

}  // namespace attention
