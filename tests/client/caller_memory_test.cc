// SPDX-License-Identifier: Apache-2.0
// Memory of the caller's, sent and received over a socket.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/cpp/attention_client.h"
#include "core/tensor/random_tensor.h"
#include "core/tensor/status_text.h"
#include "tests/client/temp_folder.h"
#include "tests/server/server_process.h"
#include "tests/server/test_server.h"

namespace attention {
namespace {

using ::attention::testing::MakeTestModule;
using ::attention::testing::ServerProcess;
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

TEST(CallerMemoryAtADeadlineTest, OutlivesTheCallUntilGrpcIsDone) {
  const TempFolder folder;
  const std::string target = "unix:" + folder / "socket";
  ServerProcess server({"--listen", target});
  ASSERT_FALSE(server.WaitForAddress().empty());
  const auto client = [&](int milliseconds) {
    ClientOptions options;
    options.timeout = std::chrono::milliseconds(milliseconds);
    return AttentionClient::Create(target, options).value();
  };
  const AttentionClient brief = client(500);
  ASSERT_TRUE(brief.Health().ok());
  server.Signal(SIGSTOP);  // connected, but takes no more
  std::promise<void> freed;
  const std::future<void> is_freed = freed.get_future();
  const Shape shape = {std::int64_t{1} << 20, 1, kEmbedDim};  // 32 MiB
  std::promise<absl::Status> done;
  {
    auto query = std::make_shared<WatchedQuery>(
        &freed, RandomTensor(DataType::kFloat32, shape, /*seed=*/2));
    brief.ForwardAsync(PrepareShared(query),
                       [&done](const absl::StatusOr<ForwardReply>& reply) {
                         done.set_value(reply.status());
                       });
  }
  // Fails behind the other's deadline.
  EXPECT_EQ(client(1000).Health().status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_FALSE(IsReady(is_freed));  // gRPC is writing it
  server.Signal(SIGCONT);

  EXPECT_EQ(done.get_future().get().code(),
            absl::StatusCode::kDeadlineExceeded);
  is_freed.wait();
}

}  // namespace
}  // namespace attention
