// SPDX-License-Identifier: Apache-2.0
// What a scrape of a server says is what was done to it.
#include "server/metrics/server_metrics.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/server/metrics/scrape.h"
#include "tests/server/raw_call.h"
#include "tests/server/tcp.h"
#include "tests/server/test_server.h"

namespace attention::testing {
namespace {

ServerOptions Watched() {
  ServerOptions options;
  options.metrics_listen = "0";
  return options;
}

class ServerMetricsTest : public ::testing::Test {
 protected:
  ServerMetricsTest() { server_.Serve("m", MakeTestModule()); }

  [[nodiscard]] std::string address() {
    return server_.server().metrics_address();
  }

  // Forward so many requests on one stream; fails the test if one fails.
  void ForwardOnAStream(int num_requests) {
    std::vector<std::string> messages;
    v1::ForwardStreamRequest request;
    *request.mutable_request() = MakeRequest("m");
    for (int i = 0; i < num_requests; ++i) {
      request.set_id(static_cast<std::uint64_t>(i));
      messages.push_back(request.SerializeAsString());
    }
    const RawStreamResult result =
        StreamRaw(server_.channel(),
                  "/attention.v1.AttentionService/ForwardStream", messages);
    EXPECT_TRUE(result.status.ok());
    EXPECT_EQ(result.answers.size(), messages.size());
  }

  static std::string Requests(const std::string& method,
                              const std::string& module,
                              const std::string& code) {
    return R"(attention_requests_total{method="attention.v1.)" + method +
           R"(",module=")" + module + R"(",code=")" + code + R"("})";
  }

  TestServer server_{Watched()};
};

TEST_F(ServerMetricsTest, AreOffUnlessAsked) {
  TestServer server;

  EXPECT_EQ(server.server().metrics_address(), "");
}

TEST_F(ServerMetricsTest, CountWhatWasSent) {
  const v1::ForwardRequest request = MakeRequest("m");
  v1::ForwardResponse response;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(server_.Forward(request, &response).ok());
  }
  ForwardOnAStream(30);
  EXPECT_EQ(server_.Forward(MakeRequest("unknown")).error_code(),
            grpc::NOT_FOUND);
  EXPECT_EQ(server_.Forward(MakeRequest("m", 3, 6)).error_code(),
            grpc::INVALID_ARGUMENT);

  const std::string stream =
      "attention_streams_total{method=\"attention.v1.AttentionService/"
      "ForwardStream\",code=\"OK\"}";
  const Scrape scrape = ScrapeUntil(address(), [&](const Scrape& now) {
    return now[stream] == 1 &&
           now[Requests("AttentionService/Forward", "m", "INVALID_ARGUMENT")] ==
               1;
  });

  EXPECT_EQ(scrape[Requests("AttentionService/Forward", "m", "OK")], 20);
  EXPECT_EQ(scrape[Requests("AttentionService/ForwardStream", "m", "OK")], 30);
  EXPECT_EQ(scrape[Requests("AttentionService/Forward", "other", "NOT_FOUND")],
            1);
  EXPECT_EQ(scrape[Requests("ModuleService/UploadModule", "other", "OK")] +
                scrape[Requests("ModuleService/UploadModule", "m", "OK")],
            1);
  EXPECT_EQ(
      scrape[R"(attention_refused_requests_total{reason="unknown_module"})"],
      1);
  EXPECT_EQ(scrape[R"(attention_refused_requests_total{reason="invalid"})"], 1);
  EXPECT_GE(scrape["attention_request_bytes_total{method=\"attention.v1."
                   "AttentionService/Forward\"}"],
            20 * request.ByteSizeLong());
}

TEST_F(ServerMetricsTest, MeasureEachRequestThatWasComputed) {
  ForwardOnAStream(30);

  const std::string total =
      R"(attention_request_duration_seconds_count{module="m"})";
  const Scrape scrape = ScrapeUntil(
      address(), [&](const Scrape& now) { return now[total] == 30; });

  for (const std::string phase : {"decode", "queue", "compute"}) {
    EXPECT_EQ(scrape["attention_request_phase_duration_seconds_count{module="
                     "\"m\",phase=\"" +
                     phase + "\"}"],
              30)
        << phase;
  }
  EXPECT_EQ(scrape["attention_batch_requests_sum"], 30);
  EXPECT_EQ(scrape["attention_batch_tokens_sum"], 30 * 3);
  EXPECT_EQ(scrape["attention_queued_requests"], 0);
  EXPECT_EQ(scrape["attention_computing_requests"], 0);
}

