// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/http_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <new>
#include <string>
#include <vector>

namespace attention {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Page() { return "a 1\n"; }

std::string Answer(const std::string& line) {
  return AnswerHttp(line + "\r\nHost: test\r\n\r\n", &Page)
      .value_or("no answer");
}

TEST(HttpRequestTest, AnswersWithThePage) {
  EXPECT_EQ(Answer("GET /metrics HTTP/1.1"),
            "HTTP/1.1 200 OK\r\n"
            "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
            "Content-Length: 4\r\n"
            "Connection: close\r\n\r\n"
            "a 1\n");
  EXPECT_THAT(Answer("GET /metrics?name=a HTTP/1.0"),
              EndsWith("\r\n\r\na 1\n"));
}

TEST(HttpRequestTest, WaitsForTheWholeHead) {
  const std::string head = "GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n";
  for (std::size_t size = 0; size < head.size(); ++size) {
    EXPECT_FALSE(AnswerHttp(head.substr(0, size), &Page).has_value()) << size;
  }
}

TEST(HttpRequestTest, RefusesEverythingElse) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"POST /metrics HTTP/1.1", "405 "},
      {"HEAD /metrics HTTP/1.1", "405 "},
      {"get /metrics HTTP/1.1", "405 "},
      {"GET / HTTP/1.1", "404 "},
      {"GET /metrics/ HTTP/1.1", "404 "},
      {"GET /../metrics HTTP/1.1", "404 "},
      {"POST /x HTTP/1.1", "404 "},
      {"GET /metrics", "400 "},
      {"GET /metrics HTTP/2.0", "400 "},
      {"GET metrics HTTP/1.1", "400 "},
      {"GET  /metrics HTTP/1.1", "400 "},
      {"", "400 "},
      {" ", "400 "},
      {"PRI * HTTP/2.0", "400 "},
      {std::string(3, '\0'), "400 "},
      {"GET http://x/metrics HTTP/1.1", "400 "}};
  for (const auto& [line, status] : cases) {
    const std::string answer = Answer(line);
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 " + status)) << line;
    EXPECT_THAT(answer, HasSubstr("\r\nConnection: close\r\n")) << line;
    EXPECT_THAT(answer, HasSubstr("expected ")) << line;
  }
  EXPECT_THAT(Answer("POST /metrics HTTP/1.1"),
              HasSubstr("\r\nAllow: GET\r\n"));
}

TEST(HttpRequestTest, RefusesALongHead) {
  const std::string line = "GET /metrics HTTP/1.1\r\n";
  const std::string most(kMaxHttpHeadBytes - line.size() - 4, 'x');

  EXPECT_THAT(*AnswerHttp(line + most + "\r\n\r\n", &Page),
              StartsWith("HTTP/1.1 200 "));
  EXPECT_FALSE(AnswerHttp(line + most + "xxx", &Page).has_value());
  EXPECT_THAT(*AnswerHttp(line + most + "xxxx", &Page),
              StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(*AnswerHttp(line + most + "x\r\n\r\n", &Page),
              StartsWith("HTTP/1.1 431 "));
}

TEST(HttpRequestTest, SaysThatMemoryIsExhausted) {
  const auto answer =
      AnswerHttp("GET /metrics HTTP/1.1\r\n\r\n",
                 []() -> std::string { throw std::bad_alloc(); });

  EXPECT_THAT(*answer, StartsWith("HTTP/1.1 503 "));
}

}  // namespace
}  // namespace attention
