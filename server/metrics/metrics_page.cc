// SPDX-License-Identifier: Apache-2.0
#include "server/metrics/metrics_page.h"

#include <prometheus/text_serializer.h>

namespace attention {

std::string MetricsPage::Write() const {
  std::vector<prometheus::MetricFamily> families = observer_.Collect();
  for (const SampledMetric& metric : sampled_) {
    families.push_back(
        MakeFamily(metric.name, metric.help, metric.type, metric.read()));
  }
  std::erase_if(families,
                [](const auto& family) { return family.metric.empty(); });
  return prometheus::TextSerializer().Serialize(families);
}

}  // namespace attention
