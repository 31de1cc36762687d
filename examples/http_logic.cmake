# The HTTP logic that examples/http.c and the servers of bench/http share, as target http_logic; without an HTTP parser
# library there is no such target, and no HTTP servers.
include_guard(GLOBAL)

# Debian 13 and newer Ubuntu have llhttp; Debian 12 and Ubuntu 24.04 have http_parser, from which it descends.
find_path(LLHTTP_INCLUDE_DIR llhttp.h)
find_library(LLHTTP_LIBRARY llhttp)
find_path(HTTP_PARSER_INCLUDE_DIR http_parser.h)
find_library(HTTP_PARSER_LIBRARY http_parser)
mark_as_advanced(LLHTTP_INCLUDE_DIR LLHTTP_LIBRARY HTTP_PARSER_INCLUDE_DIR HTTP_PARSER_LIBRARY)

if(LLHTTP_INCLUDE_DIR AND LLHTTP_LIBRARY)
    set(HTTP_LIBRARY ${LLHTTP_LIBRARY})
    set(HTTP_LIBRARY_INCLUDE_DIR ${LLHTTP_INCLUDE_DIR})
    set(HTTP_LIBRARY_DEFINITION HTTP_USE_LLHTTP)
elseif(HTTP_PARSER_INCLUDE_DIR AND HTTP_PARSER_LIBRARY)
    set(HTTP_LIBRARY ${HTTP_PARSER_LIBRARY})
    set(HTTP_LIBRARY_INCLUDE_DIR ${HTTP_PARSER_INCLUDE_DIR})
else()
    message(STATUS "HTTP servers are left out: neither llhttp nor http_parser here (tools/setup --for demo)")
    return()
endif()

add_library(http_logic STATIC
    ${CMAKE_CURRENT_LIST_DIR}/http_input.c
    ${CMAKE_CURRENT_LIST_DIR}/http_load.c
    ${CMAKE_CURRENT_LIST_DIR}/http_options.c
    ${CMAKE_CURRENT_LIST_DIR}/http_output.c
    ${CMAKE_CURRENT_LIST_DIR}/http_reply.c
    ${CMAKE_CURRENT_LIST_DIR}/http_request.c
    ${CMAKE_CURRENT_LIST_DIR}/http_session.c
    ${CMAKE_CURRENT_LIST_DIR}/http_site.c)
target_include_directories(http_logic PUBLIC ${CMAKE_CURRENT_LIST_DIR})
target_include_directories(http_logic SYSTEM PUBLIC ${HTTP_LIBRARY_INCLUDE_DIR})
target_compile_definitions(http_logic PUBLIC _GNU_SOURCE ${HTTP_LIBRARY_DEFINITION})
target_link_libraries(http_logic PUBLIC ${HTTP_LIBRARY})
set_target_properties(http_logic PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS ON)
target_compile_options(http_logic PRIVATE -Wall -Wextra -Wconversion -Wshadow)

# add_http_server(NAME SOURCE LIBRARY...)
function(add_http_server name source)
    add_executable(${name} ${source})
    target_link_libraries(${name} PRIVATE http_logic ${ARGN})
    set_target_properties(${name} PROPERTIES C_STANDARD 11 C_STANDARD_REQUIRED ON C_EXTENSIONS ON)
    target_compile_options(${name} PRIVATE -Wall -Wextra -Wconversion -Wshadow)
endfunction()

# add_http_test(NAME): looks at that server from outside.
function(add_http_test name)
    find_package(Python3 COMPONENTS Interpreter QUIET)
    if(NOT Python3_FOUND)
        message(STATUS "no Python 3: ${name} is not tested")
        return()
    endif()
    add_test(NAME examples/${name}
        COMMAND ${Python3_EXECUTABLE} ${PROJECT_SOURCE_DIR}/tests/examples/http_check.py $<TARGET_FILE:${name}>)
    set_tests_properties(examples/${name} PROPERTIES TIMEOUT 180 LABELS examples RUN_SERIAL ON)
endfunction()
