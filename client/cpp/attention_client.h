// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cpp/forward_result.h"
#include "client/cpp/forward_stream.h"
#include "core/attention/module_description.h"
#include "core/attention/request.h"
#include "core/attention/weights.h"

namespace grpc {
class ChannelInterface;
}  // namespace grpc

namespace attention {

/// How a client connects and waits.
struct ClientOptions {
  /// Time one call may take in all, connecting included; unset: no limit. A
  /// call beyond it fails with DEADLINE_EXCEEDED, and the server drops it; but
  /// gRPC returns no sooner than the peer has taken what was being written, so
  /// a stopped one is noticed by "grpc.keepalive_time_ms".
  std::optional<std::chrono::milliseconds> timeout = std::chrono::seconds(60);
  /// Longest message accepted from the server, in bytes. gRPC's own default of
  /// 4 MiB would fail on a (4, 512, 1024) float32 output; the server bounds
  /// what it sends with --max-message-bytes.
  int max_receive_bytes = std::numeric_limits<int>::max();
  /// Further gRPC channel arguments, by name, such as
  /// "grpc.keepalive_time_ms".
  std::map<std::string, std::variant<int, std::string>> channel_args;
};

/// What grpc.health.v1.Health/Check answers.
enum class HealthState : std::uint8_t { kUnknown, kServing, kNotServing };

/// Calls an attention server.
///
/// Every method makes one RPC and blocks until it is answered, fails or exceeds
/// the timeout, but for ForwardAsync and OpenStream. Errors carry the server's
/// code and text; where the server could not be reached, or was too slow, the
/// text says what to check. Failed calls are not repeated, but for a stream's.
///
/// Performance: creating a client opens a connection and is expensive (the
/// connection itself is made by the first call); copies share it and are cheap.
/// Over loopback a `unix:` target moves large tensors about twice as fast as
/// TCP. A tensor is copied once on its way to gRPC, or not at all where its
/// memory is handed over (Prepare with an owner), and an answer once, out of
/// gRPC's buffers. A request sent many times pays its copy once through
/// Prepare().
///
/// Thread Safety: Thread-safe; calls from several threads run concurrently on
/// the one connection.
class AttentionClient {
 public:
  /// Make a client of the server at `target`: "host:port", "[IPv6]:port",
  /// "unix:PATH" or another gRPC name. Does not wait for the server. A loopback
  /// or UNIX target is called directly, whatever proxy the environment names.
  /// \return INVALID_ARGUMENT when the target is none of these, as without a
  ///   port.
  [[nodiscard]] static absl::StatusOr<AttentionClient> Create(
      std::string target, const ClientOptions& options = {});

  /// Make a client over a channel made elsewhere, such as one with TLS or
  /// inside the process. `target` appears in error texts only.
  [[nodiscard]] static AttentionClient FromChannel(
      std::shared_ptr<grpc::ChannelInterface> channel, std::string target,
      const ClientOptions& options = {});

  /// Compute the forward pass of a served module.
  ///
  /// Shapes and dtypes: as AttentionInputs says; absent key and value are not
  /// sent. The tensors are read during the call only.
  /// \return INVALID_ARGUMENT when the inputs do not fit the module or exceed
  ///   2 GiB, NOT_FOUND when there is no such module, UNAVAILABLE,
  ///   RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED.
  [[nodiscard]] absl::StatusOr<ForwardResult> Forward(
      std::string_view module, const AttentionInputs& inputs) const;

  /// Serialise a request, to be sent any number of times.
  /// \return INVALID_ARGUMENT beyond 2 GiB.
  [[nodiscard]] static absl::StatusOr<PreparedForward> Prepare(
      std::string_view module, const AttentionInputs& inputs);
  /// The same without copying the tensors, beyond 4 KiB each, which live and
  /// stay as they are as long as `owner`: the request shares it, and so does
  /// gRPC until the last byte has left. That may be long after a call that
  /// failed, on a thread of gRPC: during a later call, or when the client goes.
  [[nodiscard]] static absl::StatusOr<PreparedForward> Prepare(
      std::string_view module, const AttentionInputs& inputs,
      const std::shared_ptr<const void>& owner);

