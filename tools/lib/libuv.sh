# shellcheck shell=bash disable=SC2154  # deps is of the program, the rest of common.sh and apt.sh
# The newest libuv of the distribution's archive, static, in .deps/libuv. Only demo and benches use
# it: a comparison with the years-old libuv of a stable distribution would not be fair to libuv.
# Needs common.sh, apt.sh and $deps (the absolute path of .deps).

# VERSION is written last: what an interruption left is not taken for complete.
libuv_built()     { [ -f "$deps/libuv/VERSION" ] && [ -f "$deps/libuv/lib/libuv.a" ]; }
libuv_fell_back() { [ -f "$deps/libuv.fallback" ] && pkg-config --exists libuv 2>/dev/null; }
libuv_present()   { libuv_built || libuv_fell_back; }

libuv_describe() {
    if libuv_built; then
        printf 'libuv %s, static, in .deps/libuv' "$(cat "$deps/libuv/VERSION")"
    else
        printf 'libuv %s of the distribution (remove .deps/libuv.fallback to try for the newest again)' \
            "$(pkg-config --modversion libuv)"
    fi
}

# From the newest suite: built from source; if its source cannot be had or built, its own static
# library. Then the same with the next suite, and at last this system's package.
libuv_provide() {
    local origin rest suite

    if read -r origin rest < <(apt_distribution); then
        for suite in $(apt_newer_suites "$origin"); do
            libuv_build "$suite" "$origin" && return 0
            warn "no libuv from the source package of $suite (see above); trying the library in its libuv1-dev"
            libuv_adopt "$suite" "$origin" && return 0
        done
    fi
    warn "no newer libuv could be had (see above); falling back to this system's libuv1-dev"
    if ! pkg-config --exists libuv; then
        if ! may_be_root || ! apt_install libuv1-dev; then
            fail "package libuv1-dev could not be installed" "as root: apt-get install libuv1-dev"
        fi
    fi
    date -u +%F >"$deps/libuv.fallback"
}

# Moves the finished directory $1 into place; $2 says what it is.
libuv_install() {
    rm -rf "$deps/libuv" "$deps/libuv.fallback"
    mv "$1" "$deps/libuv" && printf '%s\n' "$2" >"$deps/libuv/VERSION"
}

libuv_build() {
    local suite=$1 origin=$2 dir version

    apt_private deb-src "$suite" || return 1
    dir=$scratch/libuv-source
    rm -rf "$dir" && mkdir -p "$dir/download"
    # apt verifies the archive's signature and the checksum of each file that it downloads.
    (cd "$dir/download" && try_logged apt-get -c "$apt_private_config" "${apt_options[@]}" \
        source --download-only libuv1) || return 1
    version=$(sed -n 's/^Version: //p' "$dir"/download/*.dsc | head -n 1)
    say "building libuv $version from $origin's $suite"
    try_logged dpkg-source -x "$dir"/download/*.dsc "$dir/source" || return 1
    try_logged cmake -S "$dir/source" -B "$dir/build" -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_INSTALL_PREFIX="$deps/libuv" -DCMAKE_INSTALL_LIBDIR=lib \
        -DBUILD_TESTING=OFF -DLIBUV_BUILD_TESTS=OFF -DLIBUV_BUILD_BENCH=OFF -DLIBUV_BUILD_SHARED=OFF || return 1
    try_logged cmake --build "$dir/build" --parallel "$(nproc)" || return 1
    try_logged env DESTDIR="$dir/installed" cmake --install "$dir/build" || return 1
    libuv_links "$dir/installed$deps/libuv" || return 1
    libuv_install "$dir/installed$deps/libuv" "$version ($origin $suite, built from source)"
}

libuv_adopt() {
    local suite=$1 origin=$2 dir staged version

    apt_private deb "$suite" libuv1-dev || return 1
    dir=$scratch/libuv-binary
    staged=$dir/staged
    rm -rf "$dir" && mkdir -p "$dir/download" "$staged/lib/pkgconfig"
    (cd "$dir/download" && try_logged apt-get -c "$apt_private_config" "${apt_options[@]}" \
        download libuv1-dev) || return 1
    version=$(dpkg-deb --field "$dir"/download/*.deb Version) || return 1
    say "unpacking the static library of libuv1-dev $version from $origin's $suite"
    try_logged dpkg-deb -x "$dir"/download/*.deb "$dir/unpacked" || return 1
    cp -R "$dir/unpacked/usr/include" "$staged/include" || return 1
    cp "$dir"/unpacked/usr/lib/*/libuv.a "$staged/lib/libuv.a" || return 1
    sed -e "s|^prefix=.*|prefix=$deps/libuv|" -e "s|^libdir=.*|libdir=$deps/libuv/lib|" \
        -e "s|^includedir=.*|includedir=$deps/libuv/include|" \
        "$dir"/unpacked/usr/lib/*/pkgconfig/libuv-static.pc >"$staged/lib/pkgconfig/libuv-static.pc" || return 1
    if ! libuv_links "$staged" 2>/dev/null; then
        libuv_add_c23_names "$staged" && libuv_links "$staged" || return 1
    fi
    libuv_install "$staged" "$version ($origin $suite, its own build)"
}

# Does every object of the library under $1 link on this system, and does a loop of it run?
libuv_links() {
    cat >"$scratch/libuv.c" <<'END'
#include <uv.h>
static void on_timer(uv_timer_t *timer) { uv_close((uv_handle_t *)timer, 0); }
int main(void)
{
    uv_loop_t loop;
    uv_timer_t timer;

    if (uv_loop_init(&loop) || uv_timer_init(&loop, &timer) || uv_timer_start(&timer, on_timer, 1, 0))
        return 1;
    return uv_run(&loop, UV_RUN_DEFAULT) || uv_loop_close(&loop);
}
END
    try_logged gcc -I"$1/include" -o "$scratch/libuv-links" "$scratch/libuv.c" \
        -Wl,--whole-archive "$1/lib/libuv.a" -Wl,--no-whole-archive -pthread -ldl -lrt -lm &&
        try_logged "$scratch/libuv-links"
}

# A library compiled against glibc 2.38 or later calls strtol and scanf by the names that they have
# in C23 (which also read "0b101"). An older glibc lacks the names, not the functions.
libuv_add_c23_names() {
    cat >"$scratch/c23_names.c" <<'END'
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

long __isoc23_strtol(const char *text, char **end, int base) { return strtol(text, end, base); }
int __isoc23_sscanf(const char *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int count = vsscanf(text, format, arguments);
    va_end(arguments);
    return count;
}
int __isoc23_fscanf(FILE *file, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int count = vfscanf(file, format, arguments);
    va_end(arguments);
    return count;
}
END
    try_logged gcc -std=gnu11 -O2 -fPIC -c -o "$scratch/c23_names.o" "$scratch/c23_names.c" &&
        try_logged ar r "$1/lib/libuv.a" "$scratch/c23_names.o"
}
