"""Holds hostile programs; each ends normally if it gets what it wants, which none may."""

import sys
from typing import NamedTuple

CALL = """
import ctypes, os
library = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    if getattr(library, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)
"""
FORGE = """
import builtins, functools, select, sys
def forge(*_):
    for _ in iter(functools.partial(select.select, [], [], []), None):
        pass
frame = sys._getframe(1)
frame.f_globals.update(dict.fromkeys(("_tell", "_refuse", "_run", "_ends"), forge))
frame.f_locals.update({"leave": forge, "show": forge})
sys.excepthook = sys.__excepthook__ = forge
"""
DENIED = "PermissionError"


class Hostile(NamedTuple):
    """Holds a program and what must become of it."""

    code: str
    shown: str = DENIED
    """A part of what it writes."""
    ending: str = "failed"


PROGRAMS = {
    "fork bomb": Hostile("import os\nwhile True: os.fork()"),
    "fork by system call": Hostile(f"{CALL}call('syscall', 57 if os.uname().machine == 'x86_64' else 220)"),
    "shell": Hostile("import subprocess; subprocess.run(['/bin/sh', '-c', 'id'])"),
    "exec": Hostile("import os; os.execv('/bin/sh', ['sh', '-c', 'id'])"),
    "interpreter": Hostile("import os, sys; os.execv(sys.executable, ['python'])"),
    "threads": Hostile("import threading; threading.Thread(target=print).start()", "can't start new thread"),
    "socket": Hostile("import socket; socket.socket()"),
    "pair of sockets": Hostile("import socket; socket.socketpair()"),
    "local socket": Hostile("import socket; socket.socket(socket.AF_UNIX).connect('/run/docker.sock')"),
    "kill its parent": Hostile("import os; os.kill(os.getppid(), 9)"),
    "kill all": Hostile("import os; os.kill(-1, 9)"),
    "stop itself": Hostile("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)"),
    "trace": Hostile(f"{CALL}call('ptrace', 16, 1, 0, 0)"),
    "memory of others": Hostile(f"{CALL}call('process_vm_readv', 1, None, 0, None, 0, 0)"),
    "symbolic link": Hostile("import os; os.symlink('/etc/passwd', 'x'); open('x').read()"),
    "hard link": Hostile("import os; os.link('/etc/passwd', 'x'); open('x').read()"),
    "password file": Hostile("open('/etc/passwd').read()"),
    "way up": Hostile("open('../../../../../../etc/passwd').read()"),
    "home": Hostile("import os; os.listdir('/root')"),
    "root folder": Hostile("import os; os.listdir('/')"),
    "processes": Hostile("open('/proc/1/environ').read()"),
    "itself": Hostile("open('/proc/self/mem', 'rb').read(1)"),
    "device": Hostile("open('/dev/kmsg', 'w').write('x')"),
    "write outside": Hostile("open('/tmp/palmetto-was-here', 'w')", "Error"),
    "write a module": Hostile("import json; open(json.__file__, 'a')", "Error"),
    "cut a module": Hostile("import json, os; os.truncate(json.__file__, 0)"),
    "cut while opening": Hostile("import json, os; os.open(json.__file__, os.O_RDONLY | os.O_TRUNC)", "Error"),
    "modes": Hostile("import json, os; os.chmod(json.__file__, 0o777)"),
    "owners": Hostile("import json, os; os.chown(json.__file__, 0, 0)"),
    "times": Hostile("import json, os; os.utime(json.__file__)"),
    "memory": Hostile("x = bytearray(2**30)", "MemoryError"),
    "memory by pieces": Hostile("x = []\nwhile True: x.append(bytearray(2**24))", "MemoryError"),
    "mapping": Hostile("import mmap; mmap.mmap(-1, 2**34)", "Cannot allocate memory"),
    "large file": Hostile("open('x', 'wb').write(bytes(2**25))", "OSError"),
    "many files": Hostile(
        "for i in range(64): open(str(i), 'wb', buffering=0).write(bytes(2**20))\n"
        "import os; assert sum(os.path.getsize(str(i)) for i in range(64)) == 2**26",
        "Error",
    ),
    "many empty files": Hostile("for i in range(5000): open(str(i), 'w').close()", "No space left"),
    "flood": Hostile("while True: print('x' * 1000)", "xxx", "output"),
    "loop": Hostile("while True: pass", "", "time"),
    "sleep": Hostile("import time; time.sleep(1e6)", "", "time"),
    "ignored signals": Hostile(
        "import signal\nfor n in set(signal.Signals) - {9, 19}: signal.signal(n, signal.SIG_IGN)\nwhile True: pass",
        "",
        "time",
    ),
    "crash": Hostile("import ctypes; ctypes.string_at(0)", "", "killed"),
    "recursion": Hostile("def f(): f()\nf()", "RecursionError"),
    "leave early": Hostile("import os; os._exit(0)", ""),
    "exit": Hostile("raise SystemExit(0)", ""),
    "look for a nonce": Hostile(
        "import os, sys; os.write(1, sys._getframe(1).f_locals['nonce']); os._exit(0)", "KeyError: 'nonce'"
    ),
    "wait as at the end": Hostile("import select; select.select([], [], [])", "", "time"),
    "wait in a loop": Hostile(
        "import functools, select\nfor _ in iter(functools.partial(select.select, [], [], []), None): pass", "", "time"
    ),
    "wait when it has failed": Hostile(f"{FORGE}1 / 0", "", "failed" if sys.version_info < (3, 13) else "time"),
    "wait where errors are handled": Hostile(f"{FORGE}builtins.BaseException = KeyError\n1 / 0", "", "time"),
    "wait where the jail handles errors": Hostile(
        f"{FORGE}builtins.BaseException = KeyError\nraise OSError", "", "time"
    ),
    "limits": Hostile("import resource; resource.setrlimit(resource.RLIMIT_CPU, (99, 99))", "Error"),
    "priority": Hostile("import os; os.nice(-5)"),
    "ring": Hostile(f"{CALL}call('syscall', 425, 8, ctypes.create_string_buffer(120))"),
    "kernel program": Hostile(f"{CALL}call('syscall', 321 if os.uname().machine == 'x86_64' else 280, 0, 0, 0)"),
    "other numbers": Hostile(f"{CALL}call('syscall', 0x40000000 + 57)"),
    "user namespace": Hostile(f"{CALL}call('unshare', 0x10000000)"),
    "mount": Hostile(f"{CALL}call('mount', b'tmpfs', b'.', b'tmpfs', 0, None)"),
    "unmount": Hostile(f"{CALL}call('umount2', b'.', 2)"),
    "chroot": Hostile("import os; os.chroot('.')"),
    "user": Hostile("import os; os.setuid(0)"),
    "host name": Hostile("import socket; socket.sethostname('x')"),
    "parent's death": Hostile(f"{CALL}call('prctl', 1, 0, 0, 0, 0)"),
    "memory to run": Hostile(f"{CALL}call('memfd_create', b'x', 0)"),
}
