#!/usr/bin/env python3
"""doctor_check.py: ringloop-doctor says what is in the way. Every obstacle is a real one.

  doctor_check.py GROUP DOCTOR OBSTRUCT    GROUP: plain, filters, limits, users, sysctl

obstruct (obstruct.c) sets the obstacles up. sysctl changes kernel.io_uring_disabled for moments, for the whole
machine, and runs only as root with TEST_SYSCTL=1. Status 77: something was skipped and nothing failed.
"""
import ctypes
import errno
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

SKIP = 77
LIMIT_S = 100  # for one run; it ends by itself long before
DOCTOR = OBSTRUCT = None
CALLS = ["io_uring_setup", "io_uring_enter", "io_uring_register"]
TRIALS = ["nop", "worker", "timer", "tcp", "file"]
DISABLED = pathlib.Path("/proc/sys/kernel/io_uring_disabled")
GROUP = pathlib.Path("/proc/sys/kernel/io_uring_group")

# Users that nobody is, a new one for each run: some kernels charge rings to the user and give the memory back late.
users_numbers = itertools.count(100000 + os.getpid() * 64)


def ring_errno():
    """What io_uring_setup(2) answers to us: 0, or an errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(425, 8, ctypes.create_string_buffer(120))
    if fd < 0:
        return ctypes.get_errno()
    os.close(fd)
    return 0


def environment():
    """Sanitizers look for leaks with a thread of their own, for which limits leave no room."""
    options = os.environ.get("ASAN_OPTIONS", "")
    return {**os.environ, "ASAN_OPTIONS": f"{options}:detect_leaks=0".lstrip(":"), "TERM": "dumb"}


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, stdin=subprocess.DEVNULL, **options)


class Doctor(unittest.TestCase):
    def setUp(self):
        error = ring_errno()
        if error != 0:
            self.skipTest(f"no io_uring here: {errno.errorcode.get(error, error)}")

    def examine(self, *obstacles, doctor=None, arguments=()):
        """The report behind these obstacles, and the text of the same."""
        # Where nothing stands in the way, leaks are looked for.
        settings = {"env": environment()} if obstacles else {}
        wrapped = [OBSTRUCT, *obstacles, "--", doctor or DOCTOR, *arguments]
        outcome = run([*wrapped, "--json"], **settings)
        if outcome.returncode == SKIP:
            self.skipTest(outcome.stderr.strip())
        self.assertIn(outcome.returncode, (0, 1, 2), outcome.stderr)
        self.assertEqual(outcome.stderr, "")
        report = json.loads(outcome.stdout)
        self.assertEqual(report["exit"], outcome.returncode)
        self.assertEqual(report["status"], ["works", "restricted", "broken"][outcome.returncode])
        levels = [["works", "restricted", "broken"].index(finding["level"]) for finding in report["findings"]]
        self.assertEqual(max(levels, default=0), outcome.returncode, "the status is that of the worst finding")
        for finding in report["findings"]:
            self.assertTrue(finding["text"].endswith("."), finding["text"])
        return report

    def names(self, report):
        return [finding["name"] for finding in report["findings"]]

    def finding(self, report, name, level, error=None):
        matching = [finding for finding in report["findings"] if finding["name"] == name]
        self.assertEqual(len(matching), 1, report["findings"])
        self.assertEqual((matching[0]["level"], matching[0]["error"]), (level, error), matching[0])
        return matching[0]

    def advice(self, finding):
        return "\n".join(advice["text"] for advice in finding["advice"])

    def require_root(self):
        if os.geteuid() != 0:
            self.skipTest("not root")


class plain(Doctor):
    """Nothing in the way."""

    # Goal: where everything is there the status is 0. Method: features of this kernel decide which it must be.
    def test_works(self):
        report = self.examine()
        features = report["loop"]["features"]
        complete = (features["sq_entries"] >= 256 and features["cq_entries"] >= 4096 and features["opcode_last"] >= 57 and
                    features["min_wait"] and features["defer_taskrun"] and report["system"]["files"]["soft"] >= 256)
        self.assertEqual(report["exit"], 0 if complete else 1, report["findings"])
        self.assertEqual({name: call["allowed"] for name, call in report["calls"].items()}, dict.fromkeys(CALLS, True))
        self.assertEqual({name: trial["state"] for name, trial in report["trials"].items()},
                         dict.fromkeys(TRIALS, "passed"))
        self.assertTrue(features["single_issuer"] and features["registered_ring"])
        self.assertEqual(report["system"]["kernel"], os.uname().release)

    # Goal: text and JSON tell the same. Method: rows of the text are found in the object.
    def test_text_agrees(self):
        report = self.examine(arguments=["--verbose"])
        features = report["loop"]["features"]
        outcome = run([DOCTOR, "--verbose"], env={**os.environ, "TERM": "xterm"})
        rows = dict(re.findall(r"^  (\S+(?: \S+)*?) {2,}(\S.*(?:\n {22}\S.*)*)$", outcome.stdout, re.M))
        yes = {True: "yes", False: "no"}
        self.assertEqual(outcome.returncode, report["exit"])
        self.assertEqual(rows["SQ, CQ"], f"{features['sq_entries']}, {features['cq_entries']} entries")
        for label, member in (("SINGLE_ISSUER", "single_issuer"), ("DEFER_TASKRUN", "defer_taskrun"),
                              ("registered ring", "registered_ring"), ("minimum wait", "min_wait")):
            self.assertEqual(rows[label], yes[features[member]])
        self.assertEqual(rows["opcodes"].split(), features["opcode_names"])
        self.assertEqual(rows["set-up flags"].split(), features["setup_flag_names"])
        self.assertEqual(rows["kernel features"].split(), features["kernel_feature_names"])
        self.assertIn("DEFER_TASKRUN" if features["defer_taskrun"] else "SUBMIT_ALL", features["setup_flag_names"])
        self.assertEqual(features["opcode_names"][22], "READ")
        self.assertRegex(rows["last opcode"], rf"^{features['opcode_last']}\b")
        self.assertIn("io_uring works here", outcome.stdout)
        self.assertNotIn("\033", outcome.stdout, "colours are for terminals")
        self.assertLessEqual(max(len(row) for row in outcome.stdout.splitlines() if not row.startswith("      ")), 100)

    # Goal: --quiet says it by the status alone; help, version and wrong arguments do what they should.
    def test_arguments(self):
        report = self.examine()
        self.assertEqual((run([DOCTOR, "--quiet"]).returncode, run([DOCTOR, "--quiet"]).stdout), (report["exit"], ""))
        for option, expected in (("--help", "Exit status:"), ("--version", report["version"])):
            outcome = run([DOCTOR, option])
            self.assertEqual((outcome.returncode, outcome.stderr), (0, ""))
            self.assertIn(expected, outcome.stdout)
        for wrong in (["--unknown"], ["something"], ["--timeout=0"], ["--timeout=x"], ["--timeout="], ["--timeout=-1"]):
            outcome = run([DOCTOR, *wrong])
            self.assertEqual((outcome.returncode, outcome.stdout), (3, ""), wrong)
            self.assertIn("--help", outcome.stderr)

    # Goal: it does not matter how SIGCHLD is left by whoever starts it. Method: ignored, as is inherited.
    def test_children_ignored(self):
        def ignore():
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        self.assertEqual(run([DOCTOR, "--quiet"], preexec_fn=ignore).returncode, self.examine()["exit"])

    # Goal: a report that cannot be written is not reported as success. Method: a full device.
    def test_full_device(self):
        with open("/dev/full", "w") as full:
            outcome = subprocess.run([DOCTOR], stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT_S)
        self.assertEqual(outcome.returncode, 3)
        self.assertIn("No space left", outcome.stderr)


class filters(Doctor):
    """Seccomp filters."""

    # Goal: a profile that denies all three calls is called by its name. Method: each errno that profiles use.
    def test_all_denied(self):
        for error in ("EPERM", "ENOSYS", "EACCES"):
            report = self.examine(*[f"--deny={call}={error}" for call in ("setup", "enter", "register")])
            if error == "ENOSYS" and not DISABLED.exists():  # before 6.6 the two look alike, and it says so
                self.assertIn("filter", self.advice(self.finding(report, "no-kernel", "broken", error)))
                continue
            finding = self.finding(report, "filter", "broken", error)
            self.assertEqual(self.names(report), ["filter"])
            for call in CALLS:
                self.assertIn(call, finding["text"])
                self.assertEqual(report["calls"][call]["error"], error)
            self.assertIn("seccomp filter", finding["text"])
            self.assertIn("--security-opt seccomp=", self.advice(finding))
            self.assertEqual(report["loop"]["error"], error)
            self.assertEqual(report["loop"]["obstacle"], "FILTER")
            self.assertEqual(report["trials"]["nop"]["state"], "untried")

    # Goal: one denied call is named, and no other. Method: every call with every errno.
    def test_one_denied(self):
        for call, error in itertools.product(("setup", "enter", "register"), ("EPERM", "ENOSYS", "EACCES")):
            report = self.examine(f"--deny={call}={error}")
            text = self.finding(report, "filter", "broken", error)["text"]
            self.assertEqual(re.findall(r"io_uring_\w+", text), [f"io_uring_{call}"], text)
            self.assertEqual([name for name in CALLS if not report["calls"][name]["allowed"]], [f"io_uring_{call}"])
            self.assertEqual(report["loop"]["created"], call != "setup")
            if call == "enter":  # the library aborts; what it says is passed on
                self.assertEqual(report["loop"]["signal"], "SIGABRT")
                self.assertIn("io_uring_enter", report["loop"]["message"])

    # Goal: a filter that kills does not take the doctor with it. Method: both ways in which filters end a process.
    def test_killed(self):
        for call, answer in itertools.product(("setup", "enter", "register"), ("kill", "trap")):
            report = self.examine(f"--deny={call}={answer}")
            finding = self.finding(report, "filter-kills", "broken")
            self.assertIn("SIGSYS", finding["text"])
            self.assertEqual(re.findall(r"io_uring_\w+", finding["text"]), [f"io_uring_{call}"])
            self.assertIn("--security-opt seccomp=", self.advice(finding))
            self.assertEqual(report["calls"][f"io_uring_{call}"]["signal"], "SIGSYS")
            self.assertEqual(report["loop"]["ending"], "untried")

    # Goal: a call that never returns ends the wait, not the doctor. Method: a supervisor that answers nothing.
    def test_hangs(self):
        for call in ("setup", "enter", "register"):
            report = self.examine(f"--hang={call}", arguments=["--timeout=1"])
            self.assertEqual(self.finding(report, "call-hangs", "broken")["text"], f"io_uring_{call} does not return.")
            self.assertEqual(report["calls"][f"io_uring_{call}"]["ending"], "hung")

    # Goal: what the loop can do without is a restriction. Method: the registering of the ring is denied.
    def test_registered_ring_denied(self):
        report = self.examine("--deny=register:20=EINVAL")
        self.assertIn("registered ring", self.finding(report, "features", "restricted")["text"])
        self.assertFalse(report["loop"]["features"]["registered_ring"])
        self.assertEqual(report["exit"], 1)

    # Goal: without buffer groups nothing can be received. Method: registering them is denied.
    def test_buffers_denied(self):
        report = self.examine("--deny=register:22=EINVAL")
        self.assertEqual(report["trials"]["tcp"]["error"], "EINVAL")
        self.assertEqual(report["trials"]["nop"]["state"], "passed")
        self.finding(report, "tcp", "broken", "EINVAL")

    # Goal: a ring that cannot be enabled is told. Method: that is denied.
    def test_enabling_denied(self):
        report = self.examine("--deny=register:12=EPERM")
        self.finding(report, "run", "broken", "EPERM")
        self.assertTrue(report["loop"]["created"])
        self.assertFalse(report["loop"]["run"])


class limits(Doctor):
    """Resource limits, and what a namespace lacks."""

    # Goal: descriptors that are used up are told at each place where it may happen, and never crash it. Method: from
    # one free descriptor upwards; up to where there are enough.
    def test_files(self):
        trials = []
        for count in range(4, 40):
            report = self.examine(f"--files={count}")
            trials.append(report["trials"]["tcp"]["state"])
            if trials[-1] == "passed":
                break
            finding = self.finding(report, "files", "broken", "EMFILE")
            self.assertIn(f"RLIMIT_NOFILE is {count}", finding["text"])
            self.assertIn("ulimit -n", self.advice(finding))
        self.assertEqual(trials[0], "untried", "with one descriptor no loop can be made")
        self.assertEqual(trials[-1], "passed")
        self.assertIn("failed", trials)
        self.assertIn("ulimit -n", self.advice(self.finding(report, "few-files", "restricted")))
        self.assertEqual(report["exit"], 1)

    # Goal: a missing loopback is no fault of io_uring. Method: a new network namespace, whose lo is down.
    def test_no_loopback(self):
        report = self.examine("--netns")
        self.assertIn("ip link set lo up", self.advice(self.finding(report, "no-loopback", "restricted", "ENETUNREACH")))
        self.assertEqual(report["exit"], 1)


class WithUsers(Doctor):
    """Other users may start what is tested."""

    def setUp(self):
        super().setUp()
        self.require_root()
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        os.chmod(self.directory.name, 0o755)
        self.doctor = self.copy(DOCTOR, 0o755)
        self.obstruct = self.copy(OBSTRUCT, 0o755)

    def copy(self, path, mode):
        """Where everybody may reach it."""
        target = os.path.join(self.directory.name, f"{os.path.basename(path)}-{mode:o}")
        shutil.copyfile(path, target)
        os.chmod(target, mode)
        return target

    def examine_as_user(self, *obstacles):
        return self.examine(f"--uid={next(users_numbers)}", *obstacles, doctor=self.doctor)

    def require_charging(self):
        """Only some kernels charge rings to RLIMIT_MEMLOCK: asked without the doctor."""
        probe = ("import ctypes, sys; libc = ctypes.CDLL(None, use_errno=True);"
                 "fd = libc.syscall(425, 8, ctypes.create_string_buffer(120)); sys.exit(ctypes.get_errno() if fd < 0 else 0)")
        outcome = run([OBSTRUCT, f"--uid={next(users_numbers)}", "--memlock=0", "--", self.interpreter(), "-c", probe])
        if outcome.returncode != errno.ENOMEM:
            self.skipTest(f"this kernel does not charge rings to RLIMIT_MEMLOCK ({outcome.returncode})")

    def interpreter(self):
        """A Python that other users may start."""
        for path in ("/usr/bin/python3", os.path.realpath(sys.executable)):
            if os.path.exists(path) and run([OBSTRUCT, f"--uid={next(users_numbers)}", "--", path, "-c", ""]).returncode == 0:
                return path
        self.skipTest("no Python that other users may start")


class users(WithUsers):
    """As other users, whose limits count."""

    # Goal: without rights it works as well.
    def test_without_rights(self):
        report = self.examine_as_user()
        self.assertLess(report["exit"], 2, report["findings"])
        self.assertFalse(report["system"]["cap_sys_admin"] or report["system"]["cap_ipc_lock"])

    # Goal: a program that may be run but not read still has a file to read. Method: mode 0711.
    def test_not_readable(self):
        self.doctor = self.copy(DOCTOR, 0o711)
        report = self.examine_as_user()
        self.assertEqual(report["trials"]["file"]["state"], "passed")
        self.assertIn("in memory", report["trials"]["file"]["what"])

    # Goal: rings that had to be halved are a restriction, with advice.
    def test_memlock_small(self):
        self.require_charging()
        report = self.examine_as_user("--memlock=65536")
        self.assertIn("ulimit -l", self.advice(self.finding(report, "small-rings", "restricted")))
        self.assertLess(report["loop"]["features"]["sq_entries"], 256)
        self.assertEqual(report["exit"], 1)

    # Goal: no ring at all is an obstacle.
    def test_memlock_none(self):
        self.require_charging()
        report = self.examine_as_user("--memlock=0")
        finding = self.finding(report, "memlock", "broken", "ENOMEM")
        self.assertIn("0 KiB", finding["text"])
        self.assertIn("LimitMEMLOCK", self.advice(finding))
        self.assertEqual((report["loop"]["created"], report["loop"]["obstacle"]), (False, "MEMLOCK"))

    # Goal: a ring that fits and a buffer group that does not. Method: limits between nothing and enough.
    def test_memlock_for_rings_only(self):
        self.require_charging()
        for size in range(4096, 65536, 4096):
            report = self.examine_as_user(f"--memlock={size}")
            if report["loop"]["created"] and report["trials"]["tcp"]["state"] == "failed":
                break
        self.assertEqual(report["trials"]["tcp"]["error"], "ENOMEM", "no limit between 4 and 64 KiB did that")
        self.assertEqual(report["trials"]["timer"]["state"], "passed")
        self.finding(report, "memlock", "broken", "ENOMEM")
        self.assertIn("small-rings", self.names(report))

    # Goal: capabilities of a user namespace do not count.
    def test_user_namespace(self):
        self.require_charging()
        report = self.examine_as_user("--userns", "--memlock=65536")
        self.assertTrue(report["system"]["user_namespace"])
        self.assertEqual((report["system"]["uid"], report["system"]["cap_ipc_lock"]), (0, False))
        self.finding(report, "small-rings", "restricted")

    # Goal: worker threads that cannot be started are a restriction. Method: room for the doctor and one child.
    def test_no_worker(self):
        report = self.examine_as_user("--processes=2")
        finding = self.finding(report, "no-workers", "restricted", "ECANCELED")
        self.assertIn("RLIMIT_NPROC is 2", self.advice(finding))
        self.assertEqual(report["trials"]["tcp"]["state"], "passed")

    # Goal: where no process can be started to try in, it says that. Method: room for the doctor alone.
    def test_no_process(self):
        report = self.examine_as_user("--processes=1")
        self.finding(report, "no-process", "broken", "EAGAIN")
        self.assertEqual(report["calls"]["io_uring_setup"]["ending"], "untried")


class Restorer:
    """Puts settings back when it is left, or when this process is gone, however it went."""

    def __init__(self, *paths):
        script = "read line; " + "".join(f"echo {path.read_text().strip()} > {path}; " for path in paths)
        self.process = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, start_new_session=True)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.stdin.close()
        self.process.wait(LIMIT_S)


class sysctl(WithUsers):
    """kernel.io_uring_disabled: for the whole machine, so for moments only."""

    def setUp(self):
        if os.environ.get("TEST_SYSCTL") != "1":
            self.skipTest("changes a setting of the whole machine: set TEST_SYSCTL=1")
        super().setUp()
        if not os.access(DISABLED, os.W_OK) or DISABLED.read_text().strip() != "0":
            self.skipTest(f"{DISABLED} cannot be written, or is not 0")

    def examine_with(self, disabled, group, *obstacles, doctor=None):
        with Restorer(DISABLED, GROUP):
            GROUP.write_text(str(group))
            DISABLED.write_text(str(disabled))
            return self.examine(*obstacles, doctor=doctor or self.doctor)

    def tearDown(self):
        self.assertEqual(DISABLED.read_text().strip(), "0")

    # Goal: 2 denies everybody, and it says how to switch it back.
    def test_nobody(self):
        report = self.examine_with(2, -1)
        finding = self.finding(report, "sysctl-2", "broken", "EPERM")
        self.assertIn("sysctl -w kernel.io_uring_disabled=0", self.advice(finding))
        self.assertEqual((report["loop"]["obstacle"], self.names(report)), ("SYSCTL", ["sysctl-2"]))

    # Goal: a filter behind the sysctl is told as well, or it would be the next thing met.
    def test_nobody_and_filter(self):
        report = self.examine_with(2, -1, "--deny=enter=EPERM")
        self.assertEqual(self.names(report), ["sysctl-2", "filter"])

    # Goal: 1 denies users, but for those in the group, and root.
    def test_users(self):
        user = next(users_numbers)
        report = self.examine_with(1, -1, f"--uid={user}")
        finding = self.finding(report, "sysctl-1", "broken", "EPERM")
        self.assertIn(f"sysctl -w kernel.io_uring_group={user}", self.advice(finding))
        report = self.examine_with(1, user, f"--uid={user}")
        self.assertIn("group", self.finding(report, "sysctl-exempt", "works")["text"])
        self.assertLess(report["exit"], 2)
        report = self.examine_with(1, user + 1, f"--uid={user}")
        self.assertIn(f"getent group {user + 1}", self.advice(self.finding(report, "sysctl-1", "broken", "EPERM")))
        report = self.examine_with(1, -1)
        self.assertIn("CAP_SYS_ADMIN", self.finding(report, "sysctl-exempt", "works")["text"])

    # Goal: root of a user namespace is not exempt.
    def test_user_namespace(self):
        report = self.examine_with(1, -1, f"--uid={next(users_numbers)}", "--userns")
        self.assertIn("namespace", self.advice(self.finding(report, "sysctl-1", "broken", "EPERM")))


def main():
    global DOCTOR, OBSTRUCT
    groups = {group.__name__: group for group in (plain, filters, limits, users, sysctl)}
    if len(sys.argv) != 4 or sys.argv[1] not in groups:
        sys.exit(__doc__)
    DOCTOR, OBSTRUCT = sys.argv[2:]
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # so that settings are put back
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(groups[sys.argv[1]])
    outcome = unittest.TextTestRunner(verbosity=2, stream=sys.stdout).run(suite)
    if not outcome.wasSuccessful():
        sys.exit(1)
    sys.exit(SKIP if outcome.skipped else 0)


if __name__ == "__main__":
    main()
