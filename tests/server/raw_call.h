// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/support/byte_buffer.h>

#include <memory>
#include <string>
#include <vector>

namespace attention::testing {

/// Call any method with any bytes as its one message.
/// \param answer gets the bytes of the answer, unless it is null.
[[nodiscard]] grpc::Status CallRaw(
    const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
    const grpc::ByteBuffer& message, std::string* answer = nullptr);
[[nodiscard]] grpc::Status CallRaw(
    const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
    const std::string& message, std::string* answer = nullptr);

/// Send messages on any streaming method, half-close and read to its end.
struct RawStreamResult {
  std::vector<std::string> answers;
  grpc::Status status;
};
[[nodiscard]] RawStreamResult StreamRaw(
    const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
    const std::vector<std::string>& messages);

}  // namespace attention::testing
