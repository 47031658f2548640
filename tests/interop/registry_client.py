"""A client of registries, request by request: pushes whole and in chunks, and pulls that compare digests."""

import base64
import hashlib
import http.client
import json
import random
import time
import urllib.parse

BASIC = {"Authorization": "Basic " + base64.b64encode(b"admin:secret").decode()}
MANIFEST, CONFIG = (f"application/vnd.oci.image.{kind}.v1+json" for kind in ("manifest", "config"))


def noise(seed, size):
    return random.Random(seed).randbytes(size)


def digest_of(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Answer:
    def __init__(self, response, body):
        self.status, self.body, self.headers = response.status, body, response.headers

    def __getitem__(self, name):
        return self.headers.get(name)


def send(registry, method, path, body=None, headers=(), expect=(200, 201, 202, 204), login=BASIC):
    """Sends a request, and another one where a GET is redirected; the status must be an expected one."""
    url = urllib.parse.urlsplit(path)
    where = url.netloc or registry
    target = url.path + ("?" + url.query if url.query else "")
    for attempt in range(20):
        connection = http.client.HTTPConnection(where, timeout=60)
        own = {} if url.netloc and url.netloc != registry else login
        connection.request(method, target, body, {**own, **dict(headers)})
        response = connection.getresponse()
        answer = Answer(response, response.read())
        connection.close()
        if answer.status in (429, 503) and attempt < 19:  # as clients do
            time.sleep(0.5)
            continue
        break
    if answer.status == 307 and method == "GET":
        return send(registry, method, answer["Location"], None, headers, expect, login)
    if answer.status not in expect:
        raise SystemExit(f"{method} {path} at {registry}: {answer.status} {answer.body[:300]!r}")
    return answer


# --- pushes and pulls


def begin(registry, name):
    return send(registry, "POST", f"/v2/{name}/blobs/uploads/")["Location"]


def patch(registry, location, at, chunk):
    headers = {"Content-Range": f"{at}-{at + len(chunk) - 1}", "Content-Type": "application/octet-stream"}
    return send(registry, "PATCH", location, chunk, headers)["Location"]


def put(registry, location, digest, rest=b""):
    glue = "&" if "?" in location else "?"
    send(registry, "PUT", f"{location}{glue}digest={digest}", rest, {"Content-Type": "application/octet-stream"})


def push_blob(registries, name, content, chunk=None):
    """In one PUT, or in chunks, each request to the next one of the registries."""
    turns = iter(registries * (len(content) // (chunk or len(content)) + 3))
    location, at = begin(next(turns), name), 0
    while chunk and at < len(content):
        location = patch(next(turns), location, at, content[at : at + chunk])
        at += chunk
    put(next(turns), location, digest_of(content), b"" if chunk else content)


def image(name, seed, layers, subject=None):
    """Layers are of noise, by their sizes, or bytes."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "seed": f"{name} {seed}"}).encode()
    layers = [it if isinstance(it, bytes) else noise(f"{seed} {number}", it) for number, it in enumerate(layers)]
    contents = [config, *layers]
    named = [{"mediaType": CONFIG, "digest": digest_of(it), "size": len(it)} for it in contents]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": named[0], "layers": named[1:]}
    if subject:
        manifest |= {"subject": subject, "artifactType": "application/x-test"}
    return contents, json.dumps(manifest).encode()


def push_image(registries, name, tag, seed, layers=(300_000, 5_000), chunk=None, subject=None):
    contents, manifest = image(name, seed, layers, subject)
    for content in contents:
        there = send(registries[0], "HEAD", f"/v2/{name}/blobs/{digest_of(content)}", expect=(200, 307, 404))
        if there.status == 404:
            push_blob(registries, name, content, chunk)
    digest = digest_of(manifest)
    reference = tag or digest
    send(registries[-1], "PUT", f"/v2/{name}/manifests/{reference}", manifest, {"Content-Type": MANIFEST})
    return {"mediaType": MANIFEST, "digest": digest, "size": len(manifest)}


def pull_image(registry, name, reference, digest):
    manifest = send(registry, "GET", f"/v2/{name}/manifests/{reference}", headers={"Accept": MANIFEST})
    if digest_of(manifest.body) != digest or manifest["Docker-Content-Digest"] != digest:
        raise SystemExit(f"{name}:{reference} is {digest_of(manifest.body)} at {registry}, not {digest}")
    document = json.loads(manifest.body)
    for blob in [document["config"], *document["layers"]]:
        pull_blob(registry, name, blob["digest"])
    return document


def pull_blob(registry, name, digest):
    body = send(registry, "GET", f"/v2/{name}/blobs/{digest}").body
    if digest_of(body) != digest:
        raise SystemExit(f"{digest} of {name} is {digest_of(body)} at {registry}")
    return body
