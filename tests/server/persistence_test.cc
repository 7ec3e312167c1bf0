// SPDX-License-Identifier: Apache-2.0
// kill -9 at any point of an upload that replaces a stored module leaves the
// old module or the new one, and a repository that loads.
#include <grpcpp/client_context.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <iostream>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/repository/temporary_directory.h"
#include "tests/server/server_process.h"
#include "tests/server/test_server.h"

namespace attention::testing {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kKills = 50;
// Large enough for the kills to fall into every phase: sending, reading,
// writing, syncing, renaming, answering. 16 MiB of weights.
constexpr std::int64_t kEmbedDim = 1024;
constexpr int kMeasurements = 5;

class Repository {
 public:
  [[nodiscard]] std::vector<std::string> Arguments() const {
    return {"--listen", "127.0.0.1:0", "--modules",     directory_.path(),
            "--load",   "all",         "--drain-grace", "0"};
  }
  [[nodiscard]] std::set<std::string> Names() const {
    return directory_.Names();
  }

 private:
  TemporaryDirectory directory_;
};

grpc::Status Replace(const std::string& address, const TestModule& module,
                     v1::ModuleInfo* info) {
  v1::UploadModuleHeader header = module.Header("m");
  header.set_replace(true);
  header.set_persist(true);
  const auto stub = v1::ModuleService::NewStub(Connect(address));
  return Upload(*stub, header, module.file, info);
}

std::string ServedDigest(const std::string& address) {
  const auto stub = v1::ModuleService::NewStub(Connect(address));
  grpc::ClientContext context;
  v1::GetModuleRequest request;
  request.set_name("m");
  v1::GetModuleResponse response;
  const grpc::Status status = stub->GetModule(&context, request, &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.module().state(), v1::MODULE_STATE_READY);
  return response.module().weights_digest();
}

// Store both modules in turn, each time in a fresh server as the kills do.
// \return the digest of each, and how long the slowest replacement took.
struct Measured {
  std::string digests[2];
  Clock::duration duration{0};
};
Measured Measure(const Repository& repository, const TestModule (&modules)[2]) {
  Measured measured;
  for (int i = 0; i < 2 * kMeasurements; ++i) {
    ServerProcess process(repository.Arguments());
    const std::string address = process.WaitForAddress();
    const Clock::time_point start = Clock::now();
    v1::ModuleInfo info;
    const grpc::Status status = Replace(address, modules[i % 2], &info);
    EXPECT_TRUE(status.ok()) << status.error_message();
    measured.duration = std::max(measured.duration, Clock::now() - start);
    measured.digests[i % 2] = info.weights_digest();
  }
  return measured;
}

// Kill the server so long after the beginning of a replacement, or else at
// its very end, when it is answered.
void KillDuringReplacement(const Repository& repository,
                           const TestModule& module,
                           std::optional<Clock::duration> after) {
  ServerProcess process(repository.Arguments());
  const std::string address = process.WaitForAddress();
  std::jthread upload(
      [&] { static_cast<void>(Replace(address, module, nullptr)); });
  if (after) {
    std::this_thread::sleep_for(*after);
  } else {
    upload.join();
  }
  process.Signal(SIGKILL);
  EXPECT_EQ(process.WaitForExit(), -SIGKILL);
}

TEST(PersistenceTest, HoldsTheOldModuleOrTheNewOneAfterAKill) {
  const Repository repository;
  const TestModule modules[2] = {MakeTestModule(kEmbedDim, 1),
                                 MakeTestModule(kEmbedDim, 2)};
  const Measured measured = Measure(repository, modules);
  ASSERT_NE(measured.digests[0], measured.digests[1]);

  int held = 1;  // which of the two is stored
  int num_old = 0;
  int num_new = 0;
  for (int i = 0; i < kKills; ++i) {
    const bool last = i == kKills - 1;
    KillDuringReplacement(
        repository, modules[1 - held],
        last ? std::nullopt
             : std::optional(measured.duration * i / (kKills - 1)));

    ServerProcess process(repository.Arguments());
    const std::string address = process.WaitForAddress();
    ASSERT_NE(address, "") << process.log();
    const std::string digest = ServedDigest(address);
    EXPECT_EQ(repository.Names(), std::set<std::string>{"m.safetensors"});
    if (digest == measured.digests[held]) {
      ++num_old;
    } else {
      ASSERT_EQ(digest, measured.digests[1 - held]);
      ++num_new;
      held = 1 - held;
    }
    process.Signal(SIGTERM);
    EXPECT_EQ(process.WaitForExit(), 0);
  }

  std::cout << "kills: " << kKills << " over "
            << std::chrono::duration_cast<std::chrono::milliseconds>(
                   measured.duration)
                   .count()
            << " ms; old module held: " << num_old << ", new: " << num_new
            << '\n';
  EXPECT_GT(num_old, 0);
  EXPECT_GT(num_new, 0);
}

}  // namespace
}  // namespace attention::testing
