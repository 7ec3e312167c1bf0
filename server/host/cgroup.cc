// SPDX-License-Identifier: Apache-2.0
#include "server/host/cgroup.h"

#include <fstream>
#include <string>

#include "core/tensor/format_text.h"

namespace attention {
namespace {

namespace fs = std::filesystem;

// Groups this deep do not occur; bounds the walk upwards.
constexpr int kMaxDepth = 32;

// The directories a line of `membership`, "id:controllers:/path", may mean.
// Inside a container the path is often the host's and does not exist; the
// mount's own root is then the container's group.
std::vector<fs::path> GroupsOf(const fs::path& mount, const std::string& line,
                               std::string_view controller) {
  const std::size_t first = line.find(':');
  const std::size_t second = line.find(':', first + 1);
  if (first == std::string::npos || second == std::string::npos) return {};
  const std::string controllers = line.substr(first + 1, second - first - 1);
  const bool version_2 = controllers.empty();
  const bool listed =
      FormatText(",{},", controllers).find(FormatText(",{},", controller)) !=
      std::string::npos;
  if (!version_2 && !listed) return {};
  const fs::path root = version_2 ? mount : mount / controller;
  std::vector<fs::path> groups = {root};
  fs::path group = fs::path(line.substr(second + 1)).relative_path();
  for (int depth = 0; depth < kMaxDepth && !group.empty(); ++depth) {
    groups.push_back(root / group);
    group = group.parent_path();
  }
  return groups;
}

}  // namespace

std::vector<fs::path> ControlGroups(const fs::path& mount,
                                    const fs::path& membership,
                                    std::string_view controller) {
  std::vector<fs::path> groups;
  std::ifstream lines(membership);
  for (std::string line; std::getline(lines, line);) {
    for (fs::path& group : GroupsOf(mount, line, controller)) {
      groups.push_back(std::move(group));
    }
  }
  return groups;
}

}  // namespace attention
