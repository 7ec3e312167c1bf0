// SPDX-License-Identifier: Apache-2.0
// Batch invariance at large: random requests, each alone with one thread and in
// random mixtures.
#include <algorithm>
#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/core/conformance/conformance.h"
#include "tests/core/conformance/mixture.h"

namespace attention::testing {
namespace {

constexpr std::int64_t kRequests = 10'000;  // for each kind

class MixturesTest : public ::testing::TestWithParam<ImplementationKind> {
 protected:
  // In a mixture's place n, as dropout depends on it: behind n empty ones.
  static Mixture Alone(const Model& model, const Style& style,
                       const Member& member, std::size_t n) {
    std::vector<Member> members(style.training ? n + 1 : 1);
    members.back() = member;
    return {model, style, std::move(members)};
  }

  // Compare a mixture of all the members with each of them alone.
  void ExpectMixtureEqualsAlone(const ModuleImplementation& attention,
                                const Model& model, Style style,
                                const std::vector<Member>& members) {
    // Bottom-right causality counts from the padded end, so do the columns of
    // appended keys that dropout draws for, and d2l's lengths do not hide: only
    // ragged are these the same questions.
    style.padded = style.causal != Causal::kBottomRight && !model.is_d2l &&
                   !(model.appends && style.training) && draws_.OneIn(2);
    const Mixture mixture(model, style, members);
    const std::string mixed = Describe(style);
    ComputePool& pool = draws_.OneIn(2) ? one_thread_ : two_threads_;
    const Answer together =
        Compute(attention, model.config, mixture.inputs(), pool);
    style.padded = false;
    for (std::size_t n = 0; n < members.size(); ++n) {
      const Mixture single = Alone(model, style, members[n], n);
      const Answer alone =
          Compute(attention, model.config, single.inputs(), one_thread_);
      const std::size_t place = style.training ? n : 0;
      ASSERT_TRUE(mixture.AnswerOf(together, n) ==
                  single.AnswerOf(alone, place))
          << "bits differ: request of " << members[n].length << " rows and "
          << members[n].keys << " keys, place " << n << " of " << members.size()
          << "; " << mixed;
    }
  }

  // Compute all of them in one pass.
  void ComputeTogether(const ModuleImplementation& attention,
                       const OwnedRequests& requests) {
    const absl::Status status =
        attention.Forward(BindAll(requests), two_threads_);
    ASSERT_TRUE(status.ok()) << status;
  }

  // Whether a request's answer is, bit for bit, what it gets alone.
  ::testing::AssertionResult IsAsAlone(const ModuleImplementation& attention,
                                       const Model& model,
                                       const OwnedRequest& owned) {
    const Answer alone =
        Compute(attention, model.config, owned.mixture.inputs(), one_thread_);
    if (!IsIdentical(owned.answer.output.view(), alone.output.view())) {
      return ::testing::AssertionFailure() << "the output's bits differ";
    }
    if (alone.weights &&
        !IsIdentical(owned.answer.weights->view(), alone.weights->view())) {
      return ::testing::AssertionFailure() << "the weights' bits differ";
    }
    return ::testing::AssertionSuccess();
  }

  Draws draws_{std::mt19937_64(20260101)};
  ComputePool one_thread_{1, Pinning::kNone, kNoReserve};
  ComputePool two_threads_{2, Pinning::kNone, kNoReserve};
};

// Passes over many requests, few enough of them for the reference too.
class ManyRequestsTest : public MixturesTest {};

TEST_P(MixturesTest, EveryBitIsThatOfTheRequestAlone) {
  const std::vector<Model> models = Models();
  std::vector<std::unique_ptr<ModuleImplementation>> modules;
  for (const Model& model : models) {
    modules.push_back(GetParam().make(
        model.config, MakeWeights(model.config, DataType::kFloat32, 7)));
  }
  std::int64_t num_requests = 0;
  for (std::int64_t trial = 0; num_requests < kRequests; ++trial) {
    SCOPED_TRACE("trial " + std::to_string(trial));
    const std::size_t which = draws_.random() % models.size();
    SCOPED_TRACE("model " + std::to_string(which));
    const Style style = draws_.DrawStyle(models[which]);
    std::vector<Member> members = draws_.DrawMembers(models[which]);
    num_requests += static_cast<std::int64_t>(members.size());
    for (int mixture = 0; mixture < 2; ++mixture) {
      ASSERT_NO_FATAL_FAILURE(ExpectMixtureEqualsAlone(
          *modules[which], models[which], style, members));
      std::ranges::shuffle(members, draws_.random);
    }
  }
}

TEST_P(ManyRequestsTest, EveryBitIsThatOfTheRequestAlone) {
  for (const Model& model : Models()) {
    const auto attention = GetParam().make(
        model.config, MakeWeights(model.config, DataType::kFloat32, 7));
    const OwnedRequests requests = draws_.DrawRequests(model, /*count=*/50);
    ASSERT_NO_FATAL_FAILURE(ComputeTogether(*attention, requests));
    for (const auto& owned : requests) {
      EXPECT_FALSE(owned->request->was_stopped());
      ASSERT_TRUE(IsAsAlone(*attention, model, *owned));
    }
  }
}

TEST_P(ManyRequestsTest, CancellingOneLeavesTheOthersAlone) {
  int stopped_under_way = 0;
  for (const Model& model : Models()) {
    const auto attention = GetParam().make(
        model.config, MakeWeights(model.config, DataType::kFloat32, 7));
    const OwnedRequests requests = draws_.DrawRequests(model, /*count=*/50);
    const std::size_t first = draws_.random() % requests.size();
    const std::size_t second = (first + 1) % requests.size();
    // One before the pass begins, and one while it is under way.
    std::atomic<int> asked = 0;
    requests[second]->stop = [&asked] { return ++asked > 1; };
    requests[first]->stop = [] { return true; };
    ASSERT_NO_FATAL_FAILURE(ComputeTogether(*attention, requests));
    EXPECT_TRUE(requests[first]->request->was_stopped());
    for (const auto& owned : requests) {
      if (owned->request->was_stopped()) continue;
      ASSERT_TRUE(IsAsAlone(*attention, model, *owned));
    }
    stopped_under_way += requests[second]->request->was_stopped() ? 1 : 0;
    for (std::size_t i = 0; i < requests.size(); ++i) {
      if (i == first || i == second) continue;
      EXPECT_FALSE(requests[i]->request->was_stopped());
    }
  }
  EXPECT_GT(stopped_under_way, 0);
}

std::string NameOf(
    const ::testing::TestParamInfo<ImplementationKind>& parameter) {
  return parameter.param.name;
}

std::vector<ImplementationKind> PathKinds() {
  std::vector<ImplementationKind> kinds = InvariantKinds();
  std::erase_if(kinds, [](const ImplementationKind& kind) {
    return kind.name == "Reference";
  });
  return kinds;
}

INSTANTIATE_TEST_SUITE_P(Kinds, MixturesTest, ::testing::ValuesIn(PathKinds()),
                         NameOf);
INSTANTIATE_TEST_SUITE_P(Kinds, ManyRequestsTest,
                         ::testing::ValuesIn(InvariantKinds()), NameOf);

}  // namespace
}  // namespace attention::testing
