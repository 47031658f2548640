"""The client of upgrade.sh: pushes, pulls and uploads that begin at one program and go on at another.

What must be there afterwards is noted in the file of `--state`, so that each step reads all that earlier ones did.

upgrade.py [--state FILE] COMMAND REGISTRY...
  upstream REGISTRY             images and large blobs, where the programs pull from
  first REGISTRY                whole and chunked pushes, moved and deleted tags, a referrer, images of upstreams
  open REGISTRY NAME            uploads that others go on with: one that was only begun, one with a part and more
  break REGISTRY NAME SEED PID  kills the process in the middle of a PATCH and of a fill
  close REGISTRY NAME           goes on with these uploads, from wherever the registry says that they are
  more REGISTRY NAME            pushes, a delete, a moved tag, a referrer, an image of the upstream
  again REGISTRY                pushes what was deleted, without the blobs that the registry has
  reads REGISTRY                all that must be there, byte for byte, and nothing that was deleted
  fill REGISTRY SEED            the large blob of an upstream
  tokens REGISTRY...            a token, and a session, of each is taken by all
  together OLD NEW              both serve: uploads change sides, tags move, a cold blob is pulled through both
"""

import concurrent.futures
import http.client
import json
import os
import pathlib
import signal
import sys
import time

from registry_client import BASIC, MANIFEST, begin, digest_of, image, noise, patch, pull_blob, pull_image, push_blob
from registry_client import push_image, put, send

LARGE = 68 << 20  # above proxy.fill.sharedsize
SLOW = "slow.example/up/large"


# --- what must be there


class Expected:
    """Tags by name, what is gone, referrers by subject, and uploads under way."""

    def __init__(self, path):
        self.path = path
        empty = {"tags": {}, "gone": [], "referrers": [], "uploads": {}}
        self.all = json.loads(path.read_text()) if path.exists() else empty

    def save(self):
        self.path.write_text(json.dumps(self.all, indent=1))

    def tag(self, name, tag, descriptor):
        self.all["tags"][f"{name}:{tag}"] = descriptor["digest"]

    def gone(self, name, reference):
        self.all["tags"].pop(f"{name}:{reference}", None)
        self.all["gone"].append([name, reference])


def reads(expected, registry, only=""):
    for image_name, digest in expected.all["tags"].items():
        if not image_name.startswith(only):
            continue
        name, tag = image_name.rsplit(":", 1)
        pull_image(registry, name, tag, digest)
        send(registry, "GET", f"/v2/{name}/manifests/{digest}", headers={"Accept": MANIFEST})
    for name, reference in expected.all["gone"]:
        send(registry, "GET", f"/v2/{name}/manifests/{reference}", expect=(404,))
    for name, subject, digest in expected.all["referrers"]:
        listed = json.loads(send(registry, "GET", f"/v2/{name}/referrers/{subject}").body)
        if digest not in [it["digest"] for it in listed["manifests"]]:
            raise SystemExit(f"{digest} is no referrer of {subject} at {registry}: {listed}")
    for name in {image_name.rsplit(":", 1)[0] for image_name in expected.all["tags"]}:
        tags = json.loads(send(registry, "GET", f"/v2/{name}/tags/list").body)["tags"]
        missing = [it for it in expected.all["tags"] if it.startswith(name + ":") and it.rsplit(":", 1)[1] not in tags]
        if missing:
            raise SystemExit(f"{missing} are not in the list of {name} at {registry}: {tags}")
    print(f"{len(expected.all['tags'])} tags, {len(expected.all['gone'])} gone, as they must be")


def upstream(_, registry):
    for seed in ("first", "second", "third", "fourth", "fifth"):
        push_image([registry], "up/app", seed, seed)
    for seed in ("old", "new", "both"):
        push_image([registry], "up/large", seed, f"large {seed}", [LARGE])


def first(expected, registry):
    for tag, chunk in (("whole", None), ("chunked", 100_000)):
        expected.tag("team/app", tag, push_image([registry], "team/app", tag, tag, chunk=chunk))
    parts = push_image([registry], "team/app", "parts", "parts", [25 << 20], chunk=4_000_000)
    expected.tag("team/app", "parts", parts)
    for seed in ("before", "after"):
        expected.tag("team/app", "moved", push_image([registry], "team/app", "moved", seed))
    gone = push_image([registry], "team/gone", "gone", "gone")["digest"]
    send(registry, "DELETE", f"/v2/team/gone/manifests/{gone}")
    for reference in ("gone", gone):
        expected.gone("team/gone", reference)
    subject = push_image([registry], "team/app", "subject", "subject")
    expected.tag("team/app", "subject", subject)
    signature = push_image([registry], "team/app", None, "signature", [100], subject=subject)["digest"]
    expected.all["referrers"].append(["team/app", subject["digest"], signature])
    pull_new(expected, registry, "first")


