"""fanout: CPU time of sending one payload to many connections, by copying and by zero-copy."""

from .bench import print_comparison, print_values, rotated
from .programs import say
from .results import case_name

NAME = 'fanout'
RUNS = 5
PROGRAMS = {  # contender: program, its options, and the modes it has
    'ringloop': ('fanout_ringloop', [], ('copy', 'zerocopy')),
    'liburing': ('fanout_liburing', [], ('copy', 'zerocopy')),
    'liburing-fixed': ('fanout_liburing', ['--fixed'], ('zerocopy',)),
    'libuv': ('fanout_libuv', [], ('copy',)),
}
SHORT = [(16, 1024), (16, 16384), (16, 65536), (16, 262144), (256, 1024), (256, 16384), (256, 65536)]
FULL = SHORT + [(2, 1024), (2, 65536), (2, 262144), (16, 1048576), (1000, 1024), (1000, 16384)]
ROUND_BYTES = 256 << 20  # sent in a measurement, at most
ROUND_SENDS = 40_000


def rounds_of(n, size):
    return max(3, min(ROUND_BYTES // (n * size), ROUND_SENDS // n))


def run(context):
    contenders = [contender for contender in context.chosen(PROGRAMS) if context.programs.has(PROGRAMS[contender][0])]
    cells = [(3, 1000), (3, 70000)] if context.smoke else FULL if context.full else SHORT
    for n, size in cells:
        for mode in ('copy', 'zerocopy'):
            name = case_name(n=n, size=size, mode=mode)
            say(f'fanout: {name}')
            present = [contender for contender in contenders if mode in PROGRAMS[contender][2]]
            for round_number in range(context.rounds(RUNS)):
                for contender in rotated(present, round_number):
                    program, options, _ = PROGRAMS[contender]
                    words = [context.programs.path(program), *options, '--n', n, '--size', size, '--mode', mode,
                             '--rounds', 5 if context.smoke else rounds_of(n, size)]
                    result = context.programs.run_json(words, context.programs.cpus[0])
                    context.results.add(NAME, name, contender, 'cpu_ns_per_op', result['cpu_ns_per_op'])
                    if mode == 'zerocopy':
                        context.results.add(NAME, name, contender, 'copied', result['copied'])


def report(context):
    print_comparison(context.results, NAME, 'cpu_ns_per_op', 'fanout: CPU of the sender per target, ns')
    print_values(context.results, NAME, 'copied', 'fanout: share of zero-copy sends that the kernel copied after all')
