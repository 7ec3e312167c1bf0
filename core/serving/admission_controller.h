// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <set>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace attention {

/// Decides, in bytes, which requests may be in the house at one time.
///
/// Every request holds a reservation for its message and its answer from
/// arrival, before the message is parsed, until the answer has left. Scratch
/// memory is needed by one request at a time, the one being computed, so only
/// the largest of the admitted requests' scratch counts. The sum of both never
/// exceeds the budget. What requests of a batch need together beyond the
/// largest of them, and those that come in between while a large one is
/// computed, is not counted: it is what a pool holds in reserve, or little
/// more. Thread-safe.
class AdmissionController {
  struct Ledger;

 public:
  /// A request's share of the budget, given back when destroyed. Move-only; may
  /// outlive the controller. Not thread-safe.
  class Reservation {
   public:
    Reservation() = default;
    Reservation(Reservation&& other) noexcept;
    Reservation& operator=(Reservation&& other) noexcept;
    Reservation(const Reservation&) = delete;
    Reservation& operator=(const Reservation&) = delete;
    ~Reservation();

    /// Add bytes, and scratch beside them.
    /// \return RESOURCE_EXHAUSTED, with the reservation as it was, when the
    ///   budget does not have them; with a RetryDelay if it might later.
    [[nodiscard]] absl::Status Extend(std::size_t num_bytes,
                                      std::size_t scratch_bytes = 0);

    /// Hold so many bytes from now on, be they fewer or more; scratch stays.
    /// \return as Extend.
    [[nodiscard]] absl::Status Resize(std::size_t num_bytes);

    /// Hold at most so many bytes from now on, and no scratch.
    void Shrink(std::size_t num_bytes) noexcept;

   private:
    friend class AdmissionController;
    explicit Reservation(std::shared_ptr<Ledger> ledger);
    void Release();

    std::shared_ptr<Ledger> ledger_;
    std::size_t num_bytes_ = 0;
    std::multiset<std::size_t>::const_iterator scratch_;  ///< in the ledger
  };

  explicit AdmissionController(std::size_t budget_bytes);

  /// Admit a request of so many bytes. \return as Reservation::Extend.
  [[nodiscard]] absl::StatusOr<Reservation> Reserve(std::size_t num_bytes);

  /// Return the bytes reserved now, the largest scratch included.
  [[nodiscard]] std::size_t reserved_bytes() const;

 private:
  std::shared_ptr<Ledger> ledger_;
};

/// When a refusal is due to other requests, return after how long trying again
/// makes sense; else nothing.
[[nodiscard]] std::optional<std::chrono::milliseconds> RetryDelay(
    const absl::Status& status);
[[nodiscard]] inline bool IsOverload(const absl::Status& status) {
  return RetryDelay(status).has_value();
}

/// Make a RESOURCE_EXHAUSTED status with a RetryDelay: within 10 ms and 10 s.
/// By default long enough for some requests to finish, short enough not to
/// idle.
[[nodiscard]] absl::Status OverloadError(
    std::string_view text,
    std::chrono::milliseconds retry_delay = std::chrono::milliseconds(100));

}  // namespace attention
