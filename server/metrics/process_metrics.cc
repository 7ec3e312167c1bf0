// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>

namespace attention {
namespace {

using Value = std::optional<double>;

std::string ReadAll(const char* path) {
  const std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// The field of /proc/self/stat of this number in proc(5), from 3 on: what
// follows the program's name, which may contain anything.
Value StatField(int number) {
  const std::string stat = ReadAll("/proc/self/stat");
  const std::size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(stat.substr(name_end + 1));
  std::string field;
  for (int i = 3; i <= number; ++i) fields >> field;
  std::uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(field.data(), field.data() + field.size(), value);
  if (error != std::errc()) return std::nullopt;
  return static_cast<double>(value);
}

Value ResidentBytes() {
  const Value pages = StatField(24);
  if (!pages) return std::nullopt;
  return *pages * static_cast<double>(sysconf(_SC_PAGESIZE));
}

double Seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) +
         static_cast<double>(time.tv_usec) / 1e6;
}

Value CpuSeconds() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return std::nullopt;
  return Seconds(usage.ru_utime) + Seconds(usage.ru_stime);
}

Value OpenDescriptors() {
  std::error_code error;
  std::filesystem::directory_iterator open("/proc/self/fd", error);
  double count = -1;  // one of them is the listing's own
  for (; !error && open != end(open); open.increment(error)) ++count;
  return error ? std::nullopt : Value(count);
}

Value MostDescriptors() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return std::nullopt;
  return static_cast<double>(limit.rlim_cur);
}

// When the machine was started, in seconds of the epoch.
Value BootTime() {
  const std::string text = ReadAll("/proc/stat");
  constexpr std::string_view kName = "\nbtime ";
  const std::size_t at = text.find(kName);
  if (at == std::string::npos) return std::nullopt;
  std::uint64_t time = 0;
  const char* const begin = text.data() + at + kName.size();
  const auto [end, error] =
      std::from_chars(begin, text.data() + text.size(), time);
  if (error != std::errc()) return std::nullopt;
  return static_cast<double>(time);
}

Value StartTime() {
  const Value boot = BootTime();
  const Value ticks = StatField(22);
  if (!boot || !ticks) return std::nullopt;
  return *boot + *ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

SampledMetric Process(const char* name, const char* help,
                      prometheus::MetricType type, Value (*read)()) {
  return {name, help, type, [read] {
            std::vector<MetricSample> samples;
            if (const Value value = read()) samples.push_back({*value});
            return samples;
          }};
}

}  // namespace

std::vector<SampledMetric> ProcessMetrics() {
  using prometheus::MetricType;
  // It does not change.
  static const Value start_time = StartTime();
  return {
      Process("process_resident_memory_bytes", "Resident memory.",
              MetricType::Gauge, &ResidentBytes),
      Process("process_cpu_seconds_total", "Processor time, user and system.",
              MetricType::Counter, &CpuSeconds),
      Process("process_open_fds", "Open file descriptors.", MetricType::Gauge,
              &OpenDescriptors),
      Process("process_max_fds", "Most file descriptors that may be open.",
              MetricType::Gauge, &MostDescriptors),
      Process("process_start_time_seconds",
              "When the process began, in seconds of the epoch.",
              MetricType::Gauge, [] { return start_time; })};
}

}  // namespace attention
