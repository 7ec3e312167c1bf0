// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Return from the enclosing function when `expression` is a failed Status.
#define ATTENTION_RETURN_IF_ERROR(expression)                               \
  do {                                                                      \
    if (absl::Status status_ = (expression); !status_.ok()) return status_; \
  } while (false)

#define ATTENTION_CONCAT_INNER_(a, b) a##b
#define ATTENTION_CONCAT_(a, b) ATTENTION_CONCAT_INNER_(a, b)
// A declaration cannot stand in parentheses.
// NOLINTBEGIN(bugprone-macro-parentheses)
#define ATTENTION_ASSIGN_OR_RETURN_IMPL_(result, declaration, expression) \
  auto result = (expression);                                             \
  if (!result.ok()) return std::move(result).status();                    \
  declaration = *std::move(result)
// NOLINTEND(bugprone-macro-parentheses)

// Assign the value of a StatusOr, or return its status from the enclosing
// function: ATTENTION_ASSIGN_OR_RETURN(const Shape shape, Shape::Create(dims));
#define ATTENTION_ASSIGN_OR_RETURN(declaration, expression)              \
  ATTENTION_ASSIGN_OR_RETURN_IMPL_(ATTENTION_CONCAT_(result_, __LINE__), \
                                   declaration, expression)
