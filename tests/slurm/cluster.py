"""A real Slurm on this machine: munged, mariadbd, slurmdbd, slurmctld and four slurmd with eight fake GPUs each.

All of it lives in one directory and listens on the loopback address only. By hand: `python tests/slurm/cluster.py up`.
"""

from __future__ import annotations

import argparse
import os
import pwd
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # a script's own folder is searched for modules, not the one above it
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from slurm import processes
from slurm.config import PATH, Options, missing, write

BY_HAND = Path(__file__).resolve().parents[2] / "build" / "slurm"


class Cluster:
    """One cluster in one directory, whoever started it."""

    def __init__(self, folder: Path, options: Options | None = None) -> None:
        self.folder = folder.resolve()
        self.options = options or Options()
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.nodes = [f"n{number}" for number in range(1, self.options.nodes + 1)]
        self.env = {
            "SLURM_CONF": str(self.folder / "etc/slurm.conf"),
            "MUNGE_SOCKET": str(self.folder / "munge/socket"),
            "MYSQL_UNIX_PORT": str(self.folder / "mysql/socket"),
        }
        # In the environment of every process of this cluster, and of no other.
        self._mark = f"SLURM_CONF={self.env['SLURM_CONF']}"

    @property
    def daemons(self) -> list[str]:
        """Their names, in the order in which they start."""
        return ["munged", "mariadbd", "slurmdbd", "slurmctld", *(f"slurmd.{node}" for node in self.nodes)]

    # -- its life

    def up(self) -> None:
        """Start what does not run; about four seconds in an empty directory, two in a used one."""
        if not any(map(self.pid, self.daemons)):
            if len(self.env["MYSQL_UNIX_PORT"]) > 100 or " " in str(self.folder):
                raise ValueError(f"{self.folder}: Slurm needs a path without spaces, and a short one for its sockets")
            write(self.folder, self.options, self.user)
        for daemon in self.daemons:
            runs = self.pid(daemon)
            self.start_daemon(daemon)
            if daemon == "slurmdbd" and not runs:
                self._register()

    def down(self) -> None:
        """End every process of this cluster, its jobs first; what is already gone is no error."""
        if not Path(self.env["SLURM_CONF"]).exists():
            return
        if self.pid("slurmctld"):
            with suppress(subprocess.SubprocessError, TimeoutError):  # jobs that stay are killed below
                self.cancel_all()
                self._until("the jobs", lambda: not self.run("squeue", "-h").stdout, seconds=10)
        self._end(["slurmctld", *(file.stem for file in (self.folder / "pid").glob("slurmd.*.pid"))])
        self._kill_jobs()
        self._remove_cgroups()
        self._end(["slurmdbd"])
        self._end(["mariadbd", "munged"])

    def start_daemon(self, daemon: str) -> None:
        """Start one of them, if it does not run; returns when it answers."""
        self._launch(daemon)
        if daemon == "slurmdbd":
            self._until(daemon, lambda: self.run("sacctmgr", "-n", "show", "cluster", check=False).returncode == 0)
        elif daemon == "slurmctld":
            self._until(daemon, lambda: "UP" in self.run("scontrol", "ping", check=False).stdout)
        elif daemon.startswith("slurmd."):
            self._until(daemon, lambda: not self.node_state(daemon.removeprefix("slurmd.")).endswith("*"))

    def stop_daemon(self, daemon: str) -> None:
        """End one of them as its administrator would; jobs of a slurmd run on."""
        self._end([daemon])

    def kill_daemon(self, daemon: str) -> None:
        """Kill one of them; jobs of a slurmd run on, slurmctld forgets what happened in the last five seconds."""
        self._end([daemon], signal.SIGKILL)

    def kill_node(self, node: str) -> None:
        """What a power cut does: no process of the node is left, and none had a chance to tell of its end."""
        self.kill_daemon(f"slurmd.{node}")
        self._kill_jobs(node)

    def processes(self) -> list[int]:
        """Every process that belongs to this cluster or talks to it."""
        return processes.having(self._mark)

    # -- for tests

    def run(self, *command: str, check: bool = True, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command, such as `squeue`, on the cluster's login node."""
        done = subprocess.run(
            command, env=self._environment(), cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        if check and done.returncode:
            error = subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
            error.add_note(done.stderr)
            raise error
        return done

    def node_state(self, node: str) -> str:
        """`idle`, `mixed`, `allocated`, `drained`, `down`...; with a `*` when it does not answer."""
        return self.run("sinfo", "-h", "-p", "gpu", "-n", node, "-o", "%T", check=False).stdout.strip()

    def drain(self, node: str) -> None:
        """Let no further job start there."""
        self.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")

    def resume(self, node: str) -> None:
        """Take a node back that was drained or down."""
        self.run("scontrol", "update", f"NodeName={node}", "State=RESUME")

    def grace(self, seconds: int) -> None:
        """Set the seconds that a preempted job of partition spot gets."""
        self.run("scontrol", "update", "PartitionName=spot", f"GraceTime={seconds}")

    def limit_submit(self, jobs: int | None) -> None:
        """Let the user have at most so many jobs in the queue; None: any number."""
        limit = -1 if jobs is None else jobs
        self.run("sacctmgr", "-i", "modify", "user", "where", f"name={self.user}", "set", f"MaxSubmitJobs={limit}")

    def cancel_all(self) -> None:
        """Cancel every job, without waiting for its end."""
        self.run("scancel", "-u", self.user)

    def wait_idle(self, seconds: float = 60) -> None:
        """Return when the queue is empty and every node can take jobs."""

        def idle() -> bool:
            # A node may go on being called mixed after its last job, until the next event: Slurm's clock has seconds.
            free = all(self.node_state(node) in ("idle", "mixed", "allocated") for node in self.nodes)
            return free and not self.run("squeue", "-h", check=False).stdout

        self._until("an idle cluster", idle, seconds)

    def clean(self) -> None:
        """Undo what a test may have left: daemons down, jobs, nodes drained, limits."""
        for daemon in self.daemons:
            if self.pid(daemon) is None:
                self.start_daemon(daemon)
        self.cancel_all()
        if re.search(r"MaxSubmitJobs=\d", self.run("scontrol", "show", "assoc_mgr", "flags=assoc").stdout):
            self.limit_submit(None)
        self.grace(self.options.grace)
        for node in self.nodes:
            self._until(node, partial(self._taken_back, node))
        self.wait_idle()

    def _taken_back(self, node: str) -> bool:
        if not self.node_state(node).startswith(("drain", "down")):
            return True
        # Refused while slurmctld is new and has not heard of the node.
        self.run("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)
        return False

    # -- its daemons

    def pid(self, daemon: str) -> int | None:
        """Of a daemon, while it runs; its pid file may be stale and name a stranger."""
        try:
            pid = int((self.folder / "pid" / f"{daemon}.pid").read_text())
        except (FileNotFoundError, ValueError):
            return None
        ours = processes.name(pid) == daemon.partition(".")[0] and self._mark.encode() in processes.environment(pid)
        return pid if ours else None

    def _launch(self, daemon: str) -> None:
        if self.pid(daemon):
            return
        at = self.folder
        (at / "pid" / f"{daemon}.pid").unlink(missing_ok=True)
        if daemon == "munged":
            (at / "munge/socket").unlink(missing_ok=True)
            # --force: the directories above may be anyone's, such as those of pytest's temporary files.
            self._command(
                daemon, "munged", "--force", f"--key-file={at}/munge/key", f"--socket={at}/munge/socket",
                f"--pid-file={at}/pid/munged.pid", f"--log-file={at}/log/munged.log", f"--seed-file={at}/munge/seed",
                "--num-threads=2",
            )  # fmt: skip
        elif daemon == "mariadbd":
            user = ["--user=root"] if os.getuid() == 0 else []
            if not (at / "mysql/data/mysql").exists():
                self._command(
                    daemon, "mariadb-install-db", "--no-defaults", *user, f"--datadir={at}/mysql/data",
                    "--skip-test-db", "--auth-root-authentication-method=normal",
                )  # fmt: skip
            self._command(
                daemon, "setsid", "--fork", "mariadbd", "--no-defaults", *user, f"--datadir={at}/mysql/data",
                f"--socket={at}/mysql/socket", f"--pid-file={at}/pid/mariadbd.pid", "--skip-networking",
                f"--init-file={at}/etc/database.sql", "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=48M",
                "--innodb-flush-log-at-trx-commit=0", "--innodb-lock-wait-timeout=900", "--performance-schema=OFF",
            )  # fmt: skip
            self._until(daemon, lambda: _listens(at / "mysql/socket"))
        elif daemon.startswith("slurmd."):
            node = daemon.removeprefix("slurmd.")
            (at / "spool" / node).mkdir(exist_ok=True)
            self._command(daemon, "slurmd", "-N", node, SLURMD_NODENAME=node)
        else:
            self._command(daemon, daemon)
        self._until(daemon, lambda: self.pid(daemon) is not None)

    def _command(self, daemon: str, *command: str, **variables: str) -> None:
        with (self.folder / f"log/{daemon}.out").open("ab") as log:
            done = subprocess.run(
                command, env=self._environment() | variables, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, umask=0o022, timeout=60, check=False,
            )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{shlex.join(command)} failed; see {self.folder}/log/{daemon}.out")

    def _register(self) -> None:
        """Make the account and the user known; fails without harm the second time."""
        for words in (
            ("add", "cluster", "joytest"),
            ("add", "account", "joy", "Description=joy", "Organization=joy"),
            ("add", "user", self.user, "Account=joy", "AdminLevel=Admin"),
            ("modify", "user", "where", f"name={self.user}", "set", "DefaultAccount=joy"),
        ):
            self.run("sacctmgr", "-i", *words, check=False)

    def _end(self, daemons: Iterable[str], sign: signal.Signals = signal.SIGTERM) -> None:
        """Signal them all, wait for them all; what is left after 15 seconds is killed."""
        found = []
        for daemon in daemons:
            with suppress(ProcessLookupError):
                if pid := self.pid(daemon):
                    handle = processes.Handle(pid)
                    if self.pid(daemon) == pid:  # still: from here on the handle is this daemon
                        found.append(handle)
        processes.end(found, sign, seconds=15)
        for daemon in daemons:
            (self.folder / "pid" / f"{daemon}.pid").unlink(missing_ok=True)

    def _kill_jobs(self, node: str = "") -> None:
        """Kill what slurmd started, on one node or on all; again and again, as it may just be starting more."""

        def gone() -> bool:
            found = processes.having(self._mark, f"SLURMD_NODENAME={node}")
            found.sort(key=lambda pid: processes.name(pid) != "slurmstepd")  # before their tasks, or they report them
            processes.kill(processes.with_children(found))
            return not found

        self._until("the end of the jobs", gone, seconds=10)

    def _remove_cgroups(self) -> None:
        """Those of this cluster's jobs: a slurmstepd that was killed leaves them. One in use cannot be removed."""
        found = re.search(r"^FirstJobId=(\d+)", (self.folder / "etc/slurm.conf").read_text(), re.MULTILINE)
        first = int(found[1]) if found else 0
        for job in Path("/sys/fs/cgroup").glob("*/slurm_*/uid_*/job_*"):
            if first <= int(job.name.removeprefix("job_")) < first + 16_000:
                for folder, _, _ in os.walk(job, topdown=False):
                    with suppress(OSError):
                        Path(folder).rmdir()

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH", "SRUN"))}
        return {**kept, "PATH": PATH, **self.env}

    def _until(self, what: str, ready: Callable[[], bool], seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > until:
                raise TimeoutError(f"{what}: not ready after {seconds:.0f} s; see {self.folder}/log")
            time.sleep(0.05)


@contextmanager
def running(folder: Path, options: Options | None = None) -> Iterator[Cluster]:
    """A cluster that ends with the block, and with this process even if that is killed."""
    cluster = Cluster(folder, options)
    watcher = subprocess.Popen(
        [sys.executable, __file__, "watch", str(cluster.folder), str(os.getpid())], stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()
        watcher.kill()
        watcher.wait()


def _watch(cluster: Cluster, parent: int) -> None:
    with suppress(ProcessLookupError):
        handle = processes.Handle(parent)
        if os.getppid() == parent:  # else it is gone already, and the handle somebody else
            handle.wait()
    cluster.down()
    time.sleep(5)  # what was just being started has written its pid file by now
    cluster.down()


def _listens(at: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(at)) == 0


def main(argv: list[str]) -> int:
    """`up`, `down` and `env`, by hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="{up,down,env}")
    words = {"up": "start it", "down": "end it", "env": "print what a shell needs to use it", "watch": None}
    for verb, text in words.items():
        sub = verbs.add_parser(verb, description=text, help=text) if text else verbs.add_parser(verb)
        sub.add_argument("folder", nargs="?", type=Path, default=BY_HAND, help="where it lives; default: build/slurm")
        if verb == "up":
            sub.add_argument("--port", type=int, help="the first of six; default: any that are free")
        if verb == "watch":
            sub.add_argument("parent", type=int)
    given = parser.parse_args(argv)
    if given.verb == "up" and (reason := missing()) is not None:
        print(reason, file=sys.stderr)
        return 1
    cluster = Cluster(given.folder, Options(port=given.port) if given.verb == "up" else None)
    if given.verb == "up":
        cluster.up()
        print(cluster.run("sinfo").stdout)
    elif given.verb == "down":
        cluster.down()
    elif given.verb == "env":
        print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in cluster.env.items()))
    else:
        _watch(cluster, given.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
