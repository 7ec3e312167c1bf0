// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/unknown_methods.h"

#include <algorithm>
#include <string>

#include "core/tensor/catch_bad_alloc.h"
#include "core/tensor/format_text.h"
#include "core/tensor/quote.h"
#include "server/rpc/served_services.h"

namespace attention {
namespace {

void Append(std::string_view name, std::string* list) {
  if (!list->empty()) *list += ", ";
  *list += name;
}

std::string ServiceNames() {
  std::string names;
  for (const auto* service : ServedServices()) {
    Append(service->full_name(), &names);
  }
  return names;
}

std::string MethodNames(const google::protobuf::ServiceDescriptor& service) {
  std::string names;
  for (int i = 0; i < service.method_count(); ++i) {
    Append(service.method(i)->name(), &names);
  }
  return names;
}

// Answers one call. Deletes itself when gRPC is done with it.
class Refusal final : public grpc::ServerGenericBidiReactor {
 public:
  explicit Refusal(const grpc::Status& why) { Finish(why); }

 private:
  void OnDone() override { delete this; }
};

}  // namespace

absl::Status UnknownMethodError(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  if (!path.starts_with('/') || slash == 0) {
    return absl::UnimplementedError(
        FormatText("the path is {}, expected /SERVICE/METHOD", Quote(path)));
  }
  const std::string_view name = path.substr(1, slash - 1);
  const auto service =
      std::ranges::find(ServedServices(), name,
                        [](const auto* served) { return served->full_name(); });
  if (service == ServedServices().end()) {
    return absl::UnimplementedError(
        FormatText("no service {} is served, expected one of: {}", Quote(name),
                   ServiceNames()));
  }
  return absl::UnimplementedError(
      FormatText("{} has no method {}, expected one of: {}", name,
                 Quote(path.substr(slash + 1)), MethodNames(**service)));
}

grpc::ServerGenericBidiReactor* UnknownMethods::CreateReactor(
    grpc::GenericCallbackServerContext* context) {
  Visit visit = door_.Enter(kUnknownMethod, context);
  return new Refusal(visit.Leave(
      CatchBadAlloc([&] { return UnknownMethodError(context->method()); })));
}

}  // namespace attention
