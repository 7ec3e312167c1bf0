// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/answer_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <vector>

namespace attention {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr std::size_t kMiB = std::size_t{1} << 20U;
// One answer that waits.
UnreadAnswers Waiting(std::size_t num_bytes, milliseconds waited) {
  return {.num_bytes = num_bytes, .oldest_bytes = num_bytes, .waited = waited};
}

constexpr AnswerLimits kLimits{
    .max_unread_bytes = 100 * kMiB,
    .patience = seconds(5),
    .max_wait = seconds(30),
};

TEST(ChooseToCancelTest, ChoosesNobodyWhileAnswersAreTaken) {
  EXPECT_THAT(ChooseToCancel({}, kLimits), IsEmpty());
  EXPECT_THAT(
      ChooseToCancel(std::vector<UnreadAnswers>(200, Waiting(kMiB, seconds(5))),
                     kLimits),
      IsEmpty());
}

TEST(ChooseToCancelTest, LetsThemWaitWhileThereIsMemory) {
  EXPECT_THAT(
      ChooseToCancel(
          std::vector<UnreadAnswers>(100, Waiting(kMiB, seconds(29))), kLimits),
      IsEmpty());
}

TEST(ChooseToCancelTest, ChoosesTheLatestUntilThereIsMemory) {
  const std::vector<UnreadAnswers> calls = {
      Waiting(40 * kMiB, seconds(16)),
      Waiting(40 * kMiB, seconds(18)),
      Waiting(40 * kMiB, seconds(17)),
      Waiting(40 * kMiB, seconds(1)),
  };

  EXPECT_THAT(ChooseToCancel(calls, kLimits), ElementsAre(1, 2));
}

TEST(ChooseToCancelTest, GivesLongAnswersMoreTime) {
  const std::vector<UnreadAnswers> calls = {
      Waiting(800 * kMiB, seconds(200)),
      Waiting(8 * kMiB, milliseconds(7001)),
      Waiting(8 * kMiB, seconds(7)),
  };

  EXPECT_THAT(ChooseToCancel(calls, kLimits), ElementsAre(1));
}

TEST(ChooseToCancelTest, ChoosesWhoHasWaitedTooLongAtAnyRate) {
  const std::vector<UnreadAnswers> calls = {
      Waiting(1, seconds(31)),
      Waiting(kMiB, seconds(38)),
      Waiting(kMiB, milliseconds(38'001)),
  };

  EXPECT_THAT(ChooseToCancel(calls, kLimits), UnorderedElementsAre(0, 2));
}

TEST(ChooseToCancelTest, GivesTimeForWhatHasToLeaveBefore) {
  const std::vector<UnreadAnswers> calls = {
      {.num_bytes = 64 * kMiB,
       .oldest_bytes = kMiB,
       .waited = milliseconds(38'001)},
  };

  EXPECT_THAT(ChooseToCancel(calls, kLimits), ElementsAre(0));
}

TEST(ChooseToCancelTest, CountsWhoIsCancelledAnyhowAsGone) {
  const std::vector<UnreadAnswers> calls = {
      Waiting(kMiB, seconds(100)),
      Waiting(100 * kMiB, seconds(40)),
  };

  EXPECT_THAT(ChooseToCancel(calls, kLimits), ElementsAre(0));
}

TEST(AnswerWatchTest, CountsWhatWaits) {
  AnswerWatch watch{kLimits};
  const AnswerWatch::Clock::time_point now;
  {
    AnswerWatch::Call first(watch, /*context=*/nullptr);
    AnswerWatch::Call second(watch, /*context=*/nullptr);
    AnswerWatch::Call third(watch, /*context=*/nullptr);
    first.Give(1, now);
    second.Give(10, now);
    third.Give(100, now);
    const AnswerWatch::Wait behind = second.Give(1000, now + seconds(1));
    EXPECT_EQ(behind.since, now + seconds(1));
    EXPECT_EQ(behind.num_bytes, 1010U);
    EXPECT_EQ(watch.unread_bytes(), 1111U);
    second.Take(10, behind);
    EXPECT_EQ(watch.unread_bytes(), 1101U);
    second.Take(1000);
    EXPECT_EQ(watch.unread_bytes(), 101U);
    second.Give(0, now);
    second.Give(5, now);
    EXPECT_EQ(watch.unread_bytes(), 106U);
    watch.CancelUnread(now + seconds(30));  // nobody: there is no context
  }
  EXPECT_EQ(watch.unread_bytes(), 0U);
}

}  // namespace
}  // namespace attention
