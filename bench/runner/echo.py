"""echo: TCP echo servers, closed loop, server CPU time per message."""

import itertools

from .bench import print_comparison, print_values, rotated
from .programs import BenchError, say, serving, strace_counting
from .results import case_keys, case_name

NAME = 'echo'
CONTENDERS = ['ringloop', 'liburing', 'libuv', 'libev', 'epoll']
RUNS = 5
SMOKE_CONNECTIONS = [1, 16]
BULK_BYTES = 4 << 20  # in flight


def cases(context):
    """(n, size, depth, cpus) of this run."""
    if context.smoke:
        return [(n, 64, depth, 1) for n in SMOKE_CONNECTIONS for depth in (1, 16)]
    if context.full:
        cpus = [1, 2] if len(context.programs.cpus) >= 2 else [1]
        return list(itertools.product([1, 16, 64, 1000], [64, 1024, 16384], [1, 16], cpus))
    return list(itertools.product([1, 16, 64, 1000], [64, 1024], [1], [1]))


def windows(context, case):
    """Milliseconds of warm-up and of measuring: many times what one message on every connection takes."""
    n, size, depth, _ = case
    if context.smoke:
        return 10, 40
    if n * size * depth > BULK_BYTES:
        return 500, 1500
    return (250 if n >= 1000 else 100), 300


def scheduler(case):
    """Who has a CPU of its own is preempted by nobody, and shall not keep the rest of the machine from running."""
    return 'other' if case[3] == 2 else None


def serving_case(context, contender, case):
    return serving(context.programs, f'echo_{contender}', context.programs.cpus[0], scheduler(case))


def run_load(context, server, case, *extra):
    n, size, depth, cpus = case
    warmup_ms, measure_ms = windows(context, case)
    command = [context.programs.path('echo_load'), '--port', server.port, '--server', server.pid, '--connections', n,
               '--size', size, '--depth', depth, '--warmup-ms', warmup_ms, '--measure-ms', measure_ms, *extra]
    return context.programs.run_json(command, context.programs.cpus[0 if cpus == 1 else 1], scheduler(case))


def verify(context, contender):
    """Raises if the server is not an echo server."""
    with serving(context.programs, f'echo_{contender}', context.programs.cpus[0]) as server:
        context.programs.run_json([context.programs.path('echo_load'), '--verify', '--port', server.port,
                                   '--server', server.pid], context.programs.cpus[0])


def measure(context, contender, case):
    with serving_case(context, contender, case) as server:
        return run_load(context, server, case)


def measure_syscalls(context, contender, case):
    """System calls per message, in a window of its own: by the tracepoint, else by strace over the whole run."""
    with serving_case(context, contender, case) as server:
        result = run_load(context, server, case, '--syscalls')
        if 'syscalls_per_op' in result:
            return result['syscalls_per_op']
        with strace_counting(server.pid) as counted:
            result = run_load(context, server, case)
    return counted['calls'] / result['messages_total']


def run(context):
    if not context.programs.has('echo_load'):
        raise BenchError(f'{context.programs.path("echo_load")} was not built')
    contenders = context.programs.present('echo', context.chosen(CONTENDERS))
    for contender in contenders:
        say(f'echo: verifying {contender}')
        verify(context, contender)
    for case in cases(context):
        name = case_name(**dict(zip(('n', 'size', 'depth', 'cpus'), case)))
        say(f'echo: {name}')
        for round_number in range(context.rounds(RUNS)):
            for contender in rotated(contenders, round_number):
                result = measure(context, contender, case)
                for metric in ('cpu_ns_per_op', 'ops_per_s', 'p50_ns', 'p99_ns'):
                    context.results.add(NAME, name, contender, metric, result[metric])
        for contender in contenders:
            context.results.add(NAME, name, contender, 'syscalls_per_op', measure_syscalls(context, contender, case))


def report(context):
    print_comparison(context.results, NAME, 'cpu_ns_per_op', 'echo: server CPU per message, ns')
    print_values(context.results, NAME, 'syscalls_per_op', 'echo: system calls of the server per message')
    print_values(context.results, NAME, 'ops_per_s', 'echo: messages per second (wall clock: compare in a row only)')
    print_values(context.results, NAME, 'p50_ns', 'echo: median round trip, ns (wall clock)')
    print_values(context.results, NAME, 'p99_ns', 'echo: 99th percentile, ns (wall clock)')


def goal_cases(results):
    """The cases the goals are about: N >= 16, depth 1, server and load on one CPU."""
    selected = []
    for name in results.cases(NAME):
        keys = case_keys(name)
        if keys['n'] >= 16 and keys['depth'] == 1 and keys['cpus'] == 1:
            selected.append(name)
    return selected