def pull_new(expected, registry, tag):
    """An image that only the upstream has; it is in the bucket when its blobs were pulled, or soon after."""
    digest = send(registry, "GET", f"/v2/up/app/manifests/{tag}", headers={"Accept": MANIFEST})["Docker-Content-Digest"]
    pull_image(registry, "up/app", tag, digest)
    expected.tag("up/app", tag, {"digest": digest})


def more(expected, registry, name):
    for tag, chunk in (("whole", None), ("chunked", 100_000)):
        tag = f"{name}-{tag}"
        expected.tag("team/app", tag, push_image([registry], "team/app", tag, tag, chunk=chunk))
    expected.tag("team/app", "moved", push_image([registry], "team/app", "moved", f"{name} moved"))
    gone = push_image([registry], "team/gone", name, f"{name} gone")["digest"]
    send(registry, "DELETE", f"/v2/team/gone/manifests/{gone}")
    expected.gone("team/gone", name)
    expected.gone("team/gone", gone)
    subject = expected.all["tags"]["team/app:subject"]
    size = len(image("team/app", "subject", (300_000, 5_000))[1])
    descriptor = {"mediaType": MANIFEST, "digest": subject, "size": size}
    signature = push_image([registry], "team/app", None, f"{name} signature", [100], subject=descriptor)["digest"]
    expected.all["referrers"].append(["team/app", subject, signature])
    pull_new(expected, registry, {"new": "second", "old": "third"}[name])


def again(expected, registry):
    """The layers of the deleted image are there, so only its manifest and its configuration are pushed."""
    contents, manifest = image("team/gone", "gone", (300_000, 5_000))
    for content in contents:
        there = send(registry, "HEAD", f"/v2/team/gone/blobs/{digest_of(content)}", expect=(200, 307, 404))
        print(digest_of(content)[:15], "is there" if there.status != 404 else "is pushed again")
        if there.status == 404:
            push_blob([registry], "team/gone", content)
    send(registry, "PUT", "/v2/team/gone/manifests/gone", manifest, {"Content-Type": MANIFEST})
    expected.all["gone"] = [it for it in expected.all["gone"] if it[1] not in ("gone", digest_of(manifest))]
    expected.tag("team/gone", "gone", {"digest": digest_of(manifest)})


# --- uploads under way


def upload_content(name):
    return noise(f"upload {name}", 24_000_000)


def open_uploads(expected, registry, name):
    content = upload_content(name)
    begun = begin(registry, "team/uploads")
    location = patch(registry, begin(registry, "team/uploads"), 0, content[:12_000_000])
    expected.all["uploads"][name] = {"begun": begun, "parts": location}


def break_off(expected, registry, name, seed, pid):
    """The process ends while it reads a chunk and copies a blob, and was heard of neither."""
    content = upload_content(f"{name} broken")
    location = patch(registry, begin(registry, "team/uploads"), 0, content[:6_000_000])
    expected.all["uploads"][f"{name} broken"] = {"parts": location}
    connection = http.client.HTTPConnection(registry, timeout=60)
    connection.putrequest("PATCH", location)
    for header, value in {**BASIC, "Content-Range": f"6000000-{len(content) - 1}"}.items():
        connection.putheader(header, value)
    connection.putheader("Content-Length", str(len(content) - 6_000_000))
    connection.endheaders(content[6_000_000:18_000_000])
    blob = digest_of(noise(f"large {seed} 0", LARGE))
    cold = http.client.HTTPConnection(registry, timeout=60)
    pull_manifest(registry, seed)
    cold.request("GET", f"/v2/{SLOW}/blobs/{blob}", headers=BASIC)
    here = len(cold.getresponse().read(40 << 20))  # some chunks of 16 MiB
    os.kill(int(pid), signal.SIGKILL)
    print(f"killed after {here} of {LARGE} bytes")


def pull_manifest(registry, seed):
    return send(registry, "GET", f"/v2/{SLOW}/manifests/{seed}", headers={"Accept": MANIFEST})


