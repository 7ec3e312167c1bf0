// SPDX-License-Identifier: Apache-2.0
#include "server/rpc/forward_handler.h"

#include <string_view>
#include <utility>

#include "core/attention/request_plan.h"
#include "core/module/module_name.h"
#include "core/tensor/catch_bad_alloc.h"
#include "core/tensor/format_text.h"
#include "core/tensor/status_macros.h"

namespace attention {

void ForwardHandler::Handle(
    const std::shared_ptr<ForwardCall>& call,
    absl::StatusOr<AdmissionController::Reservation> admitted) const {
  using Task = std::unique_ptr<ForwardTask>;
  absl::StatusOr<Task> task = CatchBadAlloc([&]() -> absl::StatusOr<Task> {
    ATTENTION_ASSIGN_OR_RETURN(ForwardTask::Work work,
                               Prepare(*call, std::move(admitted)));
    return std::make_unique<ForwardTask>(std::move(work), call);
  });
  if (!task.ok()) {
    call->Complete(task.status(), ForwardTask::Times());
    return;
  }
  if (call->is_stream_request()) {
    parts_.executor.Submit(*std::move(task));
  } else {
    parts_.executor.ComputeOrSubmit(*std::move(task));
  }
}

void ForwardHandler::Cancel(ForwardCall& call) const {
  call.Cancel();
  parts_.executor.DropCancelled(call);
}

absl::StatusOr<ForwardTask::Work> ForwardHandler::Prepare(
    ForwardCall& call,
    absl::StatusOr<AdmissionController::Reservation> admitted) const {
  if (!admitted.ok()) return admitted.status();
  call.SetReservation(*std::move(admitted));
  ATTENTION_RETURN_IF_ERROR(parts_.door.CheckServing());
  const std::string_view name = call.codec().module();
  ATTENTION_RETURN_IF_ERROR(ValidateModuleName(name));
  call.SetModule(name);
  ForwardTask::Work work;
  ATTENTION_ASSIGN_OR_RETURN(work.module, parts_.registry.Find(name));
  work.deadline = call.deadline();
  const auto resolve = [&]() -> absl::Status {
    ATTENTION_ASSIGN_OR_RETURN(const AttentionInputs inputs,
                               call.codec().Decode());
    ATTENTION_ASSIGN_OR_RETURN(work.request,
                               ResolveRequest(work.module->config(), inputs));
    return Admit(call, work);
  };
  const absl::Status status = resolve();
  if (!status.ok()) return InModule(name, status);
  call.SetDecoded(work.module->version());
  return work;
}

absl::Status ForwardHandler::Admit(ForwardCall& call,
                                   const ForwardTask::Work& work) const {
  const RequestPlan& request = *work.request;
  const std::size_t answer_bytes =
      call.codec().AnswerBytes(request.shapes, request.dtype);
  if (answer_bytes > parts_.max_message_bytes) {
    return absl::ResourceExhaustedError(FormatText(
        "the answer would take {} bytes (output {}, weights {}), expected at "
        "most {} (--max-message-bytes)",
        answer_bytes, request.shapes.output.ToString(),
        request.shapes.weights ? request.shapes.weights->ToString() : "none",
        parts_.max_message_bytes));
  }
  return call.ExtendReservation(
      BufferPool::MostBytes(answer_bytes) + request.memory_bytes(),
      work.module->implementation(request.dtype)
          .ScratchBytes(request.sequences, parts_.executor.num_threads()));
}

}  // namespace attention
