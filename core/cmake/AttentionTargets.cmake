# SPDX-License-Identifier: Apache-2.0
# How this project declares its targets.

# Warnings of every target we write; generated code does not link it.
add_library(attention_warnings INTERFACE)
target_compile_options(
  attention_warnings
  INTERFACE -Wall
            -Wextra
            -Wpedantic
            -Wconversion
            -Wshadow
            -Wold-style-cast
            -Wnon-virtual-dtor)

# attention_own_libraries(<target> <variable>)
#
# Set the variable to the target and every library of ours that it links.
function(attention_own_libraries target variable)
  set(found ${target})
  get_target_property(libraries ${target} LINK_LIBRARIES)
  foreach(library IN LISTS libraries)
    if(library MATCHES "^attention::(.+)$")
      attention_own_libraries(attention_${CMAKE_MATCH_1} below)
      list(APPEND found ${below})
    endif()
  endforeach()
  list(REMOVE_DUPLICATES found)
  set(${variable} ${found} PARENT_SCOPE)
endfunction()

# attention_add_library(<name> SOURCES ... DEPENDS ... PRIVATE_DEPENDS ...)
#
# Declare the library of one folder, attention_<name>, with alias
# attention::<name>. DEPENDS is what its headers include.
function(attention_add_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;PRIVATE_DEPENDS" ${ARGN})
  add_library(attention_${name} STATIC ${ARG_SOURCES})
  add_library(attention::${name} ALIAS attention_${name})
  set_target_properties(attention_${name} PROPERTIES EXPORT_NAME ${name})
  target_include_directories(attention_${name}
                             PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>)
  target_link_libraries(
    attention_${name}
    PUBLIC ${ARG_DEPENDS}
    PRIVATE $<BUILD_INTERFACE:attention_warnings> ${ARG_PRIVATE_DEPENDS})
endfunction()

# attention_add_executable(<name> SOURCES ... DEPENDS ...)
function(attention_add_executable name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE attention_warnings ${ARG_DEPENDS})
endfunction()
