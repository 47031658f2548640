"""Has a program write a small bucket, uploads under way included, and keeps it as text: bucket.json, and registry.yml.

upgrade_fixture.py PROGRAM FOLDER REGISTRY_YML    (upgrade.sh --fixture)
"""

import base64
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from registry_client import begin, patch, pull_image, push_image, send

SECRET = "the secret of the fixture"
PART = 10 << 20  # a part of an upload, of zeros, which the file has by their number


def free_address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def start(program, folder, **more):
    address = free_address()
    settings = {
        "HTTP_ADDR": address, "HTTP_SECRET": SECRET, "AUTH_ANONYMOUS": "pull,push,delete",
        "STORAGE_FILESYSTEM_ROOTDIRECTORY": str(folder), **more,
    }  # fmt: skip
    variables = os.environ | {f"REGISTRY_{name}": value for name, value in settings.items()}
    process = subprocess.Popen([program, "serve"], env=variables, stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            urllib.request.urlopen(f"http://{address}/healthz").close()
            return address, process
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"{program} does not serve")


def content(path):
    found = path.read_bytes()
    if found and not found.strip(b"\0"):
        return {"zeros": len(found)}
    try:
        return {"text": found.decode("ascii")}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(found).decode()}


def write(program, target, settings):
    with tempfile.TemporaryDirectory() as directory:
        here, above = pathlib.Path(directory, "bucket"), pathlib.Path(directory, "upstream")
        upstream, first = start(program, above)
        fetched = push_image([upstream], "library/app", "fetched", "fetched", [b"of the upstream\n"])
        debug = free_address()
        proxy = {"PROXY_REMOTEURL": f"http://{upstream}", "PROXY_HOST": "docker.io"}
        metrics = {"HTTP_DEBUG_ADDR": debug, "HTTP_DEBUG_PROMETHEUS_ENABLED": "true"}
        registry, second = start(program, here, **proxy, **metrics)
        pull_image(registry, "library/app", "fetched", fetched["digest"])
        pushed = push_image([registry], "team/app", "pushed", "pushed", [b"pushed\n"])
        push_image([registry], "team/app", "moved", "before", [b"before\n"])
        moved = push_image([registry], "team/app", "moved", "after", [b"after\n"])
        gone = push_image([registry], "team/app", "gone", "gone", [b"gone\n"])["digest"]
        send(registry, "DELETE", f"/v2/team/app/manifests/{gone}")
        signature = push_image([registry], "team/app", None, "signature", [b"signature\n"], subject=pushed)["digest"]
        chunk = b"the first bytes\n"
        uploads = {
            "begun": [begin(registry, "team/app"), 0, ""],
            "tail": [patch(registry, begin(registry, "team/app"), 0, chunk), 0, chunk.decode()],
            "part": [patch(registry, begin(registry, "team/app"), 0, bytes(PART) + chunk), PART, chunk.decode()],
        }
        time.sleep(2)  # what is done in the background
        page = urllib.request.urlopen(f"http://{debug}/metrics").read().decode().splitlines()
        names = sorted(line.split()[2] for line in page if line.startswith("# TYPE "))
        for process in (second, first):
            process.send_signal(signal.SIGTERM)
            process.wait()
        # Not the lock, and not the key pair, which belong to a process and to a machine.
        left_out = {".pounce/lock", ".pounce/credentials.json"}
        files = {str(it.relative_to(here)): it for it in sorted(here.rglob("*")) if it.is_file()}
        bucket = {
            "secret": SECRET,
            "upstream": f"http://{upstream}",
            "tags": {
                "library/app:fetched": fetched["digest"],
                "team/app:pushed": pushed["digest"],
                "team/app:moved": moved["digest"],
            },
            "metrics": names,
            "gone": gone,
            "signature": signature,
            # The location, how many zeros were sent, and what came after them.
            "uploads": uploads,
            "files": {name: content(it) for name, it in files.items() if name not in left_out},
        }
    target.mkdir(exist_ok=True)
    (target / "bucket.json").write_text(json.dumps(bucket, indent=1) + "\n")
    (target / "registry.yml").write_text(settings)


if __name__ == "__main__":
    write(sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]).read_text())
