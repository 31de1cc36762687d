"""file: CPU time and rate of random reads of 4 KiB from a file, out of the page cache and past it."""

from .bench import print_comparison, rotated
from .programs import say
from .results import case_name

NAME = 'file'
RUNS = 9
# Contender: its program, its options, whether it is pinned to one CPU. libuv reads on threads of its own and is given
# all CPUs, as its users do; pinned, its threads take turns on one, at less CPU time for each read.
PROGRAMS = {
    'ringloop': ('file_ringloop', [], True),
    'ringloop-object': ('file_ringloop', ['--object', '1'], True),
    'ringloop-slot': ('file_ringloop', ['--object', '1', '--fixed', '1'], True),
    'ringloop-fixed': ('file_ringloop', ['--fixed', '1'], True),
    'liburing': ('file_liburing', [], True),
    'libuv': ('file_libuv', [], False),
    'libuv-pinned': ('file_libuv', [], True),
    'syscalls': ('file_syscalls', [], True),
}
DEPTHS = [1, 32, 128]
MODES = {'cached': 0, 'direct': 1}
OPS = {('cached', 1): 50_000, ('direct', 1): 5_000, ('cached', 32): 200_000, ('direct', 32): 20_000,
       ('cached', 128): 200_000, ('direct', 128): 20_000}
OPS_SMOKE = 1000
MIB, MIB_SMOKE = 256, 8


def command(context, contender, depth, mode, file):
    program, options, _ = PROGRAMS[contender]
    return [context.programs.path(program), '--file', file, *options, '--depth', depth, '--direct', MODES[mode],
            '--mib', MIB_SMOKE if context.smoke else MIB, '--verify', int(context.smoke),
            '--ops', OPS_SMOKE if context.smoke else OPS[mode, depth]]


def run(context):
    contenders = [contender for contender in context.chosen(PROGRAMS) if context.programs.has(PROGRAMS[contender][0])]
    file = context.programs.path('file.data')  # beside the programs: where they are is no tmpfs
    try:
        for mode in MODES:
            for depth in DEPTHS:
                name = case_name(depth=depth, mode=mode)
                say(f'file: {name}')
                for round_number in range(context.rounds(RUNS)):
                    for contender in rotated(contenders, round_number):
                        cpu = context.programs.cpus[0] if PROGRAMS[contender][2] else None
                        result = context.programs.run_json(command(context, contender, depth, mode, file), cpu)
                        for metric in ('cpu_ns_per_op', 'ops_per_s'):
                            context.results.add(NAME, name, contender, metric, result[metric])
    finally:
        file.unlink(missing_ok=True)


def report(context):
    print_comparison(context.results, NAME, 'cpu_ns_per_op', 'file: CPU per read of 4 KiB, all threads and kernel, ns')
    print_comparison(context.results, NAME, 'ops_per_s', 'file: reads per second')
