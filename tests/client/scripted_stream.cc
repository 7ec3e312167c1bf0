// SPDX-License-Identifier: Apache-2.0
#include "tests/client/scripted_stream.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <cstring>
#include <format>

#include "core/tensor/random_tensor.h"

namespace attention {
namespace {

Tensor MakeQuery(std::uint64_t seed) {
  return RandomTensor(DataType::kFloat32, {2, 4}, seed);
}

}  // namespace

std::uint64_t Read(ServerStream& stream) {
  v1::ForwardStreamRequest request;
  return stream.Read(&request) ? request.id() : 0;
}

bool Echo(ServerStream& stream) {
  v1::ForwardStreamRequest request;
  if (!stream.Read(&request)) return false;
  v1::ForwardStreamResponse answer;
  answer.set_id(request.id());
  *answer.mutable_response()->mutable_output() = request.request().query();
  return stream.Write(answer);
}

ScriptedStreamTest::ScriptedStreamTest() {
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterService(&service_);
  server_ = builder.BuildAndStart();
  client_ = AttentionClient::Create(std::format("127.0.0.1:{}", port));
}

PreparedForward MakeSeededRequest(std::uint64_t seed) {
  const Tensor query = MakeQuery(seed);
  AttentionInputs inputs;
  inputs.query = query.view();
  return AttentionClient::Prepare("m", inputs).value();
}

bool IsAnswerTo(std::uint64_t seed,
                const absl::StatusOr<ForwardResult>& result) {
  const Tensor query = MakeQuery(seed);
  return result.ok() && result->output().num_bytes() == query.num_bytes() &&
         std::memcmp(result->output().data, query.view().data,
                     query.num_bytes()) == 0;
}

}  // namespace attention
