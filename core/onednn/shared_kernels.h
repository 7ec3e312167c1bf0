// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <mutex>

namespace attention {

/// Kernels compiled for a key, shared by all who hold them: a stack of layers,
/// and modules of the same sizes, have one set. Freed with their last holder.
/// Thread-safe.
template <typename Key, typename Kernels>
class SharedKernels {
 public:
  /// Return the kernels of a key, made by `make` unless somebody holds them.
  template <typename Make>
  [[nodiscard]] std::shared_ptr<const Kernels> Get(const Key& key,
                                                   const Make& make) {
    const std::lock_guard lock(mutex_);
    if (auto held = kernels_[key].lock()) return held;
    std::erase_if(kernels_,
                  [](const auto& entry) { return entry.second.expired(); });
    auto made = std::make_shared<const Kernels>(make());
    kernels_[key] = made;
    return made;
  }

 private:
  std::mutex mutex_;
  std::map<Key, std::weak_ptr<const Kernels>> kernels_;
};

}  // namespace attention
