// SPDX-License-Identifier: Apache-2.0
// Memory of the caller's, sent and received over a socket.
#include <gmock/gmock.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <future>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "client/cpp/attention_client.h"
#include "core/tensor/random_tensor.h"
#include "core/tensor/status_text.h"
#include "tests/client/stalled_peer.h"
#include "tests/client/temp_folder.h"
#include "tests/server/test_server.h"

namespace attention {
namespace {

using ::attention::testing::MakeTestModule;
using ::attention::testing::TestServer;
using ::testing::Each;
using ::testing::HasSubstr;

constexpr std::int64_t kEmbedDim = 8;
constexpr std::int64_t kLength = 500;
const Shape kShape = {kLength, 1, kEmbedDim};

// A query in memory that says when it is freed.
struct WatchedQuery {
  std::promise<void>* freed;
  Tensor tensor;

  ~WatchedQuery() { freed->set_value(); }
};

AttentionInputs InputsOf(const Tensor& query) {
  AttentionInputs inputs;
  inputs.query = query.view();
  inputs.need_weights = false;
  return inputs;
}

PreparedForward PrepareShared(const std::shared_ptr<WatchedQuery>& query) {
  return AttentionClient::Prepare("m", InputsOf(query->tensor), query).value();
}

bool IsReady(const std::future<void>& future) {
  return future.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
}

// Memory for an output, with a margin on both sides.
class Margined {
 public:
  static constexpr std::size_t kMargin = 64;
  static constexpr std::byte kCanary{0x5A};

  explicit Margined(const Shape& shape, DataType dtype = DataType::kFloat32)
      : view_{nullptr, dtype, shape},
        bytes_(view_.num_bytes() + 2 * kMargin, kCanary) {
    view_.data = bytes_.data() + kMargin;
  }
  ~Margined() = default;
  Margined(const Margined&) = delete;
  Margined& operator=(const Margined&) = delete;

  [[nodiscard]] const MutableTensorView& view() const { return view_; }
  [[nodiscard]] const std::vector<std::byte>& bytes() const { return bytes_; }
  [[nodiscard]] std::vector<std::byte> margins() const {
    std::vector<std::byte> margins(bytes_.begin(), bytes_.begin() + kMargin);
    margins.insert(margins.end(), bytes_.end() - kMargin, bytes_.end());
    return margins;
  }

 private:
  MutableTensorView view_;
  std::vector<std::byte> bytes_;
};

class CallerMemoryTest : public ::testing::Test {
 protected:
  CallerMemoryTest() { server_.Serve("m", MakeTestModule()); }

  TestServer server_;
  AttentionClient client_ = AttentionClient::Create(server_.address()).value();
  Tensor query_ = RandomTensor(DataType::kFloat32, kShape, /*seed=*/1);
};

TEST_F(CallerMemoryTest, ASharedQueryIsSentFromWhereItIs) {
  const ForwardResult want = client_.Forward("m", InputsOf(query_)).value();
  std::promise<void> freed;
  const std::future<void> is_freed = freed.get_future();
  auto query = std::make_shared<WatchedQuery>(&freed, query_.Clone());
  auto request = std::make_optional(PrepareShared(query));
  query.reset();

  const auto result = client_.Forward(*request);

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(std::memcmp(result->output().data, want.output().data,
                        want.output().num_bytes()),
            0);
  EXPECT_FALSE(IsReady(is_freed));
  request.reset();
  is_freed.wait();
}

TEST_F(CallerMemoryTest, ReceivesIntoTheCallersMemory) {
  const ForwardResult want = client_.Forward("m", InputsOf(query_)).value();
  const auto request = AttentionClient::Prepare("m", InputsOf(query_)).value();
  const Margined output(kShape);

  const auto result =
      client_.ForwardInto(request, {output.view(), std::nullopt});

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->output().data, output.view().data);
  EXPECT_EQ(std::memcmp(output.view().data, want.output().data,
                        want.output().num_bytes()),
            0);
  EXPECT_THAT(output.margins(), Each(Margined::kCanary));
}

TEST_F(CallerMemoryTest, ReceivesWeightsBesideTheOutput) {
  AttentionInputs inputs = InputsOf(query_);
  inputs.need_weights = true;
  const ForwardResult want = client_.Forward("m", inputs).value();
  const auto request = AttentionClient::Prepare("m", inputs).value();
  const Margined output(kShape);
  const Margined weights({1, kLength, kLength});

  const auto result =
      client_.ForwardInto(request, {output.view(), weights.view()});

  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(std::memcmp(weights.view().data, want.weights()->data,
                        want.weights()->num_bytes()),
            0);
  EXPECT_THAT(output.margins(), Each(Margined::kCanary));
  EXPECT_THAT(weights.margins(), Each(Margined::kCanary));
}

TEST_F(CallerMemoryTest, MemoryThatDoesNotFitIsNamedAndNotWritten) {
  const auto request = AttentionClient::Prepare("m", InputsOf(query_)).value();
  const struct {
    Margined output;
    std::string text;
  } cases[] = {
      {Margined({kLength - 1, 1, kEmbedDim}), "got float32 (499, 1, 8)"},
      {Margined({kLength + 1, 1, kEmbedDim}), "got float32 (501, 1, 8)"},
      {Margined({kLength, kEmbedDim}), "got float32 (500, 8)"},
      {Margined(kShape, DataType::kFloat64), "got float64 (500, 1, 8)"},
      {Margined(kShape, DataType::kBFloat16), "got bfloat16 (500, 1, 8)"}};
  for (const auto& [output, text] : cases) {
    const auto result =
        client_.ForwardInto(request, {output.view(), std::nullopt});

    EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(StatusText(result.status())),
                HasSubstr("output: the answer is float32 (500, 1, 8), expected "
                          "memory for it, " +
                          text));
    EXPECT_THAT(output.bytes(), Each(Margined::kCanary)) << text;
  }
}

