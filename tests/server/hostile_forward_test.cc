// SPDX-License-Identifier: Apache-2.0
// What a hostile client sends to AttentionService: each time a clear status,
// and the server keeps serving.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "tests/server/raw_call.h"
#include "tests/server/test_module.h"
#include "tests/server/test_server.h"

namespace attention::testing {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kForward[] = "/attention.v1.AttentionService/Forward";
constexpr char kForwardStream[] =
    "/attention.v1.AttentionService/ForwardStream";
constexpr std::int64_t kHuge = std::int64_t{1} << 40;

class HostileForwardTest : public ::testing::Test {
 protected:
  HostileForwardTest() { server_.Serve("m", MakeTestModule()); }
  ~HostileForwardTest() override { server_.ExpectServes(); }

  TestServer server_;
};

std::string RandomBytes(std::mt19937& random) {
  std::string bytes(random() % 300, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

std::string Mutate(std::string bytes, std::mt19937& random) {
  for (unsigned i = 0; i < 1 + random() % 4; ++i) {
    bytes[random() % bytes.size()] = static_cast<char>(random());
  }
  if (random() % 4 == 0) bytes.resize(random() % bytes.size());
  return bytes;
}

TEST_F(HostileForwardTest, AnswersRandomBytes) {
  std::mt19937 random(/*seed=*/1);
  for (int i = 0; i < 300; ++i) {
    const grpc::Status status =
        CallRaw(server_.channel(), kForward, RandomBytes(random));

    ASSERT_EQ(status.error_code(), grpc::INVALID_ARGUMENT)
        << status.error_message();
    EXPECT_FALSE(status.error_message().empty());
  }
}

TEST_F(HostileForwardTest, AnswersAlmostValidMessages) {
  std::mt19937 random(/*seed=*/2);
  const std::string valid = MakeRequest("m").SerializeAsString();
  for (int i = 0; i < 1000; ++i) {
    const grpc::Status status =
        CallRaw(server_.channel(), kForward, Mutate(valid, random));

    ASSERT_THAT(status.error_code(),
                AnyOf(grpc::OK, grpc::INVALID_ARGUMENT, grpc::NOT_FOUND))
        << status.error_message();
  }
}

TEST_F(HostileForwardTest, AnswersRandomBytesOnAStream) {
  std::mt19937 random(/*seed=*/3);
  std::vector<std::string> messages;
  for (int i = 0; i < 300; ++i) messages.push_back(RandomBytes(random));

  const RawStreamResult result =
      StreamRaw(server_.channel(), kForwardStream, messages);

  EXPECT_TRUE(result.status.ok()) << result.status.error_message();
  EXPECT_EQ(result.answers.size(), messages.size());
}

TEST_F(HostileForwardTest, RefusesAMessageBeyondTheLimit) {
  // 300 MiB, from one MiB of memory.
  const grpc::Slice piece(std::string(std::size_t{1} << 20, '\x0A'));
  const std::vector<grpc::Slice> pieces(300, piece);

  const grpc::Status status =
      CallRaw(server_.channel(), kForward,
              grpc::ByteBuffer(pieces.data(), pieces.size()));

  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("larger than max"));
}

TEST_F(HostileForwardTest, RefusesAHugeAnswerWithoutComputingIt) {
  TestModule module = MakeTestModule();
  module.config.embed_dim = 16;
  module.config.num_heads = 16;
  const TestModule weights = MakeTestModule(/*embed_dim=*/16);
  module.file = weights.file;
  server_.Serve("sixteen_heads", module);
  v1::ForwardRequest request =
      MakeRequest("sixteen_heads", /*length=*/40'000, /*embed_dim=*/16);
  request.set_need_weights(true);
  request.set_average_attn_weights(false);

  const grpc::Status status = server_.Forward(request);

  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("(1, 16, 40000, 40000)"));
}

TEST_F(HostileForwardTest, RefusesMillionsOfEmptySequences) {
  v1::ForwardRequest request = MakeRequest("m");
  request.mutable_query()->mutable_shape()->Clear();
  request.mutable_query()->add_shape(3);
  request.mutable_query()->add_shape(8);
  request.mutable_query_lengths()->Resize(3'000'000, 0);
  request.set_query_lengths(0, 3);

  EXPECT_EQ(server_.Forward(request).error_code(), grpc::INVALID_ARGUMENT);
}

TEST_F(HostileForwardTest, RefusesBillionsOfSequencesWithoutRows) {
  v1::ForwardRequest request = MakeRequest("m");
  v1::Tensor& query = *request.mutable_query();
  query.mutable_shape()->Clear();
  for (const std::int64_t dim : {0LL, (1LL << 31) - 1, 8LL}) {
    query.add_shape(dim);
  }
  query.clear_data();
  request.set_need_weights(true);

  EXPECT_EQ(server_.Forward(request).error_code(), grpc::INVALID_ARGUMENT);
}

TEST_F(HostileForwardTest, RefusesFieldsThatWouldGrowWhenParsed) {
  // 40 MiB of one-byte numbers, which would take eight times that.
  v1::ForwardRequest request = MakeRequest("m");
  request.mutable_query()->mutable_shape()->Resize(40 << 20, 1);

  const grpc::Status status = server_.Forward(request);

  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("beside tensor elements"));
}

// A change to a valid request, and what the answer must speak of.
struct HostileRequest {
  std::string name;
  std::function<void(v1::ForwardRequest&)> change;
  std::string text;
};

class HostileRequestTest
    : public HostileForwardTest,
      public ::testing::WithParamInterface<HostileRequest> {};

TEST_P(HostileRequestTest, IsInvalid) {
  v1::ForwardRequest request = MakeRequest("m");
  GetParam().change(request);

  const grpc::Status status = server_.Forward(request);

  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr(GetParam().text));
  EXPECT_THAT(status.error_message(), Not(HasSubstr("/")));
}

