// SPDX-License-Identifier: Apache-2.0
#include "core/serving/task_lines.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>

namespace attention {

using std::chrono::nanoseconds;

namespace {

bool IsDouble(const ForwardTask& task) {
  return task.implementation().compute_dtype() == DataType::kFloat64;
}

}  // namespace

TaskLines::Key TaskLines::LineOf(const ForwardTask& task) const {
  return {.implementation = &task.implementation(),
          .is_large = !limits_.Fits(task.size()) || IsDouble(task)};
}

void TaskLines::Append(std::unique_ptr<ForwardTask>& task) {
  const ForwardTask::Caller& caller = task->caller();
  const ForwardTask::Size size = task->size();
  const bool gives_way = LineOf(*task).is_large && !IsDouble(*task);
  Tasks one;
  one.push_back(nullptr);
  const auto [line, is_new] = lines_.try_emplace(LineOf(*task));
  places_.emplace(&caller, Place{line, one.begin()});
  // Nothing fails from here on.
  Line& joined = line->second;
  if (!joined.is_active())
    joined.served = std::max(joined.served, LeastServed());
  one.front() = std::move(task);
  joined.gives_way = gives_way;
  joined.tasks.splice(joined.tasks.end(), one);  // keeps the iterator valid
  joined.size += size;
}

// Of the lines that wait or are computed; 0 if there is none.
nanoseconds TaskLines::LeastServed() const {
  nanoseconds least = nanoseconds::max();
  for (const auto& [key, line] : lines_) {
    if (line.is_active()) least = std::min(least, line.served);
  }
  return least == nanoseconds::max() ? nanoseconds(0) : least;
}

std::optional<TaskLines::Turn> TaskLines::Take(Clock::time_point now) {
  return BeginOneOf(now, [&](const Key& key, const Line& line) {
    return key.is_large || limits_.AreFull(line.size) ||
           TimeOf(key, line.size) >= limits_.max_time ||
           line.oldest() + limits_.max_delay <= now;
  });
}

std::optional<TaskLines::Turn> TaskLines::TakeSmall(Clock::time_point now,
                                                    nanoseconds served) {
  return BeginOneOf(now, [&](const Key& key, const Line& line) {
    return !key.is_large && line.served < served;
  });
}

bool TaskLines::HasSmall(nanoseconds served) const {
  return std::ranges::any_of(lines_, [served](const auto& entry) {
    const auto& [key, line] = entry;
    return !key.is_large && !line.tasks.empty() && line.served < served;
  });
}

template <typename MayBegin>
std::optional<TaskLines::Turn> TaskLines::BeginOneOf(
    Clock::time_point now, const MayBegin& may_begin) {
  auto next = lines_.end();
  const auto order = [](const Line& line) {
    return std::pair(line.served, line.oldest());
  };
  for (auto line = lines_.begin(); line != lines_.end(); ++line) {
    if (line->second.tasks.empty()) continue;
    if (!may_begin(line->first, line->second)) continue;
    if (next == lines_.end() || order(line->second) < order(next->second)) {
      next = line;
    }
  }
  if (next == lines_.end()) return std::nullopt;
  return Begin(now, next->first, next->second);
}

TaskLines::Clock::time_point TaskLines::NextReady() const {
  auto next = Clock::time_point::max();
  for (const auto& [key, line] : lines_) {
    if (line.tasks.empty()) continue;
    next = std::min(next, line.oldest() + limits_.max_delay);
  }
  return next;
}

TaskLines::Turn TaskLines::Begin(Clock::time_point now, const Key& key,
                                 Line& line) {
  line.in_turn = true;
  line.turn_begin = now;
  line.turn_size = {};
  Turn turn{.line = key, .served = line.served, .tasks = {}};
  do {
    const ForwardTask& task = *line.tasks.front();
    ForwardTask::Size size = line.turn_size;
    size += task.size();
    const bool is_too_much =
        !limits_.Fits(size) || TimeOf(key, size) > limits_.max_time;
    if (!turn.tasks.empty() && is_too_much) break;
    line.turn_size = size;
    places_.erase(&task.caller());
    line.size -= task.size();
    turn.tasks.splice(turn.tasks.end(), line.tasks, line.tasks.begin());
  } while (!key.is_large && !line.tasks.empty());
  return turn;
}

nanoseconds TaskLines::TimeOf(const Key& key,
                              const ForwardTask::Size& size) const {
  const CostModel* const cost = costs_.Find(key.implementation);
  if (cost == nullptr) return nanoseconds(0);
  return cost->Predict(size) - cost->Predict({});
}

// Until the line has been served as long as those before it will have been when
// its tasks are done, they get their turns; and a turn is not cut short but for
// small tasks.
nanoseconds TaskLines::ExpectedWait(const Key& key,
                                    Clock::time_point now) const {
  const auto own = lines_.find(key);
  const bool is_new = own == lines_.end() || !own->second.is_active();
  nanoseconds served = is_new ? LeastServed() : nanoseconds(0);
  nanoseconds wait{0};
  if (own != lines_.end()) {
    served = std::max(served, own->second.ServedBy(now));
    wait = Backlog(*own) + LeftOfTurn(*own, now);
  }
  served += wait;
  for (auto other = lines_.begin(); other != lines_.end(); ++other) {
    if (other == own || !other->second.is_active()) continue;
    const nanoseconds left = LeftOfTurn(*other, now);
    const bool gives_way = other->second.gives_way && !key.is_large;
    const nanoseconds most = Backlog(*other) + left;
    wait += std::clamp(served - other->second.ServedBy(now),
                       gives_way ? nanoseconds(0) : left, most);
  }
  return wait;
}

nanoseconds TaskLines::PredictedTime(Clock::time_point now) const {
  nanoseconds sum{0};
  for (const Lines::value_type& entry : lines_) {
    sum += Backlog(entry) + LeftOfTurn(entry, now);
  }
  return sum;
}

nanoseconds TaskLines::Backlog(const Lines::value_type& entry) const {
  const auto& [key, line] = entry;
  const CostModel* const cost = costs_.Find(key.implementation);
  if (line.tasks.empty() || cost == nullptr) return nanoseconds(0);
  std::int64_t num_batches = std::ssize(line.tasks);
  if (!key.is_large) {
    num_batches =
        1 + std::max<std::int64_t>({line.size.tokens / limits_.max_tokens,
                                    line.size.pairs / limits_.max_pairs(),
                                    TimeOf(key, line.size) / limits_.max_time});
  }
  return cost->Predict(line.size, num_batches);
}

nanoseconds TaskLines::LeftOfTurn(const Lines::value_type& entry,
                                  Clock::time_point now) const {
  const auto& [key, line] = entry;
  const CostModel* const cost = costs_.Find(key.implementation);
  if (!line.in_turn || cost == nullptr) return nanoseconds(0);
  return std::max<nanoseconds>(
      cost->Predict(line.turn_size) - (now - line.turn_begin), nanoseconds(1));
}

void TaskLines::Return(const Key& key, nanoseconds took) {
  Line& line = lines_.find(key)->second;
  line.served += took;
  line.in_turn = false;
  for (auto& [other_key, other] : lines_) {
    if (other.in_turn) other.turn_begin += took;  // it came in between
  }
  ForgetIdleLines();
}

bool TaskLines::empty() const {
  return std::ranges::none_of(
      lines_, [](const auto& entry) { return entry.second.is_active(); });
}

std::unique_ptr<ForwardTask> TaskLines::Remove(
    const ForwardTask::Caller& caller) {
  const auto place = places_.find(&caller);
  if (place == places_.end()) return nullptr;
  Line& line = place->second.line->second;
  std::unique_ptr<ForwardTask> task = std::move(*place->second.task);
  line.size -= task->size();
  line.tasks.erase(place->second.task);
  places_.erase(place);
  return task;
}

TaskLines::Tasks TaskLines::RemoveAll() {
  Tasks all;
  for (auto& [key, line] : lines_) {
    all.splice(all.end(), line.tasks);
    line.size = {};
  }
  places_.clear();
  return all;
}

// One that has been computed for longer than a new line would count from is
// remembered: else it would get another turn by coming anew.
void TaskLines::ForgetIdleLines() {
  const nanoseconds least = empty() ? nanoseconds::max() : LeastServed();
  std::erase_if(lines_, [least](const auto& entry) {
    const Line& line = entry.second;
    return !line.is_active() && line.served <= least;
  });
}

}  // namespace attention
