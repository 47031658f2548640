"""What pods talk to: an S3, an upstream, and clients."""

import base64
import hashlib
import http.client
import http.server
import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

OCI = "application/vnd.oci.image"


def bucket(moto, folder, name):
    """An S3 with a bucket, on every address of the node: its process and port."""
    port = 9000
    process = subprocess.Popen(
        [moto, "-H", "::", "-p", str(port)], stdout=open(folder / "moto.log", "w"), stderr=subprocess.STDOUT
    )
    until(lambda: request("GET", f"http://127.0.0.1:{port}/moto-api/")[0] == 200)
    assert request("PUT", f"http://127.0.0.1:{port}/{name}")[0] == 200
    return process, port


def until(condition, seconds=20):
    """Waits until something holds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it never held")


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def request(method, url, body=None, headers=(), user=None, follow=True, timeout=20):
    """Status, headers and body; status 0 if there is no answer."""
    ask = urllib.request.Request(url, method=method, data=body, headers=dict(headers))
    if user:
        ask.add_header("Authorization", "Basic " + base64.b64encode(user.encode()).decode())
    opener = urllib.request.build_opener(*([] if follow else [NoRedirect]))
    try:
        with opener.open(ask, timeout=timeout) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()
    except (OSError, http.client.HTTPException) as error:
        return 0, {}, str(error).encode()


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def manifest(config, layers):
    parts = [{"mediaType": f"{OCI}.layer.v1.tar+gzip", "digest": digest(it), "size": len(it)} for it in layers]
    config = {"mediaType": f"{OCI}.config.v1+json", "digest": digest(config), "size": len(config)}
    value = {"schemaVersion": 2, "mediaType": f"{OCI}.manifest.v1+json", "config": config, "layers": parts}
    return json.dumps(value).encode()


def push(url, name, tag, config, layers, user):
    """Pushes an image, each blob with a POST and a PUT: the status of the last request."""
    for blob in [config, *layers]:
        _, headers, _ = request("POST", f"{url}/v2/{name}/blobs/uploads/", b"", user=user)
        location = headers["Location"]
        location = location if "://" in location else url + location
        octets = {"Content-Type": "application/octet-stream"}
        status, _, answer = request("PUT", f"{location}&digest={digest(blob)}", blob, octets, user)
        assert status == 201, (status, answer)
    content = {"Content-Type": f"{OCI}.manifest.v1+json"}
    return request("PUT", f"{url}/v2/{name}/manifests/{tag}", manifest(config, layers), content, user)[0]


class Server(http.server.ThreadingHTTPServer):
    """On every address, of IPv4 too."""

    address_family, daemon_threads = socket.AF_INET6, True

    def handle_error(self, *_):
        """A client that left is none."""


class Upstream:
    """A registry of one image, library/app:1, whose slow blob stops in the middle until `release`."""

    def __init__(self, port=9001):
        self.layer, self.slow, self.config = b"a layer" * 20_000, b"slow" * 100_000, b"{}"
        self.manifest, self.released, self.requests = manifest(self.config, [self.layer]), threading.Event(), []
        self.blobs = {digest(it): it for it in [self.layer, self.slow, self.config]}
        upstream = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                upstream.requests.append(self.path)
                last = self.path.split("?")[0].split("/")[-1]
                kind, body = "application/octet-stream", upstream.blobs.get(last)
                if self.path.startswith("/v2/library/app/manifests/"):
                    kind, body = f"{OCI}.manifest.v1+json", upstream.manifest
                elif self.path == "/v2/":
                    kind, body = "application/json", b"{}"
                self.send_response(200 if body is not None else 404)
                body = body if body is not None else b'{"errors":[{"code":"NAME_UNKNOWN"}]}'
                self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                if kind.endswith("json") and len(body) > 10:
                    self.send_header("Docker-Content-Digest", digest(body))
                self.end_headers()
                if self.command == "HEAD":
                    return
                if body is upstream.slow:
                    self.wfile.write(body[: len(body) // 2])
                    self.wfile.flush()
                    upstream.released.wait(60)
                    body = body[len(body) // 2 :]
                self.wfile.write(body)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        self.server = Server(("::", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.port = port

    def release(self):
        self.released.set()
