// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <ostream>
#include <random>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "client/cpp/cli/bench_report.h"
#include "client/cpp/cli/cli.h"
#include "client/cpp/cli/compare.h"
#include "client/cpp/cli/forward_options.h"
#include "client/cpp/cli/load_progress.h"
#include "client/cpp/cli/run_watch.h"
#include "client/cpp/cli/usage.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

constexpr char kFooter[] =
    "Sends one request over and over and reports exact percentiles (every\n"
    "latency is kept; nearest rank). Closed loop by default: --concurrency\n"
    "requests are always in flight, so a slow server is asked less. With "
    "--rate\n"
    "requests are due at random times whatever the server does, and their\n"
    "latency counts from then, as its users would feel it. A time ends when "
    "the\n"
    "whole answer has arrived; parsing it is not included. A random sample of\n"
    "answers must equal, bit for bit, one received before the run.\n"
    "\n"
    "Ctrl-C (SIGINT) or SIGTERM ends the run early: requests in flight are\n"
    "cancelled, and what was measured until then is reported. A second one "
    "ends\nthe program at once. On a terminal, stderr shows how far the run "
    "is.\n"
    "\n"
    "Exit codes: 0 all requests were answered; 1 some failed or could not be\n"
    "sent; 3 answers differ; 130 interrupted by SIGINT, 143 by SIGTERM.\n"
    "\n"
    "Examples:\n"
    "  attention-client bench block --random 1,64,256 --concurrency 8\n"
    "  attention-client bench block --random 4,128,512 --rate 200 "
    "--duration 30\n"
    "  attention-client bench block --inputs case.safetensors --need-weights "
    "\\\n    --json > result.json\n";

struct BenchOptions {
  std::string module;
  ForwardOptions forward;
  std::size_t concurrency = 1;
  std::optional<double> rate;
  std::uint64_t rate_seed = 0;
  std::size_t max_in_flight = 10'000;
  double duration_seconds = 10.0;
  double warmup_seconds = 2.0;
  bool stream = false;
  std::size_t verify = 64;
  bool json = false;
};

// Keeps a uniform sample of the answers, to be verified when the run is over,
// so that verifying takes no time from it. Thread-safe.
// Source: Vitter 1985, "Random sampling with a reservoir", algorithm R.
class ReplySample {
 public:
  ReplySample(std::size_t capacity, std::uint64_t seed)
      : capacity_(capacity), generator_(seed) {}

  void Offer(ForwardReply reply) {
    const std::scoped_lock lock(mutex_);
    ++num_offered_;
    if (replies_.size() < capacity_) {
      replies_.push_back(std::move(reply));
      return;
    }
    const std::uint64_t slot = generator_() % num_offered_;
    if (slot < capacity_) replies_[slot] = std::move(reply);
  }

  /// The sample; call it when nothing is offered any more.
  [[nodiscard]] const std::vector<ForwardReply>& replies() const {
    return replies_;
  }

 private:
  const std::size_t capacity_;
  std::mutex mutex_;
  std::mt19937_64 generator_;
  std::uint64_t num_offered_ = 0;
  std::vector<ForwardReply> replies_;
};

bool IsSameAnswer(const ForwardResult& got, const ForwardResult& want) {
  if (got.weights().has_value() != want.weights().has_value()) return false;
  return AreBitIdentical(got.output(), want.output()) &&
         (!got.weights() || AreBitIdentical(*got.weights(), *want.weights()));
}

std::chrono::nanoseconds ToNanoseconds(double seconds) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(seconds));
}

LoadPlan PlanOf(const BenchOptions& options) {
  return {.rate = options.rate,
          .concurrency = options.concurrency,
          .max_in_flight = options.max_in_flight,
          .seed = options.rate_seed,
          .warmup = ToNanoseconds(options.warmup_seconds),
          .duration = ToNanoseconds(options.duration_seconds)};
}

// A stream's requests have no deadlines of their own: it has one for them all.
StreamOptions StreamOptionsOf(const CommandContext& context,
                              const LoadPlan& plan) {
  const auto last_sent = plan.warmup + plan.duration;
  return {.timeout = std::chrono::ceil<std::chrono::milliseconds>(last_sent) +
                     context.Timeout()};
}

