// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/http_request.h"

#include "core/tensor/catch_bad_alloc.h"
#include "core/tensor/format_text.h"

namespace attention {
namespace {

constexpr std::string_view kPath = "/metrics";
// That of Prometheus's text format.
constexpr std::string_view kPageType =
    "text/plain; version=0.0.4; charset=utf-8";

std::string Answer(std::string_view status, std::string_view type,
                   std::string_view body) {
  std::string answer = FormatText(
      "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}"
      "Connection: close\r\n\r\n",
      status, type, body.size(),
      status.starts_with("405") ? "Allow: GET\r\n" : "");
  return answer.append(body);
}

std::string Refuse(std::string_view status, std::string_view why) {
  return Answer(status, "text/plain; charset=utf-8", FormatText("{}\n", why));
}

// Take the next word of a request's first line off it.
std::string_view TakeWord(std::string_view* line) {
  const std::size_t end = line->find(' ');
  const std::string_view word = line->substr(0, end);
  line->remove_prefix(end == std::string_view::npos ? line->size() : end + 1);
  return word;
}

std::string AnswerLine(std::string_view line, const PageWriter& page) {
  const std::string_view method = TakeWord(&line);
  const std::string_view target = TakeWord(&line);
  if (method.empty() || !target.starts_with('/') ||
      !line.starts_with("HTTP/1.")) {
    return Refuse("400 Bad Request", "expected GET /metrics HTTP/1.1");
  }
  if (target.substr(0, target.find('?')) != kPath) {
    return Refuse("404 Not Found", "expected /metrics");
  }
  if (method != "GET") return Refuse("405 Method Not Allowed", "expected GET");
  std::string answer;
  const absl::Status written = CatchBadAlloc([&] {
    answer = Answer("200 OK", kPageType, page());
    return absl::OkStatus();
  });
  if (written.ok()) return answer;
  return Refuse("503 Service Unavailable", "memory is exhausted");
}

}  // namespace

std::optional<std::string> AnswerHttp(std::string_view received,
                                      const PageWriter& page) {
  const std::size_t head =
      received.substr(0, kMaxHttpHeadBytes).find("\r\n\r\n");
  if (head == std::string_view::npos) {
    if (received.size() < kMaxHttpHeadBytes) return std::nullopt;
    return Refuse("431 Request Header Fields Too Large",
                  FormatText("expected a request of at most {} bytes",
                             kMaxHttpHeadBytes));
  }
  return AnswerLine(received.substr(0, received.find("\r\n")), page);
}

}  // namespace attention
