// SPDX-License-Identifier: Apache-2.0
#include "core/serving/admission_controller.h"

#include <algorithm>
#include <charconv>
#include <mutex>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"

namespace attention {
namespace {

using std::chrono::milliseconds;

// A status carries the delay here, in milliseconds.
constexpr char kOverloadPayload[] = "attention/overload";

constexpr milliseconds kLeastRetryDelay{10};
constexpr milliseconds kMostRetryDelay{10'000};

}  // namespace

struct AdmissionController::Ledger {
  explicit Ledger(std::size_t budget_bytes) : budget(budget_bytes) {}

  [[nodiscard]] std::size_t largest_scratch() const {
    return scratch.empty() ? 0 : *scratch.rbegin();
  }

  const std::size_t budget;
  std::mutex mutex;
  std::size_t reserved = 0;            // guarded by mutex; at most budget
  std::multiset<std::size_t> scratch;  // guarded by mutex; one per request
};

AdmissionController::AdmissionController(std::size_t budget_bytes)
    : ledger_(std::make_shared<Ledger>(budget_bytes)) {}

absl::StatusOr<AdmissionController::Reservation> AdmissionController::Reserve(
    std::size_t num_bytes) {
  Reservation reservation(ledger_);
  ATTENTION_RETURN_IF_ERROR(reservation.Extend(num_bytes));
  return reservation;
}

std::size_t AdmissionController::reserved_bytes() const {
  const std::lock_guard lock(ledger_->mutex);
  return ledger_->reserved + ledger_->largest_scratch();
}

AdmissionController::Reservation::Reservation(std::shared_ptr<Ledger> ledger)
    : ledger_(std::move(ledger)) {
  const std::lock_guard lock(ledger_->mutex);
  scratch_ = ledger_->scratch.insert(0);
}

AdmissionController::Reservation::Reservation(Reservation&& other) noexcept
    : ledger_(std::move(other.ledger_)),
      num_bytes_(std::exchange(other.num_bytes_, 0)),
      scratch_(other.scratch_) {}

AdmissionController::Reservation& AdmissionController::Reservation::operator=(
    Reservation&& other) noexcept {
  if (this == &other) return *this;
  Release();
  ledger_ = std::move(other.ledger_);
  num_bytes_ = std::exchange(other.num_bytes_, 0);
  scratch_ = other.scratch_;
  return *this;
}

AdmissionController::Reservation::~Reservation() { Release(); }

void AdmissionController::Reservation::Release() {
  if (ledger_ == nullptr) return;
  {
    const std::lock_guard lock(ledger_->mutex);
    ledger_->reserved -= num_bytes_;
    ledger_->scratch.erase(scratch_);
  }
  ledger_.reset();
}

absl::Status AdmissionController::Reservation::Extend(
    std::size_t num_bytes, std::size_t scratch_bytes) {
  const std::lock_guard lock(ledger_->mutex);
  const std::size_t budget = ledger_->budget;
  // No sum here can overflow: each is compared with what the budget leaves.
  const auto fits = [budget](std::size_t used, std::size_t more,
                             std::size_t scratch) {
    return used <= budget && more <= budget - used &&
           scratch <= budget - used - more;
  };
  if (!fits(num_bytes_, num_bytes, scratch_bytes)) {
    return absl::ResourceExhaustedError(FormatText(
        "the request needs {} bytes for messages and {} for scratch, more than "
        "the server's budget of {} bytes (--max-queue-bytes)",
        num_bytes_ + std::min(num_bytes, SIZE_MAX - num_bytes_), scratch_bytes,
        budget));
  }
  const std::size_t scratch =
      std::max(scratch_bytes, ledger_->largest_scratch());
  if (!fits(ledger_->reserved, num_bytes, scratch)) {
    return OverloadError(FormatText(
        "the server is overloaded: {} of its budget of {} bytes are in use and "
        "the request needs {} more",
        ledger_->reserved, budget, num_bytes));
  }
  ledger_->reserved += num_bytes;
  num_bytes_ += num_bytes;
  if (scratch_bytes > *scratch_) {
    ledger_->scratch.erase(scratch_);
    scratch_ = ledger_->scratch.insert(scratch_bytes);
  }
  return absl::OkStatus();
}

absl::Status AdmissionController::Reservation::Resize(std::size_t num_bytes) {
  if (num_bytes > num_bytes_) return Extend(num_bytes - num_bytes_);
  const std::lock_guard lock(ledger_->mutex);
  ledger_->reserved -= num_bytes_ - num_bytes;
  num_bytes_ = num_bytes;
  return absl::OkStatus();
}

void AdmissionController::Reservation::Shrink(std::size_t num_bytes) noexcept {
  if (ledger_ == nullptr) return;
  const std::lock_guard lock(ledger_->mutex);
  ledger_->reserved -= num_bytes_ - std::min(num_bytes_, num_bytes);
  num_bytes_ = std::min(num_bytes_, num_bytes);
  auto scratch = ledger_->scratch.extract(scratch_);
  scratch.value() = 0;
  scratch_ = ledger_->scratch.insert(std::move(scratch));
}

std::optional<milliseconds> RetryDelay(const absl::Status& status) {
  const auto payload = status.GetPayload(kOverloadPayload);
  if (!payload) return std::nullopt;
  const std::string digits(*payload);
  milliseconds::rep count = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), count);
  return milliseconds(count);
}

absl::Status OverloadError(std::string_view text, milliseconds retry_delay) {
  const milliseconds delay =
      std::clamp(retry_delay, kLeastRetryDelay, kMostRetryDelay);
  absl::Status status = absl::ResourceExhaustedError(std::string(text));
  status.SetPayload(kOverloadPayload,
                    absl::Cord(std::to_string(delay.count())));
  return status;
}

}  // namespace attention
