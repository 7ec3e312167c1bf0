// SPDX-License-Identifier: Apache-2.0
#include "server/host/server.h"

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <malloc.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <set>
#include <string_view>
#include <thread>
#include <utility>

#include "core/module/compute_choice.h"
#include "core/module/module_registry.h"
#include "core/serving/admission_controller.h"
#include "core/serving/executor.h"
#include "core/tensor/buffer_pool.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"
#include "core/tensor/status_text.h"
#include "server/host/heap_memory.h"
#include "server/host/log.h"
#include "server/host/memory_accounts.h"
#include "server/metrics/metrics_address.h"
#include "server/metrics/metrics_endpoint.h"
#include "server/metrics/metrics_observer.h"
#include "server/metrics/metrics_page.h"
#include "server/metrics/server_metrics.h"
#include "server/modules/module_manager.h"
#include "server/net/open_connections.h"
#include "server/repository/module_repository.h"
#include "server/rpc/answer_watch.h"
#include "server/rpc/attention_service.h"
#include "server/rpc/forward_handler.h"
#include "server/rpc/front_door.h"
#include "server/rpc/listener.h"
#include "server/rpc/log_observer.h"
#include "server/rpc/message_watch.h"
#include "server/rpc/module_service.h"
#include "server/rpc/observer_fan_out.h"
#include "server/rpc/reflection_service.h"
#include "server/rpc/ticker.h"
#include "server/rpc/unknown_methods.h"

namespace attention {
namespace {

constexpr std::string_view kAllModules = "all";
// Memory of requests and answers that is kept for those that come within a
// second or two.
constexpr std::size_t kMaxIdleBytes = std::size_t{256} << 20U;
// How long new requests get UNAVAILABLE before the connections close: gRPC
// answers those that cross with its closing with a bare CANCELLED.
constexpr std::chrono::milliseconds kLameDuckTime{500};
// Streams that are nobody's request, such as health's Watch, end after this.
constexpr std::chrono::milliseconds kLingerTime{500};

// Most memory of messages under way: of the longest two at least, and of what
// gRPC and the allocator have come and go without them.
std::size_t MaxUnfinishedBytes(const ServerOptions& options) {
  constexpr std::size_t kLeast = std::size_t{64} << 20U;
  return std::max(
      {options.max_queue_bytes / 2, 2 * options.max_message_bytes, kLeast});
}

// How often timeouts are looked at: late by a second at most, or by half.
std::chrono::milliseconds TickPeriod(const ServerTimeouts& timeouts) {
  const std::chrono::milliseconds least =
      std::min({timeouts.upload_idle, timeouts.stream_age,
                timeouts.unread_answer_busy, timeouts.unread_answer});
  return std::clamp<std::chrono::milliseconds>(
      least / 2, std::chrono::milliseconds(1), std::chrono::seconds(1));
}

// What modules of each compute dtype are computed with on this machine, in a
// line each. \return an error where it lacks what the operator chose.
absl::StatusOr<std::vector<std::string>> DescribeComputing(
    const ServerOptions& options) {
  std::vector<std::string> lines;
  for (const DataType asked : {DataType::kFloat32, DataType::kBFloat16}) {
    absl::StatusOr<std::string> what =
        DescribeComputeChoice(options.compute_path, asked);
    if (!what.ok()) return AnnotateStatus("--compute-path", what.status());
    lines.push_back(FormatText("{} modules: {}, {} threads",
                               DataTypeName(asked), *what, options.threads));
  }
  return lines;
}

// Nobody can reach the server any more: it is to be started again.
void ExitDeaf(std::string_view why) {
  spdlog::error("cannot accept connections any more, exiting: {}", why);
  std::_Exit(kExitRuntimeError);
}

// What became of all modules of the repository.
void LogLoaded(std::size_t num_stored, const std::vector<std::string>& failed) {
  if (failed.empty()) {
    spdlog::info("serving all {} modules of the repository", num_stored);
    return;
  }
  std::string names;
  for (const std::string& name : failed) {
    names += (names.empty() ? "" : ", ") + name;
  }
  spdlog::error("{} of {} modules of the repository are not served: {}",
                failed.size(), num_stored, names);
}

}  // namespace

// In the order of use: each part uses those before it.
struct Server::Parts {
  Parts(const ServerOptions& options, const ServerTimeouts& timeouts,
        const SharedServerState& state,
        std::unique_ptr<ModuleRepository> repository,
        std::unique_ptr<OpenConnections> open_connections)
      : connections(std::move(open_connections)),
        log(options.log_slow),
        metrics(options.metrics_listen.empty()
                    ? nullptr
                    : std::make_unique<MetricsObserver>()),
        registry([this](std::string_view name, bool serving) {
          grpc::HealthCheckServiceInterface* service = health.load();
          if (service != nullptr) {
            service->SetServingStatus(std::string(name), serving);
          }
          if (metrics != nullptr) metrics->OnModuleChanged(name, serving);
        }),
        admission(options.max_queue_bytes),
        buffers(std::min(kMaxIdleBytes, options.max_queue_bytes / 4)),
        answers({.max_unread_bytes = options.max_queue_bytes / 2,
                 .patience = timeouts.unread_answer_busy,
                 .max_wait = timeouts.unread_answer}),
        executor(
            {.num_threads = options.threads,
             .pinning = options.pin_threads ? Pinning::kPinned : Pinning::kNone,
             .batch = options.batch,
             .time = options.time},
            &observer),
        door({.state = state,
              .admission = admission,
              .observer = observer,
              .answers = answers}),
        handler({.door = door,
                 .registry = registry,
                 .executor = executor,
                 .buffers = buffers,
                 .max_message_bytes = options.max_message_bytes}),
        manager(registry, std::move(repository),
                {.max_loaded_bytes = options.max_loaded_bytes,
                 .path = options.compute_path}),
        attention_service(handler),
        module_service({.door = door,
                        .manager = manager,
                        .max_module_bytes = options.max_module_bytes}),
        reflection(door),
        reflection_v1alpha(door),
        unknown_methods(door),
        memory({.admission = admission,
                .buffers = buffers,
                .manager = manager,
                .modules = module_service}),
        message_watch(MaxUnfinishedBytes(options), *connections,
                      [this](std::size_t of_interest) {
                        return memory.Read(of_interest);
                      }),
        message_ticker(
            MessageWatch::kPeriod,
            [this] { message_watch.Look(MessageWatch::Clock::now()); }),
        ticker(TickPeriod(timeouts), [this, timeouts] {
          // First what frees memory: the rest may want some.
          buffers.Trim();
          if (trim_rule.Look(ReadHeap().free)) malloc_trim(/*pad=*/0);
          attention_service.EndStreamsOlderThan(timeouts.stream_age);
          module_service.EndIdleUploads(timeouts.upload_idle);
          answers.CancelUnread(AnswerWatch::Clock::now());
          log.Tick(std::chrono::steady_clock::now());
        }) {
    observer.Add(log);
    if (metrics != nullptr) observer.Add(*metrics);
    observer.Add(message_watch);
  }

