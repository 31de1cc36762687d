# What examples/resp.c and the servers of bench/resp share, as target resp_logic; without uthash there is no such target,
# and no RESP servers.
include_guard(GLOBAL)

find_path(UTHASH_INCLUDE_DIR uthash.h)
mark_as_advanced(UTHASH_INCLUDE_DIR)
if(NOT UTHASH_INCLUDE_DIR)
    message(STATUS "RESP servers are left out: no uthash here (tools/setup --for demo)")
    return()
endif()

add_library(resp_logic STATIC
    ${CMAKE_CURRENT_LIST_DIR}/resp_command.c
    ${CMAKE_CURRENT_LIST_DIR}/resp_keys.c
    ${CMAKE_CURRENT_LIST_DIR}/resp_protocol.c
    ${CMAKE_CURRENT_LIST_DIR}/resp_reply.c
    ${CMAKE_CURRENT_LIST_DIR}/resp_session.c
    ${CMAKE_CURRENT_LIST_DIR}/resp_store.c)
target_include_directories(resp_logic PUBLIC ${CMAKE_CURRENT_LIST_DIR})
target_include_directories(resp_logic SYSTEM PRIVATE ${UTHASH_INCLUDE_DIR})
target_compile_definitions(resp_logic PUBLIC _GNU_SOURCE)
set_target_properties(resp_logic PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS ON)
target_compile_options(resp_logic PRIVATE -Wall -Wextra -Wconversion -Wshadow)
