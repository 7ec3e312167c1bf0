// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

#include "server/repository/unix_file.h"

namespace attention {

/// A peer that lets a gRPC client send as much as it likes, but takes only the
/// first bytes of it, and answers nothing: a client with more to send is kept
/// writing until the peer goes. Not thread-safe.
class StalledPeer {
 public:
  /// Listen on a UNIX socket; abort if that fails, as with all below.
  explicit StalledPeer(const std::string& path);

  /// Wait for a client, take so many bytes from it and no more.
  void Take(std::size_t num_bytes);

  /// Close the connection.
  void Close() { connection_ = UniqueFd(); }

 private:
  UniqueFd listener_;
  UniqueFd connection_;
};

}  // namespace attention
