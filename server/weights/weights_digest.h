// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "core/attention/config.h"
#include "core/attention/weights.h"

namespace attention {

/// Compute the digest by which a client recognises a module's parameters:
/// SHA-256, in lower-case hex, over the state_dict of the module as served
/// (converted to config.dtype when that is set). Thread-safe.
///
/// In ascending order of the names, for each tensor: its name, its dtype and
/// its shape as decimal numbers separated by commas, each followed by a line
/// feed, then its elements, little-endian and row-major. In Python:
///
///   h = hashlib.sha256()
///   for name, t in sorted(module.state_dict().items()):
///       dtype = str(t.dtype).removeprefix("torch.")
///       shape = ",".join(map(str, t.shape))
///       h.update(f"{name}\n{dtype}\n{shape}\n".encode())
///       h.update(t.contiguous().view(torch.uint8).numpy().tobytes())
///   h.hexdigest()
[[nodiscard]] std::string WeightsDigest(const ModuleConfig& config,
                                        const ModuleWeights& weights);

}  // namespace attention
