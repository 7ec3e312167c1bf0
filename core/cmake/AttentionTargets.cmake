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
            -Wnon-virtual-dtor
            $<$<CXX_COMPILER_ID:Clang>:-Wdocumentation>)

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

# attention_seen_libraries(<target> <property> <variable>)
#
# Set the variable to every library of ours whose headers the target's sources
# may include: those of the property, LINK_LIBRARIES, and what these pass on.
function(attention_seen_libraries target property variable)
  set(found)
  get_target_property(libraries ${target} ${property})
  foreach(library IN LISTS libraries)
    if(library MATCHES "^attention::(.+)$")
      set(name attention_${CMAKE_MATCH_1})
      attention_seen_libraries(${name} INTERFACE_LINK_LIBRARIES below)
      list(APPEND found ${name} ${below})
    endif()
  endforeach()
  list(REMOVE_DUPLICATES found)
  set(${variable} ${found} PARENT_SCOPE)
endfunction()

# attention_precompile(<target>)
#
# Have the library's sources read precompiled headers: those of generated code
# if they may include that, else those of core. A source still includes what it needs,
# as the presets tell that set CMAKE_DISABLE_PRECOMPILE_HEADERS.
function(attention_precompile target)
  attention_seen_libraries(${target} LINK_LIBRARIES libraries)
  if(attention_proto IN_LIST libraries)
    target_precompile_headers(${target} REUSE_FROM attention_proto)
  elseif(attention_core_tensor IN_LIST libraries)
    target_precompile_headers(${target} REUSE_FROM attention_core_tensor)
  endif()
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
  if(NOT name STREQUAL core_tensor)
    attention_precompile(attention_${name})
  endif()
endfunction()

# attention_add_executable(<name> SOURCES ... DEPENDS ...)
function(attention_add_executable name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE attention_warnings ${ARG_DEPENDS})
endfunction()