void SetShape(v1::ForwardRequest& request,
              const std::vector<std::int64_t>& dims) {
  request.mutable_query()->mutable_shape()->Assign(dims.begin(), dims.end());
}

INSTANTIATE_TEST_SUITE_P(
    Table, HostileRequestTest,
    ::testing::Values(
        HostileRequest{"HugeShape",
                       [](auto& r) { SetShape(r, {kHuge, kHuge}); }, "query"},
        HostileRequest{"HugeShapeTimesZero",
                       [](auto& r) { SetShape(r, {kHuge, 0, 8}); }, "query"},
        HostileRequest{
            "ShortData",
            [](auto& r) { r.mutable_query()->mutable_data()->pop_back(); },
            "95 bytes, expected 96"},
        HostileRequest{
            "LongData",
            [](auto& r) { r.mutable_query()->mutable_data()->push_back(0); },
            "97 bytes, expected 96"},
        HostileRequest{"UnknownDataType",
                       [](auto& r) {
                         r.mutable_query()->set_dtype(
                             static_cast<v1::DataType>(77));
                       },
                       "dtype is 77"},
        HostileRequest{
            "UnknownCausal",
            [](auto& r) { r.set_causal(static_cast<v1::Causal>(77)); },
            "causal is 77"},
        HostileRequest{"UnknownPolicy",
                       [](auto& r) {
                         r.set_masked_row_policy(
                             static_cast<v1::MaskedRowPolicy>(77));
                       },
                       "masked_row_policy is 77"},
        HostileRequest{"NoQuery", [](auto& r) { r.clear_query(); }, "query"},
        HostileRequest{"EmptyName", [](auto& r) { r.set_module(""); }, "name"},
        HostileRequest{"ParentName", [](auto& r) { r.set_module(".."); },
                       "name"},
        HostileRequest{"LongName",
                       [](auto& r) { r.set_module(std::string(10'240, 'a')); },
                       "name"}),
    [](const auto& case_info) { return case_info.param.name; });

}  // namespace
}  // namespace attention::testing
