#!/usr/bin/env python3
"""tests/layers.py: the layers of ringloop are kept.

  layers.py includes ROOT                who may include whom
  layers.py objects NM OBJECT...         no object of the core goes round the two seams
  layers.py exports NM LIBRARY ROOT      the shared library exports what the headers declare, and nothing else
"""
import pathlib
import re
import subprocess
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)

# Directory of the file: the directories of the project that it may include from.
MAY_INCLUDE = {
    "include": {"ringloop"},
    "loop": {"ringloop", "loop"},
    "net": {"ringloop", "loop", "net"},
    "fs": {"ringloop", "loop", "fs"},
    "examples": {"ringloop", "examples"},
    "bench": {"ringloop", "bench"},
    "tools": {"ringloop", "tools"},
}
OURS = {"ringloop", "loop", "net", "fs", "tests", "examples", "bench", "tools"}
KERNEL = re.compile(r"^(liburing|linux/|asm/|asm-generic/|sys/syscall\.h)")
# What enters the kernel's ring: the seams alone may.
ENTERS = re.compile(r"\b(io_uring_enter2?|io_uring_submit\w*|io_uring_register\w*|io_uring_setup|"
                    r"io_uring_queue_init\w*|io_uring_wait_cqe\w*|syscall)\s*\(")
IGNORED = re.compile(r"/\*.*?\*/|//[^\n]*|\"(\\.|[^\"\\])*\"", re.S)  # comments and strings
SEAMS = {"loop/ring_kernel.c", "loop/sys_file.c", "loop/sys_linux.c", "loop/sys_process.c"}

# What an object of the core must not call: the kernel's ring, and system calls, clocks, randomness, threads.
FORBIDDEN = re.compile(r"""^(
    io_uring_\w+ | __io_uring\w* | syscall |
    socket | socketpair | bind | listen | accept4? | connect | send | sendto | sendmsg | sendmmsg |
    recv | recvfrom | recvmsg |
    shutdown | getsockopt | setsockopt | getsockname | getpeername |
    open(at)?(64)? | __open\w* | creat | close | close_range | read | __read_chk | write | readv | writev |
    p(read|write)(64|v)? | pipe2? | dup[23]? | fcntl(64)? | ioctl | poll | ppoll | __poll_chk | select |
    epoll_\w+ | eventfd(_\w+)? | timerfd_\w+ |
    signalfd | inotify_\w+ | mmap(64)? | munmap | mprotect | madvise | fopen(64)? | fread | fgets | opendir |
    clock_\w+ | gettimeofday | time | nanosleep | usleep | sleep | getrandom | random | rand |
    f?l?stat(at)?(64)? | statx | f?statfs(64)? | f?statvfs(64)? | f?access(at)? | f?chmod(at)? | f?l?chown(at)? |
    utime\w* | f?utimens(at)? | f?utimes(at)? | lutimes |
    readlink(at)? | realpath | __realpath_chk | link(at)? | symlink(at)? | unlink(at)? | rename(at2?)? | mkdir(at)? |
    rmdir | mkd?temp(64)? | mkstemp\w* | readdir(64)? | fdopendir | scandir\w* | closedir | getdents(64)? | ftw\w* |
    nftw\w* | fts_\w+ | f?truncate(64)? | fallocate(64)? | f?d?a?t?a?sync | copy_file_range | sendfile(64)? |
    splice | tee | lseek(64)? | flock | getcwd | f?chdir | umask |
    pthread_create | pthread_join | pthread_kill | pthread_sigmask | pthread_atfork | thrd_\w+ |
    _?fork | vfork | clone3? | posix_spawn\w* | exec\w+ | wait(pid|id|3|4)? | pidfd_\w+ | t?g?kill | raise |
    sigaction | signal | sigprocmask | prctl | getrusage | get[pt]?p?id | set\w*[ug]id | setgroups | setsid |
    getrlimit(64)? | setrlimit(64)? | sched_\w+ | getenv | malloc_usable_size
)$""", re.X)
# Names with a reason: what they are needed for is no system call.
ALLOWED = {"abort", "fprintf", "stderr", "realloc", "free", "malloc", "calloc"}