TEST_F(CallerMemoryTest, MemoryForWeightsFollowsWhetherThereAreSome) {
  AttentionInputs inputs = InputsOf(query_);
  const auto without = AttentionClient::Prepare("m", inputs).value();
  inputs.need_weights = true;
  const auto with = AttentionClient::Prepare("m", inputs).value();
  const Margined output(kShape);
  const Margined weights({1, kLength, kLength});

  const auto unasked =
      client_.ForwardInto(without, {output.view(), weights.view()});
  const auto missing = client_.ForwardInto(with, {output.view(), std::nullopt});

  EXPECT_EQ(unasked.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(output.bytes(), Each(Margined::kCanary));
  EXPECT_THAT(weights.bytes(), Each(Margined::kCanary));
}

TEST_F(CallerMemoryTest, AFailedCallWritesNothing) {
  const auto request =
      AttentionClient::Prepare("nobody", InputsOf(query_)).value();
  const Margined output(kShape);

  const auto result =
      client_.ForwardInto(request, {output.view(), std::nullopt});

  EXPECT_EQ(result.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(output.bytes(), Each(Margined::kCanary));
}

// A client whose peer has taken the first bytes of a call of 32 MiB, so that
// gRPC is writing the caller's memory, and then takes no more.
class StalledCallTest : public ::testing::Test {
 protected:
  // Begin that call, whose query lives as long as `owner` does.
  void Begin(const Tensor& query, std::shared_ptr<const void> owner) {
    client_->ForwardAsync(
        AttentionClient::Prepare("m", InputsOf(query), std::move(owner))
            .value(),
        [done = done_](const absl::StatusOr<ForwardReply>& reply) {
          done->set_value(reply.status());
        },
        stop_.get_token());
    peer_.Take(std::size_t{1} << 17);
  }

  static Tensor MakeQuery() {
    return RandomTensor(DataType::kFloat32,
                        {std::int64_t{1} << 20, 1, kEmbedDim}, /*seed=*/2);
  }

  StalledCallTest() {
    // gRPC goes on when a client has gone: its end may wait 10 s for a poll.
    static const auto* const grpc =
        new std::shared_ptr(grpc::InsecureChannelCredentials());
    EXPECT_NE(*grpc, nullptr);
  }

  const TempFolder folder_;
  StalledPeer peer_{folder_ / "socket"};
  std::optional<AttentionClient> client_ =
      AttentionClient::Create("unix:" + folder_ / "socket").value();
  std::stop_source stop_;
  std::shared_ptr<std::promise<absl::Status>> done_ =
      std::make_shared<std::promise<absl::Status>>();
};

TEST_F(StalledCallTest, MemoryOutlivesTheCallUntilGrpcIsDone) {
  std::promise<void> freed;
  const std::future<void> is_freed = freed.get_future();
  {
    auto query = std::make_shared<WatchedQuery>(&freed, MakeQuery());
    Begin(query->tensor, query);
  }
  stop_.request_stop();
  // The connection does what it is told in order, so this call is told to be
  // cancelled behind the other.
  std::stop_source stop_later;
  std::promise<absl::Status> later;
  client_->ForwardAsync(
      AttentionClient::Prepare(
          "m", InputsOf(RandomTensor(DataType::kFloat32, kShape, /*seed=*/1)))
          .value(),
      [&later](const absl::StatusOr<ForwardReply>& reply) {
        later.set_value(reply.status());
      },
      stop_later.get_token());
  stop_later.request_stop();
  EXPECT_EQ(later.get_future().get().code(), absl::StatusCode::kCancelled);

  EXPECT_FALSE(IsReady(is_freed));  // gRPC is writing it
  peer_.Close();

  EXPECT_EQ(done_->get_future().get().code(), absl::StatusCode::kCancelled);
  is_freed.wait();
}

// A client and what it sends, which says when both are gone.
struct Session {
  std::shared_ptr<std::promise<void>> ended;
  Tensor query;
  std::optional<AttentionClient> client;

  ~Session() {
    client.reset();
    ended->set_value();
  }
};

TEST_F(StalledCallTest, GrpcMayHoldTheLastOwnerOfTheClient) {
  const auto ended = std::make_shared<std::promise<void>>();
  {
    auto session = std::make_shared<Session>(ended, MakeQuery(), client_);
    Begin(session->query, session);
  }
  client_.reset();
  peer_.Close();

  ended->get_future().wait();
  EXPECT_EQ(done_->get_future().get().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace attention
