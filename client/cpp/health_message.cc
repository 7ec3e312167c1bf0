// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/health_message.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/wire_format_lite.h>

#include <limits>

#include "absl/status/status.h"

namespace attention {
namespace {

using google::protobuf::internal::WireFormatLite;

// Both messages have one field, of this number.
constexpr int kFieldNumber = 1;

}  // namespace

std::string EncodeHealthCheckRequest(std::string_view service) {
  std::string message;
  {
    google::protobuf::io::StringOutputStream stream(&message);
    google::protobuf::io::CodedOutputStream output(&stream);
    WireFormatLite::WriteString(kFieldNumber, std::string(service), &output);
  }
  return message;
}

absl::StatusOr<std::int64_t> DecodeHealthCheckResponse(
    std::string_view message) {
  const absl::Status malformed = absl::InternalError(
      "malformed answer from the server: not a HealthCheckResponse");
  if (message.size() > std::numeric_limits<int>::max()) return malformed;
  google::protobuf::io::CodedInputStream input(
      reinterpret_cast<const std::uint8_t*>(message.data()),
      static_cast<int>(message.size()));
  constexpr std::uint32_t kStatusTag =
      WireFormatLite::MakeTag(kFieldNumber, WireFormatLite::WIRETYPE_VARINT);
  std::uint64_t status = 0;
  while (const std::uint32_t tag = input.ReadTag()) {
    const bool read = tag == kStatusTag
                          ? input.ReadVarint64(&status)
                          : WireFormatLite::SkipField(&input, tag);
    if (!read) return malformed;
  }
  if (!input.ConsumedEntireMessage()) return malformed;
  return static_cast<std::int64_t>(status);
}

}  // namespace attention