def fail(errors):
    for error in errors:
        print(error)
    if errors:
        sys.exit(1)


def sources(root):
    for directory in MAY_INCLUDE:
        for path in sorted((root / directory).rglob("*.[ch]")) if (root / directory).is_dir() else []:
            yield directory, path


def target_of(kind, name, path, root):
    """The directory of the project that an include leads to, or None for the system's."""
    if kind == '"' and (path.parent / name).is_file():
        parts = (path.parent / name).resolve().relative_to(root).parts
        return "ringloop" if parts[0] == "include" else parts[0]
    first = name.split("/")[0]
    if name == "ringloop.h":
        return "ringloop"
    return first if first in OURS and ("/" in name) else None


def check_includes(root):
    errors = []
    seen = 0
    for directory, path in sources(root):
        text = path.read_text()
        relative = path.relative_to(root).as_posix()
        seen += 1
        for match in INCLUDE.finditer(text):
            kind, name = match.groups()
            where = f"{relative}:{text.count(chr(10), 0, match.start(2)) + 1}"
            target = target_of(kind, name, path, root)
            if target is not None and target not in MAY_INCLUDE[directory]:
                errors.append(f"{where}: {directory}/ may not include {name}")
            if directory == "include" and KERNEL.match(name):
                errors.append(f"{where}: a public header may not include {name}")
            if directory == "include" and kind == '"':
                errors.append(f"{where}: public headers include each other as <{name}>")
            if directory in ("net", "fs") and name.startswith("liburing"):
                errors.append(f"{where}: {directory}/ is written with operations, not with SQEs")
        if directory in ("loop", "net", "fs") and relative not in SEAMS:
            code = IGNORED.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)
            for match in ENTERS.finditer(code):
                line = code.count("\n", 0, match.start()) + 1
                errors.append(f"{relative}:{line}: {match.group(1)} belongs to a seam")
    if seen < 10:
        errors.append(f"{root}: only {seen} files found: the layout has changed")
    fail(errors)


def symbols(nm, arguments):
    for line in subprocess.run([nm, *arguments], check=True, capture_output=True, text=True).stdout.splitlines():
        parts = line.split()
        if len(parts) >= 2 and not line.endswith(":"):
            yield parts[-2], parts[-1].split("@")[0]


def check_objects(nm, objects):
    errors = []
    for path in objects:
        for kind, name in symbols(nm, ["--undefined-only", path]):
            if name not in ALLOWED and FORBIDDEN.match(name):
                errors.append(f"{path}: goes round the seams: {name}")
    if len(objects) < 10:
        errors.append(f"only {len(objects)} objects were given")
    fail(errors)


def check_exports(nm, library, root):
    errors = []
    exported = {name for kind, name in symbols(nm, ["--dynamic", "--defined-only", library])}
    # What sanitizers and the linker add.
    added = re.compile(r"^(_init|_fini|__asan_|__odr_asan|__tsan_|__ubsan_|_edata|_end|__bss_start|\.)")
    exported = {name for name in exported if not added.match(name)}
    declared = set()
    for path in (root / "include").rglob("*.h"):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        declared |= set(re.findall(r"LOOP_API\s[^;(]*?\b(loop_\w+)\s*\(", text))
    for name in sorted(exported):
        if not name.startswith("loop_"):
            errors.append(f"{library} exports {name}")
        elif name not in declared:
            errors.append(f"{library} exports {name}, which no public header declares")
    for name in sorted(declared - exported):
        errors.append(f"{library} does not export {name}, which a public header declares")
    if len(declared) < 30:
        errors.append(f"only {len(declared)} declarations found in the headers")
    fail(errors)


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "includes":
        check_includes(pathlib.Path(sys.argv[2]).resolve())
    elif len(sys.argv) > 3 and sys.argv[1] == "objects":
        check_objects(sys.argv[2], sys.argv[3:])
    elif len(sys.argv) == 5 and sys.argv[1] == "exports":
        check_exports(sys.argv[2], sys.argv[3], pathlib.Path(sys.argv[4]).resolve())
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
