// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace attention {

/// Write a safetensors file by hand: the given length, little-endian, then the
/// header, then the data, whatever they are.
inline std::string SafetensorsBytes(std::uint64_t header_length,
                                    std::string_view header,
                                    std::string_view data) {
  std::string file;
  for (int i = 0; i < 8; ++i) {
    file += static_cast<char>(header_length >> (8 * i) & 0xFF);
  }
  return file.append(header).append(data);
}

/// The same with the header's true length.
inline std::string SafetensorsBytes(std::string_view header,
                                    std::string_view data = {}) {
  return SafetensorsBytes(header.size(), header, data);
}

inline std::span<const std::byte> AsBytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

}  // namespace attention
