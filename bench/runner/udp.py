"""udp: UDP echo servers, closed loop, server CPU time per datagram."""

from .bench import print_comparison, print_values, rotated
from .programs import BenchError, say, serving, strace_counting
from .results import case_keys, case_name

NAME = 'udp'
CONTENDERS = ['ringloop', 'liburing', 'libuv']
RUNS = 7
PUMMEL_DEPTH = 16  # datagrams in flight of each client; all of them must fit into the server's socket buffer


def cases(context):
    """(n, size): one client with one datagram in flight is "ping", more clients with more are "pummel"."""
    if context.full:
        return [(1, 64), (1, 1024), (10, 64), (10, 1024), (64, 64)]
    return [(1, 64), (10, 64)]


def depth_of(n):
    return 1 if n == 1 else PUMMEL_DEPTH if n <= 10 else 2


def run_load(context, server, case, *extra):
    n, size = case
    warmup_ms, measure_ms = (10, 40) if context.smoke else (100, 300)
    command = [context.programs.path('udp_load'), '--port', server.port, '--server', server.pid, '--clients', n,
               '--depth', depth_of(n), '--size', size, '--warmup-ms', warmup_ms, '--measure-ms', measure_ms, *extra]
    return context.programs.run_json(command, context.programs.cpus[0])


def serving_udp(context, contender):
    return serving(context.programs, f'udp_{contender}', context.programs.cpus[0])


def measure(context, contender, case):
    with serving_udp(context, contender) as server:
        return run_load(context, server, case)


def measure_syscalls(context, contender, case):
    """System calls per datagram: by the tracepoint, else by strace over the whole run."""
    with serving_udp(context, contender) as server:
        result = run_load(context, server, case, '--syscalls')
        if 'syscalls_per_op' in result:
            return result['syscalls_per_op']
        with strace_counting(server.pid) as counted:
            result = run_load(context, server, case)
    return counted['calls'] / result['messages_total']


def run(context):
    if not context.programs.has('udp_load'):
        raise BenchError(f'{context.programs.path("udp_load")} was not built')
    contenders = context.programs.present('udp', context.chosen(CONTENDERS))
    for case in cases(context):
        name = case_name(n=case[0], size=case[1])
        say(f'udp: {name}')
        for round_number in range(context.rounds(RUNS)):
            for contender in rotated(contenders, round_number):
                result = measure(context, contender, case)
                for metric in ('cpu_ns_per_op', 'ops_per_s', 'p50_ns', 'p99_ns'):
                    context.results.add(NAME, name, contender, metric, result[metric])
        for contender in contenders:
            context.results.add(NAME, name, contender, 'syscalls_per_op', measure_syscalls(context, contender, case))


def report(context):
    print_comparison(context.results, NAME, 'cpu_ns_per_op', 'udp: server CPU per datagram answered, ns')
    print_values(context.results, NAME, 'syscalls_per_op', 'udp: system calls of the server per datagram')
    print_values(context.results, NAME, 'ops_per_s', 'udp: datagrams per second (wall clock: compare in a row only)')
    print_values(context.results, NAME, 'p50_ns', 'udp: median round trip, ns (wall clock)')
    print_values(context.results, NAME, 'p99_ns', 'udp: 99th percentile, ns (wall clock)')


def goal_cases(results):
    """Ping and pummel."""
    return [name for name in results.cases(NAME) if case_keys(name)['size'] == 64 and case_keys(name)['n'] <= 10]
