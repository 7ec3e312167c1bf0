// SPDX-License-Identifier: Apache-2.0
// Answers every call with the bytes it came with: what gRPC costs by itself.
//
//   echo_server ADDRESS...
//
// "/echo/Raw" sends back the slices as they came; "/echo/Gather" copies them
// once into aligned memory that is used again, and sends that. Says on which
// addresses it listens, as attention-server does, and runs until SIGTERM.
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/byte_buffer.h>

#include <csignal>
#include <cstddef>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor/buffer_pool.h"
#include "proto/wire/message_slices.h"

namespace attention {
namespace {

constexpr std::size_t kMaxIdleBytes = std::size_t{256} << 20U;

grpc::ByteBuffer Gather(BufferPool& pool, grpc::ByteBuffer& message) {
  auto copy = std::make_unique<BufferPool::Buffer>(pool.Take(message.Length()));
  RangeCopy all = {{0, message.Length()}, copy->data()};
  CopyRanges(&message, {&all, 1});
  grpc::Slice slice(
      copy->data(), message.Length(),
      [](void* buffer) { delete static_cast<BufferPool::Buffer*>(buffer); },
      copy.get());
  (void)copy.release();  // deleted by the slice
  return {&slice, 1};
}

// One call.
class EchoReactor final : public grpc::ServerGenericBidiReactor {
 public:
  explicit EchoReactor(BufferPool* pool) : pool_(pool) { StartRead(&message_); }

  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::CANCELLED);
    if (pool_ != nullptr) message_ = Gather(*pool_, message_);
    StartWriteAndFinish(&message_, {}, grpc::Status::OK);
  }
  void OnDone() override { delete this; }

 private:
  BufferPool* const pool_;
  grpc::ByteBuffer message_;
};

class EchoService final : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override {
    return new EchoReactor(context->method() == "/echo/Gather" ? &pool_
                                                               : nullptr);
  }

 private:
  BufferPool pool_{kMaxIdleBytes};
};

int Serve(const std::vector<std::string>& addresses) {
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  EchoService service;
  grpc::ServerBuilder builder;
  builder.RegisterCallbackGenericService(&service);
  builder.SetMaxReceiveMessageSize(-1);
  std::vector<int> ports(addresses.size());
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    builder.AddListeningPort(addresses[i], grpc::InsecureServerCredentials(),
                             &ports[i]);
  }
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return 1;
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    std::cout << "listening on "
              << addresses[i].substr(0, addresses[i].rfind(':')) << ':'
              << (addresses[i].starts_with("unix:") ? addresses[i].substr(5)
                                                    : std::to_string(ports[i]))
              << std::endl;
  }
  int signal = 0;
  sigwait(&stop, &signal);
  server->Shutdown();
  return 0;
}

}  // namespace
}  // namespace attention

int main(int argc, char** argv) {
  return attention::Serve(std::vector<std::string>(argv + 1, argv + argc));
}
