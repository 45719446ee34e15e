"""Hostile tries on limelight's command line and library, judged by what README and docs promise.

Whatever it is given (damaged photos, odd names, full disks, malicious weights, networks that exit),
limelight is to do what can be done, to say the rest in a sentence, and to keep its exit codes:

* 0 all done, 1 data at fault, 2 the request has to change, 130 interrupted; nothing hangs;
* one bad photo never ends a batch: the others are done, the bad one is told with its reason;
* an error starts with "Error:" and is limelight's own; no traceback, no foreign exception, no lines
  of Pillow, libtiff or the hub;
* with --json stdout is exactly one strict JSON document, whatever happens;
* no ESC byte of a name, a class or a key reaches the terminal; no report is lost to an encoding;
* nothing outside runs: no code from weights, no Ghostscript;
* no process takes more than 2 GB, nor 1.5 GB more than one small photo does.

`tries.py` says what a try is, `running.py` forks one process for each from one that has loaded
torch, `contract.py` holds what is true of every try; the other modules are the groups. All is made
in a temporary folder. It needs Linux: memory is read from /proc. What cannot be tried here, as
it needs root or a mount, is counted as skipped, with the reason.
"""
