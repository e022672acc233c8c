"""Names the system calls that a confined program may make, with their numbers; seccomp refuses all others.

They compute, allocate, sleep, and use files, which Landlock restricts. None makes a process or a thread, starts a
program, reaches a network, signals, or changes owners, modes or limits.
"""

_OF_BOTH = """
read 0 63, write 1 64, close 3 57, lseek 8 62, pread64 17 67, pwrite64 18 68, readv 19 65, writev 20 66
mmap 9 222, mprotect 10 226, munmap 11 215, brk 12 214, mremap 25 216, madvise 28 233
openat 257 56, fstat 5 80, newfstatat 262 79, statx 332 291, readlinkat 267 78, faccessat 269 48, faccessat2 439 439
getdents64 217 61, getcwd 79 17, chdir 80 49, mkdirat 258 34, unlinkat 263 35, renameat 264 38, renameat2 316 276
ftruncate 77 46, fsync 74 82, fdatasync 75 83, dup 32 23, dup3 292 24, fcntl 72 25
rt_sigaction 13 134, rt_sigprocmask 14 135, rt_sigreturn 15 139, sigaltstack 131 132, restart_syscall 219 128
getitimer 36 102, setitimer 38 103, nanosleep 35 101, clock_nanosleep 230 115, ppoll 271 73, pselect6 270 72
clock_gettime 228 113, clock_getres 229 114, gettimeofday 96 169, times 100 153, getrusage 98 165
futex 202 98, sched_yield 24 124, sched_getaffinity 204 123, uname 63 160, sysinfo 99 179, getrandom 318 278
getpid 39 172, gettid 186 178, getppid 110 173, getuid 102 174, geteuid 107 175, getgid 104 176, getegid 108 177
exit 60 93, exit_group 231 94
"""
"""Each with its number on x86-64 and on aarch64."""

_OF_X86 = """
open 2, stat 4, lstat 6, poll 7, access 21, select 23, dup2 33, alarm 37, rename 82, mkdir 83, rmdir 84, unlink 87
readlink 89, time 201
"""
"""Older forms of these, which aarch64 never had."""


def _table(text: str) -> list[list[str]]:
    return [entry.split() for entry in text.strip().replace("\n", ",").split(",")]


ALLOWED: dict[str, dict[str, int]] = {
    "x86_64": {name: int(number) for name, number, *_ in (*_table(_OF_BOTH), *_table(_OF_X86))},
    "aarch64": {name: int(number) for name, _, number in _table(_OF_BOTH)},
}
"""The numbers by name, by machine."""
