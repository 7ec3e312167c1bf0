// SPDX-License-Identifier: Apache-2.0
#pragma once

// What every file that includes Highway includes before it. The code is
// compiled for SSE2, AVX2 (which has FMA) and AVX-512; what lies between or
// above them would only make it larger.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_AVX3_ZEN4 | HWY_AVX3_SPR)
