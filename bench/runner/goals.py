"""The goals ringloop's benchmarks are held to, and whether they are met; docs/benchmarks.md explains them."""

from dataclasses import dataclass

from . import churn, echo, file, idle, nop, post, proxy, resp, timers, udp, write
from .results import geometric_mean, print_table


@dataclass
class Goal:
    bench: str
    text: str
    limit: float
    value: float | None  # None: could not be measured
    floor: float | None = None  # what bare liburing reaches in the same run: the limit of this machine

    @property
    def met(self):
        return self.value is not None and self.value <= self.limit

    @property
    def verdict(self):
        if self.value is None:
            return 'not measured'
        return 'pass' if self.met else 'MISS'


def cpu_ratio(results, bench, contender, peer):
    """Geometric mean over all cases that were measured, or None."""
    ratios = [results.ratio(bench.NAME, case, contender, peer, 'cpu_ns_per_op') for case in results.cases(bench.NAME)]
    return geometric_mean(ratios) if ratios and None not in ratios else None


def libuv_goals(bench, text, limit):
    """One goal: the CPU time of all cases, compared with libuv."""
    def make(results):
        return [Goal(bench.NAME, f'CPU per {text}, ratio to libuv (geomean)', limit,
                     cpu_ratio(results, bench, 'ringloop', 'libuv'), cpu_ratio(results, bench, 'liburing', 'libuv'))]

    return make


def echo_ratio(results, contender, peer):
    ratios = [results.ratio(echo.NAME, case, contender, peer, 'cpu_ns_per_op') for case in echo.goal_cases(results)]
    return geometric_mean(ratios) if ratios and None not in ratios else None


def echo_goals(results):
    goals = [Goal(echo.NAME, f'CPU per message, N>=16 depth 1, ratio to {peer} (geomean)', limit,
                  echo_ratio(results, 'ringloop', peer),
                  1.0 if peer == 'liburing' else echo_ratio(results, 'liburing', peer))
             for peer, limit in (('libuv', 0.85), ('libev', 0.85), ('liburing', 1.05))]
    case = 'n=64,size=64,depth=1,cpus=1'
    goals.append(Goal(echo.NAME, f'system calls per message, {case}', 0.10,
                      results.value(echo.NAME, case, 'ringloop', 'syscalls_per_op'),
                      results.value(echo.NAME, case, 'liburing', 'syscalls_per_op')))
    return goals


def more(results, metric, contender, peer):
    """How much more of it a nop takes in batch=32, or None."""
    return results.difference(nop.NAME, 'batch=32', contender, peer, metric)


def nop_goals(results):
    return [
        Goal(nop.NAME, 'user instructions more than a raw nop, batch=32', 100,
             more(results, 'instructions_per_op', 'ringloop', 'liburing'), 0.0),
        Goal(nop.NAME, 'the same in direct mode', 60,
             more(results, 'instructions_per_op', 'ringloop-direct', 'liburing'), 0.0),
        Goal(nop.NAME, 'CPU ns that a deadline adds, batch=32', 30,
             more(results, 'cpu_ns_per_op', 'ringloop-deadline', 'ringloop-sequel')),
    ]


def timers_goals(results):
    pair = 'op=insert_cancel,count=100000'
    return [Goal(timers.NAME, 'insert_cancel, count=100000, ratio to libev', 1 / 5,
                 results.ratio(timers.NAME, pair, 'ringloop', 'libev', 'cpu_ns_per_op')),
            Goal(timers.NAME, 'insert_cancel, count=100000, ratio to libuv', 1 / 30,
                 results.ratio(timers.NAME, pair, 'ringloop', 'libuv', 'cpu_ns_per_op'))]


def post_goals(results):
    def ratio(mode):
        return results.ratio(post.NAME, f'mode={mode}', 'ringloop', 'libuv', 'cpu_ns_per_op')

    return [Goal(post.NAME, "wake pending, sender's CPU ns per post", 8,
                 results.value(post.NAME, 'mode=wake', 'ringloop', 'cpu_ns_per_op')),
            Goal(post.NAME, 'flood, CPU ns per delivered post', 100,
                 results.value(post.NAME, 'mode=flood', 'ringloop', 'cpu_ns_per_op')),
            Goal(post.NAME, 'flood, ratio to a queue with a mutex and uv_async_send', 1.00, ratio('flood')),
            Goal(post.NAME, 'ping-pong, CPU ratio to uv_async_send', 1.05, ratio('pingpong'))]


def write_goals(results):
    return [Goal(write.NAME, 'CPU per write, one writer, ratio to liburing (geomean of the sizes)', 1.05,
                 write.ratio(results, 1, 'none'), 1.0),
            Goal(write.NAME, 'CPU per write, 64 writers, merged, ratio to write(2) (geomean of the sizes)', 0.60,
                 write.ratio(results, 64, 'none', 'syscalls', 'ringloop-writer'))]


def file_goals(results):
    def slower(contender):
        """How many times libuv's rate is that of a contender."""
        return results.ratio(file.NAME, 'depth=32,mode=cached', 'libuv', contender, 'ops_per_s')

    def cpu(mode, contender):
        return results.ratio(file.NAME, f'depth=32,mode={mode}', contender, 'libuv', 'cpu_ns_per_op')

    return [Goal(file.NAME, 'CPU per cached read, depth=32, ratio to libuv', 1 / 2.2,
                 cpu('cached', 'ringloop'), cpu('cached', 'liburing')),
            Goal(file.NAME, "libuv's cached reads per second, depth=32, ratio to ringloop's", 1 / 2.2,
                 slower('ringloop'), slower('liburing')),
            Goal(file.NAME, 'CPU per direct read, depth=32, ratio to libuv', 1 / 5,
                 cpu('direct', 'ringloop'), cpu('direct', 'liburing'))]


def udp_goals(results):
    return [Goal(udp.NAME, f'CPU per datagram, {case}, ratio to libuv', 0.85,
                 results.ratio(udp.NAME, case, 'ringloop', 'libuv', 'cpu_ns_per_op'),
                 results.ratio(udp.NAME, case, 'liburing', 'libuv', 'cpu_ns_per_op'))
            for case in udp.goal_cases(results)]


def idle_goals(results):
    case = 'n=10000'
    return [Goal(idle.NAME, f'user memory per connection, {case}, bytes', 300,
                 results.value(idle.NAME, case, 'ringloop', 'bytes_per_item'),
                 results.value(idle.NAME, case, 'liburing', 'bytes_per_item'))]


def goals_of(benches, results):
    makers = {echo.NAME: echo_goals, nop.NAME: nop_goals, timers.NAME: timers_goals, post.NAME: post_goals,
              file.NAME: file_goals, write.NAME: write_goals, resp.NAME: libuv_goals(resp, 'request', 0.80),
              churn.NAME: libuv_goals(churn, 'connection', 1.00),
              proxy.NAME: libuv_goals(proxy, 'message', 0.85), udp.NAME: udp_goals,
              idle.NAME: idle_goals}
    return [goal for name, make in makers.items() if name in benches for goal in make(results)]


def print_goals(goals):
    rows = [[f'{goal.bench}: {goal.text}', f'{goal.limit:.3g}', '-' if goal.value is None else f'{goal.value:.3f}',
             '-' if goal.floor is None else f'{goal.floor:.3f}', goal.verdict] for goal in goals]
    print_table('goals', ['goal', 'at most', 'ringloop', 'liburing', 'verdict'], rows)
