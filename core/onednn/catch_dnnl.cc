// SPDX-License-Identifier: Apache-2.0
#include "core/onednn/catch_dnnl.h"

#include <new>
#include <oneapi/dnnl/dnnl.hpp>
#include <stdexcept>

namespace attention {
namespace {

constexpr char kOutOfMemory[] = "memory is exhausted";

}  // namespace

absl::Status CatchDnnl(absl::FunctionRef<void()> body) {
  try {
    body();
    return absl::OkStatus();
  } catch (const dnnl::error& error) {
    if (error.status == dnnl_out_of_memory) {
      return absl::ResourceExhaustedError(kOutOfMemory);
    }
    return absl::InternalError("a compute primitive failed");
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(kOutOfMemory);
  } catch (const std::length_error&) {
    return absl::ResourceExhaustedError(kOutOfMemory);
  } catch (...) {
    return absl::InternalError("the forward pass failed");
  }
}

}  // namespace attention