  std::unique_ptr<OpenConnections> connections;
  std::atomic<grpc::HealthCheckServiceInterface*> health{nullptr};
  LogObserver log;
  std::unique_ptr<MetricsObserver> metrics;  ///< null: nobody looks at them
  ObserverFanOut observer;
  ModuleRegistry registry;
  AdmissionController admission;
  BufferPool buffers;
  AnswerWatch answers;
  Executor executor;
  FrontDoor door;
  ForwardHandler handler;
  ModuleManager manager;
  AttentionServiceImpl attention_service;
  ModuleServiceImpl module_service;
  ReflectionService<grpc::reflection::v1::ServerReflection> reflection;
  ReflectionService<grpc::reflection::v1alpha::ServerReflection>
      reflection_v1alpha;
  UnknownMethods unknown_methods;
  MemoryAccounts memory;
  MessageWatch message_watch;
  Ticker message_ticker;
  TrimRule trim_rule;  ///< the ticker's own
  Ticker ticker;
  Listening listening;
  std::unique_ptr<MetricsPage> metrics_page;
  std::unique_ptr<MetricsEndpoint> metrics_endpoint;
};

Server::Server(ServerOptions options, const ServerTimeouts& timeouts)
    : options_(std::move(options)), timeouts_(timeouts) {}

Server::~Server() {
  if (parts_ == nullptr) return;
  if (parts_->listening.server != nullptr && state_ != ServerState::kStopped) {
    ShutDown(std::chrono::milliseconds(0));
  }
  parts_->health = nullptr;
}

const std::vector<std::string>& Server::addresses() const { return addresses_; }

std::string Server::metrics_address() const {
  if (parts_ == nullptr || parts_->metrics_endpoint == nullptr) return "";
  return parts_->metrics_endpoint->address();
}

ServerState Server::state() const { return state_; }

absl::Status Server::Start(const std::stop_token& stop) {
  state_ = ServerState::kStarting;
  ATTENTION_ASSIGN_OR_RETURN(const std::vector<std::string> computing,
                             DescribeComputing(options_));
  std::unique_ptr<ModuleRepository> repository;
  if (!options_.modules.empty()) {
    ATTENTION_ASSIGN_OR_RETURN(
        repository,
        ModuleRepository::Open(options_.modules, options_.max_module_bytes,
                               options_.modules_link_roots));
  }
  ATTENTION_ASSIGN_OR_RETURN(std::unique_ptr<OpenConnections> connections,
                             OpenConnections::Create(options_.max_connections));
  parts_ =
      std::make_unique<Parts>(options_, timeouts_, state_,
                              std::move(repository), std::move(connections));
  ATTENTION_RETURN_IF_ERROR(Listen());
  ATTENTION_RETURN_IF_ERROR(ServeMetrics());
  ATTENTION_RETURN_IF_ERROR(LoadModules(stop));
  state_ = ServerState::kServing;
  SetHealth(/*name=*/"", true);
  LogGrpcErrors();
  for (const std::string& line : computing) spdlog::info("{}", line);
  for (const std::string& address : addresses_) {
    spdlog::info("listening on {}", address);
  }
  return absl::OkStatus();
}

absl::Status Server::Listen() {
  // A setting of the whole process, read by every builder.
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  SetListenerArguments(options_.max_message_bytes, &builder);
  builder.RegisterService(&parts_->attention_service);
  builder.RegisterService(&parts_->module_service);
  builder.RegisterService(&parts_->reflection);
  builder.RegisterService(&parts_->reflection_v1alpha);
  builder.RegisterCallbackGenericService(&parts_->unknown_methods);
  addresses_ = options_.listen;
  ATTENTION_ASSIGN_OR_RETURN(
      parts_->listening, StartListening({.connections = *parts_->connections,
                                         .on_failure = ExitDeaf},
                                        &builder, &addresses_));
  parts_->health = parts_->listening.server->GetHealthCheckService();
  SetHealth(/*name=*/"", false);
  return absl::OkStatus();
}

absl::Status Server::ServeMetrics() {
  if (parts_->metrics == nullptr) return absl::OkStatus();
  ATTENTION_ASSIGN_OR_RETURN(const std::string address,
                             MetricsAddress(options_.metrics_listen));
  parts_->metrics_page = std::make_unique<MetricsPage>(
      *parts_->metrics,
      ServerMetrics({.executor = parts_->executor,
                     .admission = parts_->admission,
                     .max_queue_bytes = options_.max_queue_bytes,
                     .registry = parts_->registry,
                     .max_loaded_bytes = options_.max_loaded_bytes,
                     .accept_loop = *parts_->listening.accept_loop,
                     .connections = *parts_->connections,
                     .compute_path = options_.compute_path}));
  auto endpoint = MetricsEndpoint::Listen(
      address, [&page = *parts_->metrics_page] { return page.Write(); });
  if (!endpoint.ok()) {
    return AnnotateStatus("--metrics-listen", endpoint.status());
  }
  parts_->metrics_endpoint = *std::move(endpoint);
  spdlog::info("metrics at http://{}/metrics", metrics_address());
  return absl::OkStatus();
}

absl::Status Server::LoadModules(const std::stop_token& stop) {
  const absl::Status stopped =
      absl::CancelledError("stopped while loading modules");
  std::set<std::string> named(options_.load.begin(), options_.load.end());
  const bool all = named.erase(std::string(kAllModules)) > 0;
  for (const std::string& name : named) {
    if (stop.stop_requested()) return stopped;
    ATTENTION_RETURN_IF_ERROR(
        parts_->manager.Load(name, /*replace=*/true).status());
  }
  if (!all) return absl::OkStatus();
  ATTENTION_ASSIGN_OR_RETURN(const std::vector<std::string> stored,
                             parts_->manager.StoredNames());
  std::vector<std::string> failed;
  for (const std::string& name : stored) {
    if (named.contains(name)) continue;
    if (stop.stop_requested()) return stopped;
    const absl::Status loaded =
        parts_->manager.Load(name, /*replace=*/true).status();
    if (loaded.ok()) continue;
    // One bad module keeps none of the others from being served.
    spdlog::error("not served: {}", StatusText(loaded));
    SetHealth(name, false);
    failed.push_back(name);
  }
  LogLoaded(stored.size(), failed);
  return absl::OkStatus();
}

void Server::SetHealth(const std::string& name, bool serving) {
  parts_->health.load()->SetServingStatus(name, serving);
}

void Server::ShutDown(std::chrono::milliseconds linger) {
  // First: gRPC, once shut down, takes charge of no connection.
  parts_->listening.accept_loop->Stop();
  parts_->listening.server->Shutdown(std::chrono::system_clock::now() + linger);
}

void Server::Drain() {
  if (parts_ == nullptr || parts_->listening.server == nullptr) return;
  spdlog::info("draining, at most {} s", options_.drain_grace.count());
  parts_->health.load()->Shutdown();  // every name: NOT_SERVING
  state_ = ServerState::kDraining;
  parts_->attention_service.Drain();
  parts_->module_service.Drain();
  const auto lame_duck =
      std::min<std::chrono::milliseconds>(kLameDuckTime, options_.drain_grace);
  std::this_thread::sleep_for(lame_duck);
  if (!parts_->door.calls().WaitIdle(options_.drain_grace - lame_duck)) {
    spdlog::warn("requests in flight did not finish in time, cancelling them");
  }
  ShutDown(kLingerTime);
  state_ = ServerState::kStopped;
  parts_->log.Flush();
  spdlog::info("stopped");
}

}  // namespace attention
