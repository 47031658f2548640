"""The chart and the kustomize folders, and the rendered containers for real: probes, pushes, pulls, reloads, signals.

usage: run.py POUNCE MOTO_SERVER     as root; the Makefile installs what it needs
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

import rendering
import running


def main(program, moto):
    if "POUNCE_IS_ON_A_NODE" not in os.environ:
        # Network and mounts of its own: nothing that listens here can be reached from elsewhere.
        command = ["unshare", "--net", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        return subprocess.run(command, env=os.environ | {"POUNCE_IS_ON_A_NODE": "1"}, check=False).returncode
    failed = []
    folder = pathlib.Path(tempfile.mkdtemp(prefix="kubernetes."))
    try:
        for check in rendering.CHECKS:
            step(check.__name__, check, failed)
        with running.Node(pathlib.Path(program).resolve(), moto, folder) as node:
            for check in running.CHECKS:
                step(check.__name__, lambda check=check: check(node), failed)
        if failed:
            for log in sorted(folder.glob("pod*/log")):
                print(f"--- {log.parent.name}", *log.read_text(errors="replace").splitlines()[-30:], sep="\n")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    total = len(rendering.CHECKS) + len(running.CHECKS)
    print(f"kubernetes: {total - len(failed)} passed, {len(failed)} failed", *failed)
    return 1 if failed else 0


def step(name, check, failed):
    began = time.monotonic()
    try:
        check()
        result = "ok"
    except Exception:
        traceback.print_exc()
        failed.append(name)
        result = "FAILED"
    print(f"{name:<60} {result} {(time.monotonic() - began) * 1000:6.0f} ms", flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
