// SPDX-License-Identifier: Apache-2.0
// Measures calls of Forward on a module of next to no compute against echoes of
// the same bytes, in turns, and prints a line of JSON for each size:
//
//   wire_bench SERVER_TARGET ECHO_TARGET MODULE REPETITIONS BYTES...
//
// MODULE is of kind scaled_dot_product_attention, one head of kWidth; a
// sequence is one row of it. Times are nanoseconds, medians of all calls; of
// Forward what is left without the compute time that the server says.
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/impl/client_unary_call.h>
#include <grpcpp/impl/rpc_method.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/cpp/attention_client.h"
#include "core/tensor/random_tensor.h"
#include "core/tensor/tensor.h"
#include "proto/wire/message_slices.h"

namespace attention {
namespace {

using Clock = std::chrono::steady_clock;
using Nanoseconds = std::vector<std::int64_t>;

constexpr std::int64_t kWidth = 1024;

[[noreturn]] void Fail(const std::string& text) {
  std::cerr << "wire_bench: " << text << '\n';
  std::exit(1);
}

std::int64_t Since(Clock::time_point start) {
  return std::chrono::nanoseconds(Clock::now() - start).count();
}

std::int64_t Median(Nanoseconds& times) {
  std::ranges::nth_element(times, times.begin() + times.size() / 2);
  return times[times.size() / 2];
}

// A channel and a method whose messages are bytes.
class Echo {
 public:
  Echo(std::shared_ptr<grpc::Channel> channel, const char* method)
      : channel_(std::move(channel)),
        method_(method, grpc::internal::RpcMethod::NORMAL_RPC, channel_) {}

  // Call it and, with `to`, copy the answer, which is as long as the message,
  // there.
  std::int64_t Call(const grpc::ByteBuffer& message, std::byte* to) {
    grpc::ClientContext context;
    grpc::ByteBuffer answer;
    const Clock::time_point start = Clock::now();
    const grpc::Status status = grpc::internal::BlockingUnaryCall(
        channel_.get(), method_, &context, message, &answer);
    if (!status.ok()) Fail(status.error_message());
    if (answer.Length() != message.Length()) Fail("an echo of another length");
    if (to != nullptr) {
      RangeCopy all = {{0, answer.Length()}, to};
      CopyRanges(&answer, {&all, 1});
    }
    return Since(start);
  }

 private:
  std::shared_ptr<grpc::Channel> channel_;
  grpc::internal::RpcMethod method_;
};

// What is sent, and where answers go.
struct Exchange {
  explicit Exchange(const std::string& module, std::int64_t num_bytes)
      : query(std::make_shared<Tensor>(RandomTensor(
            DataType::kFloat32,
            {num_bytes / kWidth / std::int64_t{sizeof(float)}, 1, 1, kWidth},
            /*seed=*/1))),
        output(DataType::kFloat32, query->shape()),
        echoed(query->num_bytes() + 4096) {
    AttentionInputs inputs;
    inputs.query = query->view();
    inputs.need_weights = false;
    auto prepared = AttentionClient::Prepare(module, inputs, query);
    if (!prepared.ok()) Fail(std::string(prepared.status().message()));
    request.emplace(*std::move(prepared));
  }

  std::shared_ptr<Tensor> query;
  Tensor output;
  AlignedBuffer echoed;
  std::optional<PreparedForward> request;
};

// Time without compute.
std::int64_t CallForward(const AttentionClient& client, Exchange& exchange,
                         Nanoseconds& compute) {
  const Clock::time_point start = Clock::now();
  const auto result = client.ForwardInto(
      *exchange.request, {exchange.output.mutable_view(), std::nullopt});
  const std::int64_t took = Since(start);
  if (!result.ok()) Fail(std::string(result.status().message()));
  compute.push_back(result->timing().compute.count());
  return took - compute.back();
}

void Measure(const AttentionClient& client, std::vector<Echo>& echoes,
             Exchange& exchange, int repetitions) {
  Nanoseconds forward;
  Nanoseconds compute;
  std::vector<Nanoseconds> echo(echoes.size());
  const grpc::ByteBuffer& message = exchange.request->bytes();
  for (int i = -repetitions / 10 - 1; i < repetitions; ++i) {
    if (i == 0) {  // warm
      forward.clear();
      compute.clear();
      for (Nanoseconds& times : echo) times.clear();
    }
    for (int turn = 0; turn < 3; ++turn) {  // each first in a third of them
      const int which = (i + repetitions + turn) % 3;
      if (which == 2) {
        forward.push_back(CallForward(client, exchange, compute));
        continue;
      }
      const auto e = static_cast<std::size_t>(which);
      echo[e].push_back(
          echoes[e].Call(message, e == 0 ? nullptr : exchange.echoed.data()));
    }
  }
  std::cout << nlohmann::json{{"bytes", exchange.query->num_bytes()},
                              {"forward", Median(forward)},
                              {"compute", Median(compute)},
                              {"raw", Median(echo[0])},
                              {"gather", Median(echo[1])}}
            << std::endl;
}

int Run(const std::vector<std::string>& words) {
  const auto client = AttentionClient::Create(words[0]);
  if (!client.ok()) Fail(std::string(client.status().message()));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  // As the client has it.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  const auto channel = grpc::CreateCustomChannel(
      words[1], grpc::InsecureChannelCredentials(), arguments);
  std::vector<Echo> echoes;
  echoes.emplace_back(channel, "/echo/Raw");
  echoes.emplace_back(channel, "/echo/Gather");
  const int repetitions = std::stoi(words[3]);
  for (std::size_t i = 4; i < words.size(); ++i) {
    const std::int64_t num_bytes = std::stoll(words[i]);
    Exchange exchange(words[2], num_bytes);
    // Large ones fewer times, as each says more.
    const auto times = static_cast<int>(std::max<std::int64_t>(
        repetitions * 65'536 / std::max<std::int64_t>(num_bytes, 65'536), 20));
    Measure(*client, echoes, exchange, times);
  }
  return 0;
}

}  // namespace
}  // namespace attention

int main(int argc, char** argv) {
  if (argc < 6) {
    std::cerr << "usage: wire_bench SERVER_TARGET ECHO_TARGET MODULE "
                 "REPETITIONS BYTES...\n";
    return 2;
  }
  return attention::Run(std::vector<std::string>(argv + 1, argv + argc));
}
