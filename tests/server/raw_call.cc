// SPDX-License-Identifier: Apache-2.0
#include "tests/server/raw_call.h"

#include <grpcpp/generic/generic_stub.h>

#include <future>

namespace attention::testing {
namespace {

grpc::ByteBuffer ToBytes(const std::string& message) {
  const grpc::Slice slice(message);
  return {&slice, 1};
}

std::string ToString(const grpc::ByteBuffer& bytes) {
  std::vector<grpc::Slice> slices;
  std::string result;
  if (!bytes.Valid() || !bytes.Dump(&slices).ok()) return result;
  for (const grpc::Slice& slice : slices) {
    result.append(slice.begin(), slice.end());
  }
  return result;
}

// Writes all messages while it reads answers.
class StreamReactor final
    : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit StreamReactor(const std::vector<std::string>& messages)
      : messages_(messages) {}

  void Start() {
    WriteNext();
    StartRead(&answer_);
    StartCall();
  }
  RawStreamResult Wait() {
    finished_.get_future().wait();
    return result_;
  }

 private:
  void WriteNext() {
    if (next_ == messages_.size()) return StartWritesDone();
    message_ = ToBytes(messages_[next_++]);
    StartWrite(&message_);
  }
  void OnWriteDone(bool ok) override {
    if (ok) WriteNext();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    result_.answers.push_back(ToString(answer_));
    StartRead(&answer_);
  }
  void OnDone(const grpc::Status& status) override {
    result_.status = status;
    finished_.set_value();
  }

  const std::vector<std::string>& messages_;
  std::size_t next_ = 0;
  grpc::ByteBuffer message_;
  grpc::ByteBuffer answer_;
  RawStreamResult result_;
  std::promise<void> finished_;
};

}  // namespace

grpc::Status CallRaw(const std::shared_ptr<grpc::Channel>& channel,
                     const std::string& method, const grpc::ByteBuffer& message,
                     std::string* answer) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  grpc::ByteBuffer response;
  std::promise<grpc::Status> done;
  stub.UnaryCall(&context, method, {}, &message, &response,
                 [&done](grpc::Status status) { done.set_value(status); });
  const grpc::Status status = done.get_future().get();
  if (answer != nullptr) *answer = ToString(response);
  return status;
}

grpc::Status CallRaw(const std::shared_ptr<grpc::Channel>& channel,
                     const std::string& method, const std::string& message,
                     std::string* answer) {
  return CallRaw(channel, method, ToBytes(message), answer);
}

RawStreamResult StreamRaw(const std::shared_ptr<grpc::Channel>& channel,
                          const std::string& method,
                          const std::vector<std::string>& messages) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  StreamReactor reactor(messages);
  stub.PrepareBidiStreamingCall(&context, method, {}, &reactor);
  reactor.Start();
  return reactor.Wait();
}

}  // namespace attention::testing
