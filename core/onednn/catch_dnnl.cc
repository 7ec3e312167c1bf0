// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/catch_dnnl.h"

#include <format>
#include <new>
#include <oneapi/dnnl/dnnl.hpp>

namespace attention {

absl::Status CatchDnnl(std::string_view what,
                       const std::function<void()>& body) {
  try {
    body();
    return absl::OkStatus();
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory) {
      return absl::ResourceExhaustedError(
          std::format("{}: out of memory", what));
    }
    return absl::InternalError(
        std::format("{}: oneDNN reports \"{}\" (status {})", what, error.what(),
                    static_cast<int>(error.status)));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(std::format("{}: out of memory", what));
  }
}

}  // namespace attention