// Hold at most 256 MiB of answers.
std::size_t SampleCapacity(const BenchOptions& options,
                           const ForwardResult& answer) {
  constexpr std::size_t kMaxSampleBytes = std::size_t{256} * 1024 * 1024;
  std::size_t answer_bytes = answer.output().num_bytes();
  if (answer.weights()) answer_bytes += answer.weights()->num_bytes();
  const std::size_t fitting =
      std::max<std::size_t>(kMaxSampleBytes / (answer_bytes + 1), 1);
  return std::min(options.verify, fitting);
}

// The line of a terminal that says how far a run is.
class ProgressLine {
 public:
  explicit ProgressLine(const CommandContext& context)
      : out_(context.progress), columns_(context.progress_columns) {}
  ~ProgressLine() { Show(""); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  // Put `text` in place of what stands there.
  void Show(std::string_view text) {
    if (out_ == nullptr) return;
    // A line as wide as the terminal would begin the next one.
    text = text.substr(0, columns_ - 1);
    *out_ << FormatText("\r{:<{}}\r{}", text, width_, text) << std::flush;
    width_ = text.size();
  }

 private:
  std::ostream* out_;
  std::size_t columns_;
  std::size_t width_ = 0;  // of what stands there
};

// Sends one request over and over: by calls of its own or, with a stream, on
// that.
class Sender {
 public:
  Sender(const AttentionClient& client, const PreparedForward& request,
         std::stop_token stop)
      : client_(client), request_(request), stop_(std::move(stop)) {}

  // Send on one stream, which may take so long in all.
  void OpenStream(const StreamOptions& options) {
    stream_.emplace(client_.OpenStream(options));
    cancel_.emplace(stop_, [this] { stream_->Cancel(); });
  }

  void Send(ForwardStream::Done done) {
    if (stream_) {
      stream_->Submit(request_, std::move(done));
    } else {
      client_.ForwardAsync(request_, std::move(done), stop_);
    }
  }

  // Call it when everything is answered.
  void Finish() {
    if (stream_) stream_->Finish();
  }

