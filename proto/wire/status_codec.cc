// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/status_codec.h"

#include <cstddef>
#include <string>
#include <string_view>

#include "core/tensor/status_text.h"

namespace attention {
namespace {

// Trailers share the 8 KiB that many clients allow for metadata, and bytes
// outside ASCII are percent-encoded to three.
constexpr std::size_t kMaxTextBytes = 1000;

// Return the length of the well-formed UTF-8 sequence `text` begins with, or 0.
// Source: The Unicode Standard 15.0, table 3-7.
std::size_t Utf8SequenceLength(std::string_view text) {
  const auto byte = [text](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  const std::size_t length = lead >= 0xC2 && lead <= 0xDF   ? 2
                             : lead >= 0xE0 && lead <= 0xEF ? 3
                             : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                            : 0;
  for (std::size_t i = 1; i < length; ++i) {
    unsigned low = 0x80;
    unsigned high = 0xBF;
    if (i == 1) {
      if (lead == 0xE0) low = 0xA0;
      if (lead == 0xED) high = 0x9F;
      if (lead == 0xF0) low = 0x90;
      if (lead == 0xF4) high = 0x8F;
    }
    if (byte(i) < low || byte(i) > high) return 0;
  }
  return length;
}

std::string ToTrailerText(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const std::size_t length = Utf8SequenceLength(text);
    const std::string_view next = length > 0 ? text.substr(0, length) : "?";
    if (result.size() + next.size() > kMaxTextBytes) break;
    result += next;
    text.remove_prefix(length > 0 ? length : 1);
  }
  return result;
}

// Both enumerations carry the numbers of google.rpc.Code.
static_assert(static_cast<int>(absl::StatusCode::kOk) == grpc::OK);
static_assert(static_cast<int>(absl::StatusCode::kCancelled) ==
              grpc::CANCELLED);
static_assert(static_cast<int>(absl::StatusCode::kUnauthenticated) ==
              grpc::UNAUTHENTICATED);

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(status.raw_code()),
          ToTrailerText(StatusText(status))};
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const int code = status.error_code();
  const bool known = code > grpc::OK && code <= grpc::UNAUTHENTICATED;
  return {
      known ? static_cast<absl::StatusCode>(code) : absl::StatusCode::kUnknown,
      status.error_message()};
}

}  // namespace attention
