// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/json.h"

#include <google/protobuf/util/json_util.h>

#include <format>

namespace attention {

absl::Status ParseJson(std::string_view json,
                       google::protobuf::Message* message) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = false;
  const auto status = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(json.data(), json.size()), message,
      options);
  if (status.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(std::format(
      "not the JSON form of {}: {}", message->GetDescriptor()->name(),
      std::string_view(status.message().data(), status.message().size())));
}

}  // namespace attention