  /// Send a prepared request and wait for its answer. \return as above.
  [[nodiscard]] absl::StatusOr<ForwardResult> Forward(
      const PreparedForward& request) const;
  /// The same with the answer's elements in memory of the caller's.
  /// \param outputs is written once the whole answer is there, and not at all
  ///   when this fails.
  /// \return also INVALID_ARGUMENT when `outputs` has not the answer's shapes
  ///   and dtype, or weights where it has none, or none where it has some.
  [[nodiscard]] absl::StatusOr<ForwardResult> ForwardInto(
      const PreparedForward& request, const AttentionOutputs& outputs) const;

  /// Send a prepared request without waiting for its answer.
  ///
  /// `done` is called exactly once, on a thread of gRPC, which it must not
  /// block; it may send again. Wait for it before the process ends.
  /// \param stop cancels the call when requested: CANCELLED, unless it has
  ///   been answered.
  void ForwardAsync(const PreparedForward& request,
                    std::function<void(absl::StatusOr<ForwardReply>)> done,
                    const std::stop_token& stop = {}) const;

  /// Open a stream for many requests in flight, whose answers come as they
  /// complete. Calls the server at the first request.
  [[nodiscard]] ForwardStream OpenStream(
      const StreamOptions& options = {}) const;

  /// List served modules and those of the repository, by name.
  [[nodiscard]] absl::StatusOr<std::vector<ModuleDescription>> ListModules()
      const;

  /// Describe one module. \return NOT_FOUND when the server does not know it.
  [[nodiscard]] absl::StatusOr<ModuleDescription> GetModule(
      std::string_view name) const;

  /// Serve a module of the server's repository.
  /// \return NOT_FOUND, ALREADY_EXISTS unless `replace`, INVALID_ARGUMENT when
  ///   its files are not valid.
  [[nodiscard]] absl::StatusOr<ModuleDescription> LoadModule(
      std::string_view name, bool replace = false) const;

  /// Serve a module whose weights are the bytes of a safetensors file, sent in
  /// chunks of 1 MiB.
  /// \return ALREADY_EXISTS unless `replace`, RESOURCE_EXHAUSTED when larger
  ///   than the server takes, FAILED_PRECONDITION when `persist` and it has no
  ///   repository, INVALID_ARGUMENT when weights and config disagree.
  [[nodiscard]] absl::StatusOr<ModuleDescription> UploadModule(
      const UploadOptions& options, std::span<const std::byte> file) const;

  /// The same from a file, of which one chunk at a time is in memory.
  /// \return also NOT_FOUND when the file cannot be opened, DATA_LOSS when it
  ///   cannot be read to its end.
  [[nodiscard]] absl::StatusOr<ModuleDescription> UploadModuleFile(
      const UploadOptions& options, const std::filesystem::path& path) const;

  /// The same from tensors named as in a state_dict.
  [[nodiscard]] absl::StatusOr<ModuleDescription> UploadModule(
      const UploadOptions& options, const NamedTensors& weights) const;

  /// Stop serving a module. \return NOT_FOUND when not served.
  [[nodiscard]] absl::Status UnloadModule(std::string_view name) const;

  /// Ask whether the server, or one module, is serving.
  /// \param service a module's name; empty: the server as a whole.
  /// \return NOT_FOUND when the server does not know the service.
  [[nodiscard]] absl::StatusOr<HealthState> Health(
      std::string_view service = "") const;

 private:
  friend class ForwardStream;
  class Connection;
  using ChunkSource =
      std::function<absl::StatusOr<std::span<const std::byte>>()>;

  explicit AttentionClient(std::shared_ptr<const Connection> connection);

  absl::StatusOr<ForwardResult> Send(const PreparedForward& request,
                                     const AttentionOutputs* into) const;
  // Send a header and then chunks until `next` yields an empty one.
  absl::StatusOr<ModuleDescription> Upload(const UploadOptions& options,
                                           const ChunkSource& next) const;

  std::shared_ptr<const Connection> connection_;
};

}  // namespace attention
