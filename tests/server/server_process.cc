// SPDX-License-Identifier: Apache-2.0
#include "tests/server/server_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <string_view>

namespace attention::testing {
namespace {

constexpr std::string_view kListening = "listening on ";

}  // namespace

ServerProcess::ServerProcess(std::vector<std::string> arguments,
                             std::vector<std::string> environment) {
  std::array<int, 2> pipe_ends{};
  if (pipe2(pipe_ends.data(), O_CLOEXEC) != 0) std::abort();
  stderr_ = UniqueFd(pipe_ends[0]);
  const UniqueFd write_end(pipe_ends[1]);

  arguments.insert(arguments.begin(), ATTENTION_SERVER_BINARY);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  std::vector<char*> envp;
  for (std::string& variable : environment) envp.push_back(variable.data());
  // Behind those, as the first of a name counts.
  for (char** variable = environ; *variable != nullptr; ++variable) {
    envp.push_back(*variable);
  }
  envp.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, write_end.get(), STDERR_FILENO);
  if (posix_spawn(&process_, argv[0], &actions, nullptr, argv.data(),
                  envp.data()) != 0) {
    std::abort();
  }
  posix_spawn_file_actions_destroy(&actions);
}

ServerProcess::~ServerProcess() {
  if (process_ < 0) return;
  Signal(SIGKILL);
  WaitForExit();
}

std::string ServerProcess::WaitForAddress() {
  while (true) {
    const std::size_t begin = log_.find(kListening);
    const std::size_t end =
        begin == std::string::npos ? begin : log_.find('\n', begin);
    if (end != std::string::npos) {
      return log_.substr(begin + kListening.size(),
                         end - begin - kListening.size());
    }
    if (!ReadLog()) return "";
  }
}

void ServerProcess::LimitDescriptors(std::size_t count) const {
  const rlimit limit{.rlim_cur = count, .rlim_max = count};
  prlimit(process_, RLIMIT_NOFILE, &limit, nullptr);
}

void ServerProcess::Signal(int signal) const { kill(process_, signal); }

void ServerProcess::Stop() const {
  Signal(SIGSTOP);
  int status = 0;
  if (waitpid(process_, &status, WUNTRACED) != process_ ||
      !WIFSTOPPED(status)) {
    std::abort();
  }
}

int ServerProcess::WaitForExit() {
  while (ReadLog()) {
  }
  int status = 0;
  waitpid(process_, &status, 0);
  process_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

bool ServerProcess::ReadLog() {
  std::array<char, 4096> buffer{};
  const ssize_t count = read(stderr_.get(), buffer.data(), buffer.size());
  if (count <= 0) return false;
  log_.append(buffer.data(), static_cast<std::size_t>(count));
  return true;
}

}  // namespace attention::testing
