// SPDX-License-Identifier: Apache-2.0
#include "proto/wire/json.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/json_util.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/tensor/format_text.h"
#include "core/tensor/quote.h"
#include "core/usage/usage_text.h"

namespace attention {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;

// "; did you mean 'b'? It has a, b or c"
std::string Instead(const std::string& word,
                    const std::vector<std::string>& names) {
  const std::string nearest = DidYouMean(word, names);
  return FormatText("{} It has {}", nearest.empty() ? "." : nearest,
                    OneOf(names));
}

std::string WrongField(const Descriptor& type, const std::string& key) {
  std::vector<std::string> names;
  for (int i = 0; i < type.field_count(); ++i) {
    names.push_back(type.field(i)->name());
  }
  return FormatText("{} has no field {}{}", type.name(), Quote(key),
                    Instead(key, names));
}

std::string WrongEnumValue(const FieldDescriptor& field,
                           const std::string& word) {
  const EnumDescriptor& type = *field.enum_type();
  if (type.FindValueByName(word) != nullptr) return {};
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    names.push_back(type.value(i)->name());
  }
  return FormatText("{} has no value {}{}", field.name(), Quote(word),
                    Instead(word, names));
}

// Say which name in a message's JSON is none of the proto's; empty where all
// are. Descends as messages do, of which none holds itself.
std::string WrongName(const Descriptor& type, const nlohmann::json& object) {
  for (const auto& [key, value] : object.items()) {
    const FieldDescriptor* field = type.FindFieldByName(key);
    if (field == nullptr) field = type.FindFieldByCamelcaseName(key);
    if (field == nullptr) return WrongField(type, key);
    std::string wrong;
    if (field->enum_type() != nullptr && value.is_string()) {
      wrong = WrongEnumValue(*field, value.get<std::string>());
    } else if (field->message_type() != nullptr && !field->is_map() &&
               value.is_object()) {
      wrong = WrongName(*field->message_type(), value);
    }
    if (!wrong.empty()) return wrong;
  }
  return {};
}

}  // namespace

absl::Status ParseJson(std::string_view json,
                       google::protobuf::Message* message) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = false;
  const auto status = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(json.data(), json.size()), message,
      options);
  if (status.ok()) return absl::OkStatus();
  const Descriptor& type = *message->GetDescriptor();
  const auto parsed = nlohmann::json::parse(json, /*cb=*/nullptr,
                                            /*allow_exceptions=*/false);
  if (parsed.is_object()) {
    const std::string wrong = WrongName(type, parsed);
    if (!wrong.empty()) return absl::InvalidArgumentError(wrong);
  }
  return absl::InvalidArgumentError(FormatText(
      "not the JSON form of {}: {}", type.name(),
      std::string_view(status.message().data(), status.message().size())));
}

}  // namespace attention