TEST_F(ServerMetricsTest, ShowModulesAndTheProcess) {
  server_.Serve("n", MakeTestModule());
  v1::GetModuleRequest request;
  request.set_name("n");
  v1::GetModuleResponse info;
  grpc::ClientContext context;
  ASSERT_TRUE(server_.modules().GetModule(&context, request, &info).ok());

  const Scrape scrape = ScrapeFrom(address());

  EXPECT_EQ(scrape["attention_modules"], 2);
  EXPECT_EQ(scrape[R"(attention_module_memory_bytes{module="n"})"],
            info.module().memory_bytes());
  EXPECT_EQ(scrape["attention_inflight_bytes"], 0);
  EXPECT_EQ(scrape["attention_inflight_limit_bytes"],
            Watched().max_queue_bytes);
  EXPECT_EQ(scrape.CountWith("attention_build_info{version=\""), 1U);
  EXPECT_GT(scrape["process_resident_memory_bytes"], 1e6);
  EXPECT_GT(scrape["process_cpu_seconds_total"], 0);
  EXPECT_GT(scrape["process_open_fds"], 3);
  EXPECT_GT(scrape["process_start_time_seconds"], 1e9);
}

TEST_F(ServerMetricsTest, ForgetAModuleThatIsUnloaded) {
  ASSERT_TRUE(server_.Forward(MakeRequest("m")).ok());
  v1::UnloadModuleRequest request;
  request.set_name("m");
  v1::UnloadModuleResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(
      server_.modules().UnloadModule(&context, request, &response).ok());

  const Scrape scrape = ScrapeUntil(address(), [](const Scrape& now) {
    return now.CountWith(R"(module="m")") == 0;
  });

  EXPECT_EQ(scrape["attention_modules"], 0);
}

TEST_F(ServerMetricsTest, JunkAddsNoSeries) {
  const auto send = [&](const std::string& name) {
    EXPECT_EQ(server_.Forward(MakeRequest(name)).error_code(), grpc::NOT_FOUND);
    EXPECT_EQ(CallRaw(server_.channel(), "/junk/" + name, "").error_code(),
              grpc::UNIMPLEMENTED);
  };
  send("junk");
  const std::string unknown =
      R"(attention_requests_total{method="other",module="",code="UNIMPLEMENTED"})";
  const std::size_t before = ScrapeUntil(address(), [&](const Scrape& now) {
                               return now[unknown] == 1;
                             }).size();

  for (int i = 0; i < 10'000; ++i) send("junk" + std::to_string(i));

  const Scrape scrape = ScrapeUntil(
      address(), [&](const Scrape& now) { return now[unknown] == 10'001; });
  EXPECT_EQ(scrape.size(), before);
  EXPECT_EQ(scrape.CountWith("junk"), 0U);
}

TEST_F(ServerMetricsTest, CannotShareAnAddress) {
  ServerOptions options = Watched();
  options.listen = {"127.0.0.1:0"};
  options.metrics_listen = address();
  Server second(options);

  EXPECT_EQ(second.Start(),
            absl::UnavailableError("--metrics-listen: cannot listen on " +
                                   address() + ": Address already in use"));
}

TEST(ConnectionMetricsTest, CountOpenAndRefusedConnections) {
  ServerOptions options = Watched();
  options.max_connections = 2;
  TestServer server(options);
  server.Serve("m", MakeTestModule());  // on the first
  const UniqueFd second = ConnectSocket(server.address());

  WaitUntilClosed(ConnectSocket(server.address()).get());

  const Scrape scrape = ScrapeFrom(server.server().metrics_address());
  EXPECT_EQ(scrape["attention_connections"], 2);
  EXPECT_EQ(scrape["attention_connections_limit"], 2);
  EXPECT_EQ(scrape[R"(attention_refused_connections_total{reason="limit"})"],
            1);
  EXPECT_EQ(scrape[R"(attention_refused_connections_total{reason="shortage"})"],
            0);
}

}  // namespace
}  // namespace attention::testing
