# SPDX-License-Identifier: Apache-2.0
# CMake's package `attention`: the C++ client, as attention::client.
#
#   find_package(attention CONFIG REQUIRED)
#   target_link_libraries(app PRIVATE attention::client)
include(CMakeFindDependencyMacro)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_dependency(Threads)
find_dependency(absl CONFIG)
find_dependency(Protobuf)
find_dependency(gRPC CONFIG)
find_dependency(hwy CONFIG)
include("${CMAKE_CURRENT_LIST_DIR}/attention-targets.cmake")
