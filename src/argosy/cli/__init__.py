"""The command line: one file per command group. stdout is data, stderr is for people.

Exit codes: 0 done; 1 the command failed (the mesh, an object or a file says no); 2 the command line
is wrong; 3 no such object; 4 a deadline passed; 130 interrupted. `exec` exits with its command's
code. `up --detach` exits with 1 or 4 when something is wrong with what was started, which runs on.
"""
