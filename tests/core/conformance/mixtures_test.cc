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
  bool OneIn(std::uint64_t count) { return random_() % count == 0; }

  // Mostly a few rows; one of 40 long, and some of these more than 1024.
  std::int64_t DrawLength(std::int64_t longest) {
    std::int64_t limit = OneIn(3) ? 80 : 12;
    if (OneIn(40)) limit = longest;
    return 1 + static_cast<std::int64_t>(random_() %
                                         static_cast<std::uint64_t>(limit));
  }

  MaskKind DrawMask() {
    if (OneIn(2)) return MaskKind::kNone;
    return OneIn(2) ? MaskKind::kBool : MaskKind::kAdditive;
  }

  Style DrawStyle(const Model& model) {
    Style style;
    style.seed = random_();
    if (OneIn(4)) {
      style.dtype = OneIn(2) ? DataType::kBFloat16 : DataType::kFloat16;
    }
    style.attn_mask = DrawMask();
    style.mask_by_head = OneIn(2);
    style.padding = DrawMask();
    style.valid_lens = OneIn(model.is_d2l ? 2 : 4);
    style.valid_lens_by_row = OneIn(2);
    style.causal = std::array{Causal::kNone, Causal::kTopLeft,
                              Causal::kBottomRight}[random_() % 3];
    style.need_weights = model.has_weights && OneIn(2);
    style.average = OneIn(2);
    style.training = OneIn(3);
    return style;
  }

  std::vector<Member> DrawMembers(const Model& model) {
    std::vector<Member> members(1 + random_() % 6);
    for (Member& member : members) {
      member.id = random_();
      member.length = DrawLength(700);
      member.keys = model.self_attention ? member.length : DrawLength(1100);
    }
    return members;
  }

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
                   !(model.appends && style.training) && OneIn(2);
    const Mixture mixture(model, style, members);
    const std::string mixed = Describe(style);
    ComputePool& pool = OneIn(2) ? one_thread_ : two_threads_;
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

  // One caller's request: of a style of its own, its tensors in memory of its
  // own.
  struct Owned {
    Owned(const Model& model, const Style& style, std::vector<Member> members)
        : mixture(model, style, std::move(members)),
          request(ResolveRequest(model.config, mixture.inputs()).value()),
          answer(MakeAnswer(*request)) {}

    Mixture mixture;
    std::unique_ptr<RequestPlan> request;
    Answer answer;
    std::function<bool()> stop;
  };
  using Requests = std::vector<std::unique_ptr<Owned>>;

  Requests DrawRequests(const Model& model, int count) {
    Requests requests;
    for (int i = 0; i < count; ++i) {
      Style style = DrawStyle(model);
      style.padded = OneIn(2);
      requests.push_back(
          std::make_unique<Owned>(model, style, DrawMembers(model)));
    }
    return requests;
  }

  // Compute all of them in one pass.
  void ComputeTogether(const ModuleImplementation& attention,
                       const Requests& requests) {
    std::vector<Sequence> sequences;
    for (const auto& owned : requests) {
      owned->request->Bind(owned->answer.outputs(), owned->stop);
      sequences.insert(sequences.end(), owned->request->sequences.begin(),
                       owned->request->sequences.end());
    }
    const absl::Status status = attention.Forward(sequences, two_threads_);
    ASSERT_TRUE(status.ok()) << status;
  }

  // Whether a request's answer is, bit for bit, what it gets alone.
  ::testing::AssertionResult IsAsAlone(const ModuleImplementation& attention,
                                       const Model& model, const Owned& owned) {
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

  std::mt19937_64 random_{20260101};
  ComputePool one_thread_{1, Pinning::kNone, kNoReserve};
  ComputePool two_threads_{2, Pinning::kNone, kNoReserve};
};

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
    const std::size_t which = random_() % models.size();
    SCOPED_TRACE("model " + std::to_string(which));
    const Style style = DrawStyle(models[which]);
    std::vector<Member> members = DrawMembers(models[which]);
    num_requests += static_cast<std::int64_t>(members.size());
    for (int mixture = 0; mixture < 2; ++mixture) {
      ASSERT_NO_FATAL_FAILURE(ExpectMixtureEqualsAlone(
          *modules[which], models[which], style, members));
      std::ranges::shuffle(members, random_);
    }
  }
}

TEST_P(MixturesTest, EveryBitOfManyRequestsInOnePassIsThatOfOneAlone) {
  for (const Model& model : Models()) {
    const auto attention = GetParam().make(
        model.config, MakeWeights(model.config, DataType::kFloat32, 7));
    const Requests requests = DrawRequests(model, /*count=*/50);
    ASSERT_NO_FATAL_FAILURE(ComputeTogether(*attention, requests));
    for (const auto& owned : requests) {
      EXPECT_FALSE(owned->request->was_stopped());
      ASSERT_TRUE(IsAsAlone(*attention, model, *owned));
    }
  }
}

TEST_P(MixturesTest, CancellingARequestOfAPassLeavesTheOthersAlone) {
  int stopped_under_way = 0;
  for (const Model& model : Models()) {
    const auto attention = GetParam().make(
        model.config, MakeWeights(model.config, DataType::kFloat32, 7));
    const Requests requests = DrawRequests(model, /*count=*/50);
    const std::size_t first = random_() % requests.size();
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

std::vector<ImplementationKind> PathKinds() {
  std::vector<ImplementationKind> kinds = InvariantKinds();
  std::erase_if(kinds, [](const ImplementationKind& kind) {
    return kind.name == "Reference";
  });
  return kinds;
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, MixturesTest, ::testing::ValuesIn(PathKinds()),
    [](const ::testing::TestParamInfo<ImplementationKind>& parameter) {
      return parameter.param.name;
    });

}  // namespace
}  // namespace attention::testing
