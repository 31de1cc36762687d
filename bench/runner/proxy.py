"""proxy: echo_load through a TCP proxy to echo_epoll and back; CPU time of the proxy per message and per byte."""

import itertools

from .bench import print_comparison, print_values, rotated
from .programs import BenchError, say, serving
from .results import case_name

NAME = 'proxy'
CONTENDERS = ['ringloop', 'liburing', 'libuv']
RUNS = 5
BACKEND = 'echo_epoll'
LOAD = 'echo_load'
STREAM_BYTES = 65536  # messages of this size are sent without waiting for answers: a stream
STREAM_DEPTH = 16


def cases(context):
    if context.smoke:
        return [(4, 64), (2, 65536)]
    return list(itertools.product([1, 16, 64], [64, 16384, STREAM_BYTES]))


def run_load(context, contender, *words, proxy_words=()):
    cpu = context.programs.cpus[0]
    with serving(context.programs, BACKEND, cpu) as backend:
        arguments = ('--stats', '--backend', str(backend.port), *proxy_words)
        with serving(context.programs, f'proxy_{contender}', cpu, arguments=arguments) as proxy:
            return context.programs.run_json(
                [context.programs.path(LOAD), '--port', proxy.port, '--server', proxy.pid, *words], cpu)


def measure(context, contender, case, *extra):
    n, size = case
    warmup_ms, measure_ms = (5, 40) if context.smoke else (100, 400)
    return run_load(context, contender, '--connections', n, '--size', size, '--depth',
                    STREAM_DEPTH if size == STREAM_BYTES else 1, '--warmup-ms', warmup_ms, '--measure-ms', measure_ms,
                    *extra)


def verify(context, contender):
    run_load(context, contender, '--verify', proxy_words=['--small-window'])


def run(context):
    for program in (LOAD, BACKEND):
        if not context.programs.has(program):
            raise BenchError(f'{context.programs.path(program)} was not built')
    contenders = context.programs.present('proxy', context.chosen(CONTENDERS))
    for contender in contenders:
        say(f'proxy: verifying {contender}')
        verify(context, contender)
    for case in cases(context):
        n, size = case
        name = case_name(n=n, size=size)
        say(f'proxy: {name}')
        for round_number in range(context.rounds(RUNS)):
            for contender in rotated(contenders, round_number):
                result = measure(context, contender, case)
                context.results.add(NAME, name, contender, 'cpu_ns_per_op', result['cpu_ns_per_op'])
                # each message crosses the proxy twice
                context.results.add(NAME, name, contender, 'cpu_ns_per_byte', result['cpu_ns_per_op'] / size / 2)
                context.results.add(NAME, name, contender, 'ops_per_s', result['ops_per_s'])
        for contender in contenders:
            result = measure(context, contender, case, '--syscalls')
            if 'syscalls_per_op' in result:
                context.results.add(NAME, name, contender, 'syscalls_per_op', result['syscalls_per_op'])


def report(context):
    print_comparison(context.results, NAME, 'cpu_ns_per_op', 'proxy: CPU of the proxy per message and its echo, ns')
    print_values(context.results, NAME, 'cpu_ns_per_byte', 'proxy: CPU of the proxy per byte forwarded, ns')
    print_values(context.results, NAME, 'syscalls_per_op', 'proxy: system calls of the proxy per message and its echo')