 private:
  const AttentionClient& client_;
  const PreparedForward& request_;
  const std::stop_token stop_;
  std::optional<ForwardStream> stream_;
  std::optional<std::stop_callback<std::function<void()>>> cancel_;
};

// Load the server until the plan's time is over or a signal comes, keeping a
// sample of its answers. Returns the signal; 0 when none came.
int Load(const CommandContext& context, const AttentionClient& client,
         const PreparedForward& request, ReplySample& sample,
         BenchReport& report) {
  SteadyLoadClock clock;
  LoadProgress progress(report.plan, clock.Now());
  ProgressLine line(context);
  RunWatch watch([&] { line.Show(progress.Line(clock.Now())); });
  Sender sender(client, request, watch.token());
  if (report.stream) sender.OpenStream(StreamOptionsOf(context, report.plan));
  const SendRequest send = [&](auto done) {
    sender.Send(
        [&, done = std::move(done)](absl::StatusOr<ForwardReply> reply) {
          const LoadClock::TimePoint answered = clock.Now();
          const absl::StatusCode code = reply.status().code();
          progress.Count(code, answered);
          if (reply.ok()) sample.Offer(*std::move(reply));
          done(code, answered);
        });
  };
  report.load = RunLoad(report.plan, send, clock, watch.token());
  sender.Finish();
  return report.load.was_stopped ? watch.signal() : 0;
}

void Verify(const std::vector<ForwardReply>& replies,
            const ForwardResult& first, BenchReport& report) {
  for (const ForwardReply& reply : replies) {
    const absl::StatusOr<ForwardResult> answer = reply.Decode();
    ++report.num_verified;
    if (!answer.ok() || !IsSameAnswer(*answer, first)) ++report.num_mismatches;
  }
}

// What the report says before the run.
BenchReport ReportOf(const CommandContext& context, const BenchOptions& options,
                     const Tensor& query) {
  BenchReport report;
  report.target = context.target;
  report.module = options.module;
  report.query = FormatText("{} {}", DataTypeName(query.dtype()),
                            query.shape().ToString());
  report.plan = PlanOf(options);
  report.stream = options.stream;
  if (query.shape().rank() > 0 && query.shape().back() > 0) {
    report.tokens_per_request =
        query.shape().num_elements() / query.shape().back();
  }
  return report;
}

int ExitCodeOf(const BenchReport& report, int signal) {
  if (report.num_mismatches > 0) return kExitDiffers;
  if (signal != 0) return kExitSignalBase + signal;
  const bool complete =
      report.load.num_failed() == 0 && report.load.num_not_sent == 0;
  return complete ? kExitOk : kExitFailed;
}

absl::StatusOr<int> RunBench(const CommandContext& context,
                             const BenchOptions& options) {
  ATTENTION_ASSIGN_OR_RETURN(const AttentionClient client, context.Connect());
  ATTENTION_ASSIGN_OR_RETURN(
      const InputTensors tensors,
      LoadInputs(options.forward, options.module, client));
  const AttentionInputs inputs = MakeInputs(options.forward, tensors);
  BenchReport report = ReportOf(context, options, tensors.query);
  ATTENTION_ASSIGN_OR_RETURN(const PreparedForward request,
                             AttentionClient::Prepare(options.module, inputs));
  report.request_bytes = request.num_bytes();
  ATTENTION_ASSIGN_OR_RETURN(const ForwardResult first,
                             client.Forward(options.module, inputs));
  ReplySample sample(SampleCapacity(options, first), options.rate_seed);
  const int signal = Load(context, client, request, sample, report);
  Verify(sample.replies(), first, report);
  context.out << (options.json ? BenchReportToJson(report)
                               : BenchReportToText(report));
  return ExitCodeOf(report, signal);
}

void AddLoadOptions(CLI::App& command, BenchOptions& options) {
  constexpr char kGroup[] = "Load";
  constexpr std::int64_t kMaxInFlight = 1'000'000;
  CLI::Option* const concurrency = command.add_option(
      "--concurrency", options.concurrency, "Closed loop: requests in flight");
  concurrency->group(kGroup)->capture_default_str()->type_name("N");
  concurrency->check(InRange(std::int64_t{1}, kMaxInFlight));
  CLI::Option* const rate = command.add_option(
      "--rate", options.rate, "Open loop: requests per second, Poisson");
  rate->group(kGroup)->type_name("RATE")->excludes(concurrency);
  rate->check(InRange(0.01, 1e6));
  command
      .add_flag("--stream", options.stream,
                "Send on one ForwardStream, not by a call each")
      ->group(kGroup);
  command
      .add_option("--rate-seed", options.rate_seed,
                  "Seed of the arrival times and of the verified sample")
      ->group(kGroup)
      ->capture_default_str()
      ->type_name("N")
      ->check(CheckSeed);
  command
      .add_option("--max-in-flight", options.max_in_flight,
                  "Open loop: requests due beyond it are counted, not sent")
      ->group(kGroup)
      ->capture_default_str()
      ->type_name("N")
      ->needs(rate)
      ->check(InRange(std::int64_t{1}, kMaxInFlight));
}

void AddRunOptions(CLI::App& command, BenchOptions& options) {
  constexpr char kGroup[] = "Run";
  constexpr double kMaxSeconds = 86400.0;
  constexpr std::int64_t kMaxVerify = 1'000'000;
  command
      .add_option("--duration", options.duration_seconds, "Seconds to measure")
      ->group(kGroup)
      ->capture_default_str()
      ->type_name("SECONDS")
      ->check(InRange(0.001, kMaxSeconds));
  command
      .add_option("--warmup", options.warmup_seconds,
                  "Seconds to send before that")
      ->group(kGroup)
      ->capture_default_str()
      ->type_name("SECONDS")
      ->check(InRange(0.0, kMaxSeconds));
  command
      .add_option("--verify", options.verify,
                  "Answers to verify, 256 MiB of them at most; 0: none")
      ->group(kGroup)
      ->capture_default_str()
      ->type_name("N")
      ->check(InRange(std::int64_t{0}, kMaxVerify));
  command.add_flag("--json", options.json, "Report as JSON")->group(kGroup);
}

}  // namespace

void AddBenchCommand(CLI::App& app, Command& selected) {
  const auto options = std::make_shared<BenchOptions>();
  CLI::App& command = *app.add_subcommand(
      "bench", "Measure latency and throughput of a module");
  command.add_option("NAME", options->module, "Name of the module")
      ->required()
      ->type_name("");
  AddForwardOptions(command, options->forward);
  AddLoadOptions(command, *options);
  AddRunOptions(command, *options);
  command.footer(kFooter);
  command.callback([options, &selected] {
    selected = [options](const CommandContext& context) {
      return RunBench(context, *options);
    };
  });
}

}  // namespace attention
