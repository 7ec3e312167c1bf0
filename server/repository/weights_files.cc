// SPDX-License-Identifier: Apache-2.0
#include "server/repository/weights_files.h"

#include <map>

#include "core/safetensors/read_file.h"
#include "core/safetensors/safetensors_index.h"
#include "core/tensor/format_text.h"
#include "core/tensor/quote.h"
#include "core/tensor/status_macros.h"
#include "core/tensor/status_text.h"

namespace attention {
namespace {

constexpr std::string_view kIndexExtension = ".index.json";

absl::StatusOr<SafetensorsIndex> ReadIndex(const WeightsFiles::Opener& open,
                                           std::string_view path) {
  ATTENTION_ASSIGN_OR_RETURN(const UniqueFd file, open(path));
  ATTENTION_ASSIGN_OR_RETURN(const AlignedBuffer json,
                             ReadFile(file.get(), kMaxSafetensorsIndexBytes));
  return ParseSafetensorsIndex(
      {reinterpret_cast<const char*>(json.data()), json.size()});
}

// The tensors wanted of each shard.
using NamesByShard = std::map<std::string_view, std::vector<std::string_view>>;

NamesByShard GroupByShard(const SafetensorsIndex& index,
                          std::string_view prefix) {
  NamesByShard names;
  for (const auto& [name, shard] : index) {
    if (name.starts_with(prefix)) names[shard].push_back(name);
  }
  return names;
}

bool Has(const SafetensorsView& view, std::string_view name) {
  return view.tensors().contains(name) || view.unsupported().contains(name);
}

}  // namespace

absl::StatusOr<SafetensorsFile> ReadWeightsFile(const UniqueFd& file,
                                                std::size_t max_bytes) {
  absl::StatusOr<SafetensorsFile> read =
      SafetensorsFile::Read(file.get(), max_bytes);
  const bool is_too_long = absl::IsResourceExhausted(read.status()) &&
                           FileSize(file.get()).value_or(0) > max_bytes;
  if (!is_too_long) return read;
  return absl::ResourceExhaustedError(
      FormatText("{} (--max-module-bytes)", StatusText(read.status())));
}

absl::StatusOr<WeightsFiles> WeightsFiles::Read(const Opener& open,
                                                const std::string& path,
                                                std::string_view prefix,
                                                std::size_t max_bytes) {
  WeightsFiles files;
  ATTENTION_RETURN_IF_ERROR(
      path.ends_with(kIndexExtension)
          ? files.ReadShards(open, path, prefix, max_bytes)
          : files.ReadFile(open, path, max_bytes));
  return files;
}

absl::Status WeightsFiles::ReadFile(const Opener& open, std::string_view path,
                                    std::size_t max_bytes) {
  ATTENTION_ASSIGN_OR_RETURN(const UniqueFd fd, open(path));
  ATTENTION_ASSIGN_OR_RETURN(SafetensorsFile file,
                             ReadWeightsFile(fd, max_bytes));
  files_.push_back(std::move(file));
  return view_.Add(files_.back().view());
}

absl::Status WeightsFiles::ReadShards(const Opener& open,
                                      const std::string& index_path,
                                      std::string_view prefix,
                                      std::size_t max_bytes) {
  const absl::StatusOr<SafetensorsIndex> index = ReadIndex(open, index_path);
  if (!index.ok()) return AnnotateStatus(Quote(index_path), index.status());
  const std::string folder = index_path.substr(0, index_path.rfind('/') + 1);
  for (const auto& [shard, names] : GroupByShard(*index, prefix)) {
    ATTENTION_RETURN_IF_ERROR(AnnotateStatus(
        Quote(shard), ReadFile(open, folder + std::string(shard), max_bytes)));
    max_bytes -= files_.back().num_bytes();
    for (const std::string_view name : names) {
      if (Has(files_.back().view(), name)) continue;
      return absl::InvalidArgumentError(
          FormatText("{} has no tensor {}, which {} says it has", Quote(shard),
                     Quote(name), Quote(index_path)));
    }
  }
  return absl::OkStatus();
}

}  // namespace attention
