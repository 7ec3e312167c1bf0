// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/served_services.h"

#include "attention/v1/attention_service.pb.h"
#include "attention/v1/module_service.pb.h"
#include "grpc/health/v1/health.pb.h"
#include "grpc/reflection/v1/reflection.pb.h"
#include "grpc/reflection/v1alpha/reflection.pb.h"

namespace attention {
namespace {

// The one service of the file that a message is in.
template <typename Message>
const google::protobuf::ServiceDescriptor* ServiceBeside() {
  return Message::descriptor()->file()->service(0);
}

}  // namespace

const std::vector<const google::protobuf::ServiceDescriptor*>&
ServedServices() {
  static const auto& services =
      *new std::vector<const google::protobuf::ServiceDescriptor*>{
          ServiceBeside<v1::ForwardRequest>(),
          ServiceBeside<v1::GetModuleRequest>(),
          ServiceBeside<grpc::health::v1::HealthCheckRequest>(),
          ServiceBeside<grpc::reflection::v1::ServerReflectionRequest>(),
          ServiceBeside<grpc::reflection::v1alpha::ServerReflectionRequest>(),
      };
  return services;
}

}  // namespace attention
