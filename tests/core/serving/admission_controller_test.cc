// SPDX-License-Identifier: Apache-2.0
#include "core/serving/admission_controller.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "core/tensor/status_text.h"

namespace attention {
namespace {

using Reservation = AdmissionController::Reservation;

TEST(AdmissionControllerTest, GivesBytesBackWhenAReservationDies) {
  AdmissionController admission(100);

  {
    const absl::StatusOr<Reservation> reservation = admission.Reserve(60);
  }

  EXPECT_EQ(admission.reserved_bytes(), 0U);
}

TEST(AdmissionControllerTest, RefusesWhatExceedsTheRestOfTheBudget) {
  AdmissionController admission(100);
  const absl::StatusOr<Reservation> first = admission.Reserve(60);

  const absl::StatusOr<Reservation> second = admission.Reserve(41);

  EXPECT_EQ(second.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(IsOverload(second.status()));
}

TEST(AdmissionControllerTest, TellsRequestsThatNeverFitFromOverload) {
  AdmissionController admission(100);

  const absl::StatusOr<Reservation> reservation = admission.Reserve(101);

  EXPECT_EQ(reservation.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(
      StatusText(reservation.status()).ends_with("(--max-queue-bytes)"));
  EXPECT_FALSE(IsOverload(reservation.status()));
}

TEST(AdmissionControllerTest, CountsOnlyTheLargestScratch) {
  AdmissionController admission(100);
  absl::StatusOr<Reservation> small = admission.Reserve(10);
  absl::StatusOr<Reservation> large = admission.Reserve(10);

  ASSERT_TRUE(small->Extend(0, 50).ok());
  ASSERT_TRUE(large->Extend(0, 70).ok());

  EXPECT_EQ(admission.reserved_bytes(), 90U);
}

TEST(AdmissionControllerTest, RefusesBytesThatTheLargestScratchNeeds) {
  AdmissionController admission(100);
  absl::StatusOr<Reservation> first = admission.Reserve(10);
  ASSERT_TRUE(first->Extend(0, 70).ok());

  const absl::StatusOr<Reservation> second = admission.Reserve(21);

  EXPECT_TRUE(IsOverload(second.status()));
}

TEST(AdmissionControllerTest, LeavesAReservationAloneWhenExtendFails) {
  AdmissionController admission(100);
  absl::StatusOr<Reservation> reservation = admission.Reserve(10);

  const absl::Status status = reservation->Extend(50, 50);

  EXPECT_FALSE(status.ok());
  EXPECT_EQ(admission.reserved_bytes(), 10U);
}

TEST(AdmissionControllerTest, GivesBackWhatAReservationShrinksBy) {
  AdmissionController admission(100);
  absl::StatusOr<Reservation> reservation = admission.Reserve(60);
  ASSERT_TRUE(reservation->Extend(0, 20).ok());

  EXPECT_TRUE(reservation->Resize(10).ok());

  EXPECT_EQ(admission.reserved_bytes(), 30U);
}

TEST(AdmissionControllerTest, GivesBackScratchWithWhatItShrinksBy) {
  AdmissionController admission(100);
  auto reservation = *admission.Reserve(30);
  ASSERT_TRUE(reservation.Extend(10, /*scratch_bytes=*/50).ok());
  auto other = *admission.Reserve(1);
  EXPECT_EQ(admission.reserved_bytes(), 91U);

  reservation.Shrink(15);

  EXPECT_EQ(admission.reserved_bytes(), 16U);
  reservation.Shrink(1000);
  EXPECT_EQ(admission.reserved_bytes(), 16U);
  reservation = {};
  EXPECT_EQ(admission.reserved_bytes(), 1U);
}

TEST(AdmissionControllerTest, RefusesToResizeBeyondTheBudget) {
  AdmissionController admission(100);
  absl::StatusOr<Reservation> reservation = admission.Reserve(60);

  EXPECT_TRUE(reservation->Resize(100).ok());
  EXPECT_EQ(reservation->Resize(101).code(),
            absl::StatusCode::kResourceExhausted);

  EXPECT_EQ(admission.reserved_bytes(), 100U);
}

TEST(AdmissionControllerTest, RefusesSizesWhoseSumWouldOverflow) {
  AdmissionController admission(SIZE_MAX);
  absl::StatusOr<Reservation> reservation = admission.Reserve(2);

  EXPECT_FALSE(reservation->Extend(SIZE_MAX - 1, 0).ok());
  EXPECT_FALSE(reservation->Extend(1, SIZE_MAX - 1).ok());
  EXPECT_EQ(admission.reserved_bytes(), 2U);
}

TEST(AdmissionControllerTest, KeepsAReservationThatIsMoved) {
  AdmissionController admission(100);
  Reservation owner;
  {
    absl::StatusOr<Reservation> reservation = admission.Reserve(60);
    owner = *std::move(reservation);
  }

  EXPECT_EQ(admission.reserved_bytes(), 60U);
}

TEST(AdmissionControllerTest, IsOutlivedByItsReservations) {
  auto admission = std::make_unique<AdmissionController>(100);
  absl::StatusOr<Reservation> reservation = admission->Reserve(60);

  admission.reset();

  EXPECT_TRUE(reservation->Extend(40).ok());
}

}  // namespace
}  // namespace attention
