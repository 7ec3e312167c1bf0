// SPDX-License-Identifier: Apache-2.0
#include "tests/client/fake_server.h"

#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <cstring>
#include <format>
#include <utility>

namespace attention {
namespace {

void FillUniformWeights(const v1::Tensor& query, bool per_head,
                        v1::Tensor* weights) {
  // (L, E) or (N, L, E): two heads, S = L.
  const int rank = query.shape_size();
  const std::int64_t length = query.shape(rank - 2);
  std::int64_t count = length * length;
  weights->set_dtype(v1::DATA_TYPE_FLOAT32);
  if (rank == 3) {
    weights->add_shape(query.shape(0));
    count *= query.shape(0);
  }
  if (per_head) {
    weights->add_shape(2);
    count *= 2;
  }
  weights->add_shape(length);
  weights->add_shape(length);
  const float weight = 1.0F / static_cast<float>(length);
  std::string* const data = weights->mutable_data();
  for (std::int64_t i = 0; i < count; ++i) {
    data->append(reinterpret_cast<const char*>(&weight), sizeof(weight));
  }
}

}  // namespace

grpc::Status FakeAttentionService::Forward(grpc::ServerContext* /*context*/,
                                           const v1::ForwardRequest* request,
                                           v1::ForwardResponse* response) {
  const std::uint64_t index = num_requests++;
  {
    const std::scoped_lock lock(mutex_);
    last_request_ = *request;
  }
  if (blocks) release.acquire();
  if (!status.ok()) return status;
  v1::Tensor* const output = response->mutable_output();
  *output = request->query();
  if (num_output_elements > 0) {
    output->set_dtype(v1::DATA_TYPE_FLOAT32);
    output->clear_shape();
    output->add_shape(static_cast<std::int64_t>(num_output_elements));
    output->mutable_data()->assign(num_output_elements * sizeof(float), '\0');
  }
  if (is_unsteady) {
    std::memcpy(output->mutable_data()->data(), &index, sizeof(float));
  }
  if (is_malformed) output->mutable_data()->pop_back();
  if (request->need_weights()) {
    const bool per_head =
        request->has_average_attn_weights() && !request->average_attn_weights();
    FillUniformWeights(request->query(), per_head, response->mutable_weights());
  }
  response->set_module_version(3);
  response->set_batch_size(2);
  response->mutable_timing()->set_decode_time_ns(10);
  response->mutable_timing()->set_queue_time_ns(20);
  response->mutable_timing()->set_compute_time_ns(30);
  response->mutable_timing()->set_total_time_ns(70);
  return grpc::Status::OK;
}

grpc::Status FakeAttentionService::ForwardStream(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<v1::ForwardStreamResponse,
                             v1::ForwardStreamRequest>* stream) {
  ++num_streams;
  v1::ForwardStreamRequest request;
  while (stream->Read(&request)) {
    v1::ForwardStreamResponse answer;
    answer.set_id(request.id());
    const grpc::Status failed =
        Forward(context, &request.request(), answer.mutable_response());
    if (!failed.ok()) {
      answer.mutable_error()->set_code(failed.error_code());
      answer.mutable_error()->set_message(failed.error_message());
    }
    stream->Write(answer);
  }
  return grpc::Status::OK;
}

v1::ForwardRequest FakeAttentionService::last_request() {
  const std::scoped_lock lock(mutex_);
  return last_request_;
}

FakeModuleService::FakeModuleService() {
  module.set_name("block");
  module.set_state(v1::MODULE_STATE_READY);
  module.set_version(3);
  module.set_weights_dtype(v1::DATA_TYPE_FLOAT32);
  module.set_compute_dtype(v1::DATA_TYPE_FLOAT32);
  module.set_implementation("fake");
  module.set_memory_bytes(1234);
  module.set_weights_digest("abcd");
  auto* const config = module.mutable_config()->mutable_multi_head_attention();
  config->set_embed_dim(8);
  config->set_num_heads(2);
  config->set_batch_first(true);
}

grpc::Status FakeModuleService::NotFoundUnlessServed(
    const std::string& name) const {
  if (name == module.name()) return grpc::Status::OK;
  return {grpc::StatusCode::NOT_FOUND,
          std::format("there is no module '{}'", name)};
}

grpc::Status FakeModuleService::ListModules(
    grpc::ServerContext* /*context*/, const v1::ListModulesRequest* /*request*/,
    v1::ListModulesResponse* response) {
  *response->add_modules() = module;
  v1::ModuleInfo* const failed = response->add_modules();
  failed->set_name("broken");
  failed->set_state(v1::MODULE_STATE_FAILED);
  failed->set_error("bad weights");
  return grpc::Status::OK;
}

grpc::Status FakeModuleService::GetModule(grpc::ServerContext* /*context*/,
                                          const v1::GetModuleRequest* request,
                                          v1::GetModuleResponse* response) {
  *response->mutable_module() = module;
  return NotFoundUnlessServed(request->name());
}

grpc::Status FakeModuleService::LoadModule(grpc::ServerContext* /*context*/,
                                           const v1::LoadModuleRequest* request,
                                           v1::LoadModuleResponse* response) {
  {
    const std::scoped_lock lock(mutex_);
    last_load_ = *request;
  }
  *response->mutable_module() = module;
  return NotFoundUnlessServed(request->name());
}

grpc::Status FakeModuleService::UploadModule(
    grpc::ServerContext* context,
    grpc::ServerReader<v1::UploadModuleRequest>* reader,
    v1::UploadModuleResponse* response) {
  v1::UploadModuleRequest request;
  if (!reader->Read(&request)) {
    return {grpc::StatusCode::INVALID_ARGUMENT, "no header"};
  }
  FakeUpload upload;
  upload.header = request.header();
  while (reader->Read(&request)) {
    upload.chunk_sizes.push_back(request.data().size());
    upload.bytes += request.data();
    if (upload.bytes.size() > max_upload_bytes) {
      return {grpc::StatusCode::RESOURCE_EXHAUSTED, "the module is too large"};
    }
  }
  upload.was_completed = !context->IsCancelled();
  const std::scoped_lock lock(mutex_);
  last_upload_ = std::move(upload);
  *response->mutable_module() = module;
  return grpc::Status::OK;
}

grpc::Status FakeModuleService::UnloadModule(
    grpc::ServerContext* /*context*/, const v1::UnloadModuleRequest* request,
    v1::UnloadModuleResponse* /*response*/) {
  return NotFoundUnlessServed(request->name());
}

FakeUpload FakeModuleService::last_upload() {
  const std::scoped_lock lock(mutex_);
  return last_upload_;
}

v1::LoadModuleRequest FakeModuleService::last_load() {
  const std::scoped_lock lock(mutex_);
  return last_load_;
}

FakeServer::FakeServer() {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port_);
  builder.SetMaxReceiveMessageSize(-1);
  builder.RegisterService(&attention);
  builder.RegisterService(&modules);
  server_ = builder.BuildAndStart();
}

FakeServer::~FakeServer() { Stop(); }

void FakeServer::Stop() {
  server_->Shutdown();
  server_->Wait();
}

std::string FakeServer::target() const {
  return std::format("127.0.0.1:{}", port_);
}

AttentionClient FakeServer::MakeClient(const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(options.max_receive_bytes);
  return AttentionClient::FromChannel(server_->InProcessChannel(arguments),
                                      "the fake", options);
}

void FakeServer::SetServing(const std::string& service, bool serving) {
  server_->GetHealthCheckService()->SetServingStatus(service, serving);
}

}  // namespace attention
