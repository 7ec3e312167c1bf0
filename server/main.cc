// SPDX-License-Identifier: Apache-2.0
// attention-server: keeps attention modules and computes their forward pass for
// remote callers.
//
//   attention-server --modules modules --load all
//   attention-server --listen 0.0.0.0:50051 --listen unix:/run/attention.sock
//   ATTENTION_THREADS=8 attention-server --log-format json --drain-grace 60
#include <spdlog/spdlog.h>

#include <cstdio>
#include <exception>
#include <string>
#include <variant>

#include "core/tensor/format_text.h"
#include "core/tensor/status_text.h"
#include "server/host/descriptor_limit.h"
#include "server/host/log.h"
#include "server/host/options.h"
#include "server/host/server.h"
#include "server/host/signals.h"

namespace attention {
namespace {

// What stopping may take beyond the grace: the computation under way when the
// grace ends.
constexpr std::chrono::seconds kStopMargin{10};

void Print(std::FILE* file, const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), file);
}

int Serve(const ServerOptions& options) {
  // Before the thread that waits for signals: it logs, and spdlog replaces its
  // logger without a lock.
  SetUpLogging(options.log_level, options.log_format);
  StopSignals signals(options.drain_grace + kStopMargin);
  Server server(options);
  const absl::Status started = server.Start(signals.token());
  if (absl::IsCancelled(started)) return 0;
  if (!started.ok()) {
    Print(stderr, FormatText("attention-server: {}\n", StatusText(started)));
    return kExitRuntimeError;
  }
  signals.Wait();
  server.Drain();
  return 0;
}

}  // namespace
}  // namespace attention

int main(int argc, char** argv) {
  const auto parsed =
      attention::ParseOptions(argc, argv, attention::RaiseDescriptorLimit());
  if (const auto* exit = std::get_if<attention::EarlyExit>(&parsed)) {
    attention::Print(exit->code == 0 ? stdout : stderr, exit->text);
    return exit->code;
  }
  try {
    return attention::Serve(std::get<attention::ServerOptions>(parsed));
  } catch (const std::exception& error) {
    attention::Print(
        stderr, attention::FormatText("attention-server: {}\n", error.what()));
    return attention::kExitRuntimeError;
  }
}
