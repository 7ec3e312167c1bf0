// SPDX-License-Identifier: Apache-2.0
#include "core/safetensors/foreign_file.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace attention {
namespace {

struct Format {
  std::string_view magic;
  std::string_view description;
};

constexpr std::array<Format, 8> kFormats = {{
    {"\x93NUMPY",
     "a NumPy array (.npy), which has no names; write the weights with "
     "safetensors.numpy.save_file"},
    {"version https://git-lfs",
     "a git-LFS pointer instead of the file; fetch it with `git lfs pull`"},
    {"GGUF",
     "a GGUF file (llama.cpp); take the safetensors file it was made from"},
    {"\x89HDF\r\n\x1A\n",
     "an HDF5 file (.h5); write its weights with safetensors.numpy.save_file"},
    {"\x1F\x8B", "a gzip archive; unpack it first"},
    {"\x28\xB5\x2F\xFD", "a zstd archive; unpack it first"},
    {"\xFD\x37zXZ", "an xz archive; unpack it first"},
    {"<",
     "a web page or XML text, such as a download's error; download the file "
     "again"},
}};

bool IsPickle(std::string_view start) {
  // PROTO and a protocol that is in use; no opcode is 0.
  return start.size() > 2 && start[0] == '\x80' && start[1] >= 2 &&
         start[1] <= 5 && start[2] != '\0';
}

// What a zip archive is, by the name of its first file.
std::string_view DescribeZip(std::string_view start) {
  constexpr std::size_t kLengthAt = 26;
  constexpr std::size_t kNameAt = 30;
  if (start.size() > kNameAt) {
    const auto length = static_cast<unsigned char>(start[kLengthAt]);
    if (start.substr(kNameAt, length).ends_with(".npy")) {
      return "a NumPy archive (.npz); write its arrays with "
             "safetensors.numpy.save_file";
    }
  }
  return "a PyTorch checkpoint (a zip archive); convert it with "
         "attention-convert";
}

std::string_view DescribeJson(std::string_view start) {
  if (start.find("\"weight_map\"") == std::string_view::npos) {
    return "JSON text; expected the weights themselves";
  }
  return "the index of a sharded model; a module's folder form takes it as "
         "weights_file, else give the shard that has the module";
}

}  // namespace

std::string_view DescribeForeignFile(std::string_view start) {
  constexpr std::size_t kFewZeros = 16;
  if (start.starts_with("PK\x03\x04")) return DescribeZip(start);
  if (IsPickle(start)) {
    return "a pickle, such as an old PyTorch checkpoint; convert it with "
           "attention-convert";
  }
  if (start.size() >= kFewZeros &&
      start.find_first_not_of('\0') == std::string_view::npos) {
    return "a file of zeros, such as an unfinished download; fetch it again";
  }
  // Text may begin with a byte order mark and white space.
  std::string_view text = start;
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  if (text.starts_with('{')) return DescribeJson(text);
  for (const Format& format : kFormats) {
    if (text.starts_with(format.magic)) return format.description;
  }
  return {};
}

}  // namespace attention