def close_uploads(expected, registry, name):
    for key in (name, f"{name} broken"):
        content = upload_content(key)
        for kind, location in expected.all["uploads"].pop(key, {}).items():
            state = send(registry, "GET", location)
            at = int(state["Range"].split("-")[1]) + 1 if state["Range"] not in (None, "0-0") else 0
            print(f"{key}, {kind}: goes on at {at}")
            if kind == "parts" and at < 6_000_000:
                raise SystemExit(f"the bytes that were acknowledged are not there: {state['Range']}")
            part = content if kind == "parts" else noise(f"{key} begun", 1_000_000)
            location = state["Location"]
            while len(part) - at > 5_000_000:
                location = patch(registry, location, at, part[at : at + 5_000_000])
                at += 5_000_000
            put(registry, location, digest_of(part), part[at:])
            tag = f"{key} {kind}".replace(" ", "-")
            expected.tag("team/uploads", tag, push_image([registry], "team/uploads", tag, tag, [part]))


def fill(expected, registry, seed):
    manifest = pull_manifest(registry, seed)
    pull_image(registry, SLOW, seed, manifest["Docker-Content-Digest"])
    expected.tag(SLOW, seed, {"digest": manifest["Docker-Content-Digest"]})


# --- signatures


def tokens(_, *registries):
    for registry in registries:
        answer = send(registry, "GET", "/v2/token?service=x&scope=repository:team/app:pull,push")
        bearer = {"Authorization": "Bearer " + json.loads(answer.body)["token"]}
        for other in registries:
            push_blob_with(other, bearer)
    login = b"user=admin&password=secret&next=/"
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
    for registry in registries:
        # The previous program has no page: it does not know the path.
        answer = send(registry, "POST", "/-/login", login, headers, expect=(303, 404), login={})
        for other in registries if answer.status == 303 else ():
            cookie = {"Cookie": answer["Set-Cookie"].split(";")[0], "Accept": "text/html"}
            body = send(other, "GET", "/", headers=cookie, expect=(200,), login={}).body
            print(f"a session of {registry} at {other}:", "admin" if b"admin" in body else "no page")


def push_blob_with(registry, bearer):
    send(registry, "POST", "/v2/team/app/blobs/uploads/", expect=(202,), login=bearer)


# --- both at once


def together(expected, old, new):
    for turn in range(3):
        sides = [old, new] if turn % 2 else [new, old]
        tag = f"both-{turn}"
        expected.tag("team/both", tag, push_image(sides, "team/both", tag, tag, [12_000_000, 5_000], chunk=4_000_000))
        expected.tag("team/both", "moved", push_image(sides, "team/both", "moved", f"{tag} moved", [1_000]))
        gone = push_image(sides, "team/both", "gone", f"{tag} gone", [1_000])["digest"]
        send(sides[0], "DELETE", f"/v2/team/both/manifests/{gone}")
        expected.gone("team/both", gone)
    # What was deleted at one is answered from the other's memory for ten minutes, as between any two replicas.
    expected.all["gone"] = [it for it in expected.all["gone"] if it[0] != "team/both"]
    blob = digest_of(content := noise("large both 0", LARGE))
    for side in (old, new):
        pull_manifest(side, "both")

    def whole(side):
        pull_blob(side, SLOW, blob)

    def part(side, at):
        headers = {"Range": f"bytes={at}-{at + 999_999}"}
        got = send(side, "GET", f"/v2/{SLOW}/blobs/{blob}", headers=headers, expect=(206,)).body
        if got != content[at : at + 1_000_000]:
            raise SystemExit(f"wrong bytes at {at} from {side}")

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        calls = [pool.submit(whole, side) for side in (old, new, old, new)]
        calls += [pool.submit(part, side, at) for side in (old, new) for at in range(0, LARGE - 1_000_000, LARGE // 4)]
        for call in calls:
            call.result()
    fill(expected, new, "both")
    time.sleep(1.1)  # proxy.tagttl of upgrade.sh
    for side in (old, new):
        reads(expected, side, "team/both:")


COMMANDS = {
    "upstream": upstream, "first": first, "open": open_uploads, "break": break_off, "close": close_uploads,
    "more": more, "again": again, "reads": reads, "fill": fill, "tokens": tokens, "together": together,
}  # fmt: skip

if __name__ == "__main__":
    arguments = sys.argv[1:]
    state = pathlib.Path("state.json")
    if arguments[:1] == ["--state"]:
        state, arguments = pathlib.Path(arguments[1]), arguments[2:]
    known = Expected(state)
    COMMANDS[arguments[0]](known, *arguments[1:])
    known.save()
