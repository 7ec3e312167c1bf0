// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "attention/v1/attention_service.pb.h"
#include "attention/v1/module_service.pb.h"
#include "core/attention/config.h"
#include "core/tensor/tensor.h"

namespace attention::testing {

/// A module of reproducible weights, as a client has it.
struct TestModule {
  MultiHeadAttentionConfig config;
  std::string file;  ///< safetensors

  /// Header of its upload under a name.
  [[nodiscard]] v1::UploadModuleHeader Header(const std::string& name) const;

  /// The messages of its upload, serialised: the header and the whole file.
  [[nodiscard]] std::vector<std::string> UploadMessages(
      const v1::UploadModuleHeader& header) const;
};

/// \param embed_dim a multiple of 2, the number of heads.
[[nodiscard]] TestModule MakeTestModule(std::int64_t embed_dim = 8,
                                        std::uint64_t seed = 1);
/// One with weights of another dtype.
[[nodiscard]] TestModule MakeTestModule(DataType dtype);

/// A request for self-attention of (length, 1, embed_dim).
[[nodiscard]] v1::ForwardRequest MakeRequest(const std::string& module,
                                             std::int64_t length = 3,
                                             std::int64_t embed_dim = 8);

/// Compute a request as the reference implementation does.
[[nodiscard]] Tensor ReferenceOutput(const TestModule& module,
                                     const v1::ForwardRequest& request);

}  // namespace attention::testing
