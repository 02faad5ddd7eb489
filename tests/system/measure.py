"""Runs a program and prints its peak memory in KiB as the last line of standard error. Standard library only.

In a process of its own, because a child's peak begins with the memory of the process that it was forked from.
"""

import os
import resource
import sys

pid = os.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
_, status = os.waitpid(pid, 0)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)
