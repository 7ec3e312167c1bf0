# SPDX-License-Identifier: Apache-2.0
# attention::cli11: CLI11 compiled once. As headers alone, it is compiled anew,
# for many seconds, by each file that names an option.
get_target_property(includes CLI11::CLI11 INTERFACE_INCLUDE_DIRECTORIES)
file(GLOB parts RELATIVE ${includes} ${includes}/CLI/impl/*_inl.hpp)
list(TRANSFORM parts REPLACE "^(.+)$" "#include <\\1>\n")
string(CONCAT text ${parts})
set(source ${PROJECT_BINARY_DIR}/cli11.cc)
file(CONFIGURE OUTPUT ${source} CONTENT "${text}")

add_library(attention_cli11 STATIC ${source})
add_library(attention::cli11 ALIAS attention_cli11)
target_compile_definitions(attention_cli11 PUBLIC CLI11_COMPILE)
# It runs once, at start.
target_compile_options(attention_cli11 PRIVATE $<$<CONFIG:Release>:-O1>)
target_link_libraries(attention_cli11 PUBLIC CLI11::CLI11)
set_target_properties(attention_cli11 PROPERTIES CXX_CLANG_TIDY "")
