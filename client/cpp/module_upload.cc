// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "client/cpp/attention_client.h"
#include "client/cpp/connection.h"
#include "core/safetensors/safetensors_writer.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"
#include "proto/wire/module_codec.h"

namespace attention {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{1} * 1024 * 1024;

using UploadWriter = grpc::ClientWriter<v1::UploadModuleRequest>;

// Send bytes in chunks; false when the server has ended the call.
bool WriteChunks(std::span<const std::byte> bytes, UploadWriter& writer) {
  v1::UploadModuleRequest request;
  while (!bytes.empty()) {
    const std::size_t size = std::min(bytes.size(), kChunkBytes);
    request.set_data(bytes.data(), size);
    if (!writer.Write(request)) return false;
    bytes = bytes.subspan(size);
  }
  return true;
}

}  // namespace

absl::StatusOr<ModuleDescription> AttentionClient::Upload(
    const UploadOptions& options, const ChunkSource& next) const {
  grpc::ClientContext context;
  connection_->Prepare(context);
  v1::UploadModuleResponse response;
  const std::unique_ptr<UploadWriter> writer =
      connection_->modules().UploadModule(&context, &response);
  v1::UploadModuleRequest first;
  *first.mutable_header() = EncodeUploadHeader(options);
  bool sending = writer->Write(first);
  while (sending) {
    const absl::StatusOr<std::span<const std::byte>> chunk = next();
    if (!chunk.ok()) {
      // Without this the server would take what it has for the whole file.
      context.TryCancel();
      static_cast<void>(writer->Finish());
      return chunk.status();
    }
    if (chunk->empty()) break;
    sending = WriteChunks(*chunk, *writer);
  }
  // A failed write means that the server has ended the call; Finish says why.
  if (sending) writer->WritesDone();
  ATTENTION_RETURN_IF_ERROR(connection_->ToStatus(writer->Finish()));
  return DecodeModuleDescription(response.module());
}

absl::StatusOr<ModuleDescription> AttentionClient::UploadModule(
    const UploadOptions& options, std::span<const std::byte> file) const {
  return Upload(options,
                [&file]() -> absl::StatusOr<std::span<const std::byte>> {
                  return std::exchange(file, std::span<const std::byte>());
                });
}

absl::StatusOr<ModuleDescription> AttentionClient::UploadModuleFile(
    const UploadOptions& options, const std::filesystem::path& path) const {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(
        FormatText("cannot open {}: {}", path.string(), std::strerror(errno)));
  }
  std::vector<char> chunk(kChunkBytes);
  return Upload(options, [&]() -> absl::StatusOr<std::span<const std::byte>> {
    file.read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
    if (file.bad()) {
      return absl::DataLossError(
          FormatText("cannot read {} to its end", path.string()));
    }
    return std::as_bytes(
        std::span(chunk.data(), static_cast<std::size_t>(file.gcount())));
  });
}

absl::StatusOr<ModuleDescription> AttentionClient::UploadModule(
    const UploadOptions& options, const NamedTensors& weights) const {
  ATTENTION_ASSIGN_OR_RETURN(const SerializedSafetensors file,
                             SerializeSafetensors(weights));
  std::size_t index = 0;
  return Upload(options, [&]() -> absl::StatusOr<std::span<const std::byte>> {
    if (index == 0) {
      ++index;
      return std::as_bytes(std::span(file.header));
    }
    // An empty piece would end the upload.
    while (index <= file.data.size() && file.data[index - 1].empty()) {
      ++index;
    }
    if (index > file.data.size()) return std::span<const std::byte>();
    return file.data[index++ - 1];
  });
}

}  // namespace attention
