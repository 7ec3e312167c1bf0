// SPDX-License-Identifier: Apache-2.0
#include "client/cpp/attention_client.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/channel_arguments.h>

#include <cstring>
#include <future>
#include <utility>

#include "client/cpp/connection.h"
#include "client/cpp/health_message.h"
#include "client/cpp/target.h"
#include "core/tensor/format_text.h"
#include "core/tensor/round_up.h"
#include "core/tensor/status_macros.h"
#include "proto/wire/forward_codec.h"
#include "proto/wire/module_codec.h"
#include "proto/wire/request_slices.h"

namespace attention {
namespace {

// What protobuf can serialise, less room for the fields that are not tensors.
constexpr std::size_t kMaxTensorBytes =
    std::numeric_limits<std::int32_t>::max() - std::size_t{1} * 1024 * 1024;

grpc::ChannelArguments ToChannelArguments(const ClientOptions& options,
                                          std::string_view target) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(options.max_receive_bytes);
  arguments.SetMaxSendMessageSize(-1);
  // Clients of one process that name the same target would otherwise share a
  // connection, and with it HTTP/2's flow control.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // gRPC would ask the proxy of http_proxy for every target, and only names in
  // no_proxy not.
  if (IsLocalTarget(target)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  for (const auto& [name, value] : options.channel_args) {
    if (const int* number = std::get_if<int>(&value)) {
      arguments.SetInt(name, *number);
    } else {
      arguments.SetString(name, std::get<std::string>(value));
    }
  }
  return arguments;
}

// Check that the request can be serialised before anything is copied.
absl::Status CheckSize(const AttentionInputs& inputs) {
  std::size_t num_bytes =
      (inputs.query_lengths.size() + inputs.key_lengths.size()) *
      sizeof(std::int64_t);
  for (const TensorView* tensor : TensorsOf(inputs)) {
    if (tensor != nullptr) num_bytes += tensor->num_bytes();
  }
  if (num_bytes <= kMaxTensorBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(FormatText(
      "the request's tensors take {} bytes, expected at most {}, which one "
      "message can hold; split the batch, or use a causal mask (--causal) or "
      "valid lengths (--valid-lens) in place of masks as tensors",
      num_bytes, kMaxTensorBytes));
}

// A request's tensors, one behind the other in memory of its own.
class CopiedInputs {
 public:
  explicit CopiedInputs(const AttentionInputs& inputs) : inputs_(inputs) {
    std::size_t num_bytes = 0;
    for (const TensorView* tensor : TensorsOf(inputs)) {
      if (tensor == nullptr) continue;
      num_bytes += RoundUp(tensor->num_bytes(), kTensorAlignment);
    }
    memory_ = AlignedBuffer(num_bytes);
    std::byte* to = memory_.data();
    for (const TensorView* tensor : TensorsOf(inputs_)) {
      if (tensor == nullptr) continue;
      auto& copy = const_cast<TensorView&>(*tensor);  // inputs_' own
      if (copy.num_bytes() > 0) std::memcpy(to, copy.data, copy.num_bytes());
      copy.data = to;
      to += RoundUp(copy.num_bytes(), kTensorAlignment);
    }
  }

  [[nodiscard]] const AttentionInputs& inputs() const { return inputs_; }

 private:
  AttentionInputs inputs_;
  AlignedBuffer memory_;
};

// What one asynchronous call needs until it is answered; owns itself.
struct AsyncCall {
  grpc::ClientContext context;
  PreparedForward request;
  std::shared_ptr<grpc::ByteBuffer> response =
      std::make_shared<grpc::ByteBuffer>();
  std::stop_callback<std::function<void()>> on_stop;

  AsyncCall(const PreparedForward& prepared, const std::stop_token& stop)
      : request(prepared), on_stop(stop, [this] { context.TryCancel(); }) {}
};

std::string ToString(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return {};
  std::string text;
  for (const grpc::Slice& slice : slices) {
    text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return text;
}

}  // namespace

AttentionClient::AttentionClient(std::shared_ptr<const Connection> connection)
    : connection_(std::move(connection)) {}

absl::StatusOr<AttentionClient> AttentionClient::Create(
    std::string target, const ClientOptions& options) {
  ATTENTION_RETURN_IF_ERROR(CheckTarget(target));
  std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(),
                                ToChannelArguments(options, target));
  return FromChannel(std::move(channel), std::move(target), options);
}

AttentionClient AttentionClient::FromChannel(
    std::shared_ptr<grpc::ChannelInterface> channel, std::string target,
    const ClientOptions& options) {
  return AttentionClient(
      Connection::Make(std::move(channel), std::move(target), options));
}

absl::StatusOr<ForwardResult> AttentionClient::Forward(
    std::string_view module, const AttentionInputs& inputs) const {
  ATTENTION_ASSIGN_OR_RETURN(const PreparedForward request,
                             Prepare(module, inputs));
  return Send(request, /*into=*/nullptr);
}

absl::StatusOr<ForwardResult> AttentionClient::Forward(
    const PreparedForward& request) const {
  return Send(request, /*into=*/nullptr);
}

absl::StatusOr<ForwardResult> AttentionClient::ForwardInto(
    const PreparedForward& request, const AttentionOutputs& outputs) const {
  return Send(request, &outputs);
}

absl::StatusOr<ForwardResult> AttentionClient::Send(
    const PreparedForward& request, const AttentionOutputs* into) const {
  grpc::ClientContext context;
  connection_->Prepare(context);
  grpc::ByteBuffer response;
  ATTENTION_RETURN_IF_ERROR(connection_->ToStatus(
      connection_->Forward(context, request.bytes(), &response)));
  return ForwardResult::Parse(response, into);
}

absl::StatusOr<PreparedForward> AttentionClient::Prepare(
    std::string_view module, const AttentionInputs& inputs) {
  ATTENTION_RETURN_IF_ERROR(CheckSize(inputs));
  const auto copy = std::make_shared<CopiedInputs>(inputs);
  return Prepare(module, copy->inputs(), copy);
}

absl::StatusOr<PreparedForward> AttentionClient::Prepare(
    std::string_view module, const AttentionInputs& inputs,
    const std::shared_ptr<const void>& owner) {
  ATTENTION_RETURN_IF_ERROR(CheckSize(inputs));
  return PreparedForward(std::make_shared<grpc::ByteBuffer>(
      SerializeForwardRequest(module, inputs, Connection::LetGoOf(owner))));
}

void AttentionClient::ForwardAsync(
    const PreparedForward& request,
    std::function<void(absl::StatusOr<ForwardReply>)> done,
    const std::stop_token& stop) const {
  auto call = std::make_shared<AsyncCall>(request, stop);
  AsyncCall& begun = *call;
  connection_->Prepare(begun.context);
  connection_->generic().UnaryCall(
      &begun.context, Connection::kForwardMethod, {}, &begun.request.bytes(),
      begun.response.get(),
      [call = std::move(call), connection = connection_,
       done = std::move(done)](const grpc::Status& status) mutable {
        const Connection::Callback callback;
        const auto owned_connection = std::move(connection);
        const auto owned_call = std::move(call);
        if (status.ok()) {
          done(ForwardReply(owned_call->response));
        } else {
          done(owned_connection->ToStatus(status));
        }
        done = nullptr;  // it may own a client
      });
}

absl::StatusOr<std::vector<ModuleDescription>> AttentionClient::ListModules()
    const {
  grpc::ClientContext context;
  connection_->Prepare(context);
  v1::ListModulesResponse response;
  ATTENTION_RETURN_IF_ERROR(connection_->ToStatus(
      connection_->modules().ListModules(&context, {}, &response)));
  std::vector<ModuleDescription> modules;
  for (const v1::ModuleInfo& module : response.modules()) {
    modules.push_back(DecodeModuleDescription(module));
  }
  return modules;
}

absl::StatusOr<ModuleDescription> AttentionClient::GetModule(
    std::string_view name) const {
  grpc::ClientContext context;
  connection_->Prepare(context);
  v1::GetModuleRequest request;
  request.set_name(std::string(name));
  v1::GetModuleResponse response;
  ATTENTION_RETURN_IF_ERROR(connection_->ToStatus(
      connection_->modules().GetModule(&context, request, &response)));
  return DecodeModuleDescription(response.module());
}

absl::StatusOr<ModuleDescription> AttentionClient::LoadModule(
    std::string_view name, bool replace) const {
  grpc::ClientContext context;
  connection_->Prepare(context);
  v1::LoadModuleRequest request;
  request.set_name(std::string(name));
  request.set_replace(replace);
  v1::LoadModuleResponse response;
  ATTENTION_RETURN_IF_ERROR(connection_->ToStatus(
      connection_->modules().LoadModule(&context, request, &response)));
  return DecodeModuleDescription(response.module());
}

absl::Status AttentionClient::UnloadModule(std::string_view name) const {
  grpc::ClientContext context;
  connection_->Prepare(context);
  v1::UnloadModuleRequest request;
  request.set_name(std::string(name));
  v1::UnloadModuleResponse response;
  return connection_->ToStatus(
      connection_->modules().UnloadModule(&context, request, &response));
}

absl::StatusOr<HealthState> AttentionClient::Health(
    std::string_view service) const {
  grpc::ClientContext context;
  connection_->Prepare(context);
  const grpc::Slice slice(EncodeHealthCheckRequest(service));
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer response;
  std::promise<grpc::Status> done;
  connection_->generic().UnaryCall(
      &context, kHealthCheckMethod, {}, &request, &response,
      [&done](grpc::Status status) { done.set_value(std::move(status)); });
  ATTENTION_RETURN_IF_ERROR(connection_->ToStatus(done.get_future().get()));
  ATTENTION_ASSIGN_OR_RETURN(const std::int64_t status,
                             DecodeHealthCheckResponse(ToString(response)));
  constexpr std::int64_t kServingOnTheWire = 1;
  constexpr std::int64_t kNotServingOnTheWire = 2;
  if (status == kServingOnTheWire) return HealthState::kServing;
  if (status == kNotServingOnTheWire) return HealthState::kNotServing;
  return HealthState::kUnknown;
}

}  // namespace attention
