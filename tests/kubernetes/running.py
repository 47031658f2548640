"""The rendered containers for real, over an S3 (moto) and before an upstream."""

import json
import pathlib
import re
import subprocess
import threading
import time

import chart
import policy
import pod as pods
import rendering
import world

SECRET = {"REGISTRY_HTTP_SECRET": "s" * 64, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
ADA = "ada:password"


class Node:
    """A machine with an S3 and an upstream, which pods reach at their gateway."""

    def __init__(self, program, moto, folder):
        self.program, self.folder = program, folder
        pods.become_node()
        self.moto, self.s3_port = world.bucket(moto, folder, "images")
        self.upstream = world.Upstream()
        hashed = subprocess.run(
            [program, "htpasswd", "--stdin", "ada"], input="password\n", capture_output=True, text=True, check=True
        )
        self.users = hashed.stdout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.moto.kill()
        self.moto.wait()

    def values(self, **more):
        """The minimal values, with this node's S3 and upstream."""
        s3 = {
            "bucket": "images",
            "region": "us-east-1",
            "forcepathstyle": True,
            "regionendpoint": f"http://node:{self.s3_port}",
        }
        return {"config": {"storage": {"s3": s3}, "proxy": {"remoteurl": f"http://node:{self.upstream.port}"}}} | more

    def pod(self, values, kind="Deployment", secrets=None, hosts=(), **more):
        """Starts the pod that helm renders of values. Pods find the node, and Services, by name."""
        documents = chart.render(values)
        objects = pods.Objects(documents, {"pounce": SECRET} | (secrets or {}))
        spec = policy.pod_of(chart.find(documents, kind))
        return pods.Pod(spec, objects, self.program, self.folder, [*hosts, ("node", "gateway")], **more)

    def bucket_url(self, location):
        """A presigned URL, as a client outside of the pod reaches it."""
        return location.replace("//node:", "//127.0.0.1:", 1)


def pull(url, blob, follow=False, **more):
    return world.request("GET", f"{url}/v2/library/app/blobs/{world.digest(blob)}", follow=follow, **more)


def minimal_values_serve_pulls(node):
    """Probes without a login; a cold and a warm pull; nothing is written to disk; commands run beside the server."""
    upstream = node.upstream
    with node.pod(node.values()) as pod:
        pod.wait_until_started()
        assert pod.probe("readinessProbe") and pod.probe("livenessProbe")
        status, _, body = world.request("GET", pod.url("/v2/library/app/manifests/1"))
        assert (status, body) == (200, upstream.manifest)
        assert pull(pod.url(""), upstream.layer)[2] == upstream.layer
        world.until(lambda: pull(pod.url(""), upstream.layer)[0] == 307)
        assert world.request("POST", pod.url("/v2/a/b/blobs/uploads/"), b"")[0] in (401, 403)
        privileges = dict(line.split(":\t", 1) for line in _proc(pod, "status") if ":\t" in line)
        assert privileges["Uid"].split() == ["65532"] * 4 and privileges["NoNewPrivs"] == "1"
        assert int(privileges["CapEff"], 16) == int(privileges["CapBnd"], 16) == 0
        assert any(re.search(r" / / ro[ ,]", line) or re.search(r" / ro[ ,]", line) for line in _proc(pod, "mountinfo"))
        assert pod.written() == (set(), set())
        # These need the configuration's path and the Secret's variables.
        code, text = pod.execute("/pounce", "gc", "--dry-run")
        assert code == 0, text
        code, text = pod.execute("/pounce", "check")
        assert code in (0, 1) and not re.search("^failed", text, re.M), text
        code, text = pod.execute("/pounce", "status")
        assert code == 0 and "fills" in text, text
        code, text = pod.execute("/pounce", "warm", "library/app:1")
        assert code == 0, text
        assert world.request("GET", pod.url("/status").replace("5000", "5001"))[0] == 0
        assert pod.written()[0] == set()


def _proc(pod, file):
    return pathlib.Path(f"/proc/{pod.pid}/{file}").read_text().splitlines()


def a_pull_under_way_outlives_sigterm(node):
    """preStop: new clients are served. SIGTERM: /readyz says so, the pull under way ends whole, and so does the pod."""
    upstream = node.upstream
    with node.pod(node.values()) as pod:
        pod.wait_until_started()
        answers = []
        thread = threading.Thread(target=lambda: answers.append(pull(pod.url(""), upstream.slow, timeout=60)))
        thread.start()
        world.until(lambda: any(world.digest(upstream.slow) in path for path in upstream.requests))
        began = time.monotonic()
        pod.pre_stop()
        assert world.request("GET", pod.url("/v2/"))[0] == 200
        assert pod.probe("readinessProbe")
        pod.terminate()
        world.until(lambda: world.request("GET", pod.url("/readyz"))[0] == 503, 1)
        time.sleep(1.5)
        assert pod.ended() is None and not answers
        upstream.release()
        thread.join()
        assert answers[0][0] == 200 and answers[0][2] == upstream.slow
        grace = pod.spec["terminationGracePeriodSeconds"]
        assert pod.wait(grace - (time.monotonic() - began)) == 0


def a_pull_that_does_not_end_is_cut_off_in_time(node):
    """A client that stalls keeps the pod for drainSeconds, and kubelet kills nothing."""
    values = node.values(shutdown={"preStopSeconds": 0, "drainSeconds": 2})
    node.upstream.released.clear()
    with node.pod(values) as pod:
        pod.wait_until_started()
        stalled = b"another" + node.upstream.slow
        node.upstream.blobs[world.digest(stalled)] = node.upstream.slow
        thread = threading.Thread(target=lambda: pull(pod.url(""), stalled, timeout=60))
        thread.start()
        world.until(lambda: any(world.digest(stalled) in path for path in node.upstream.requests))
        began = time.monotonic()
        pod.terminate()
        assert pod.wait(pod.spec["terminationGracePeriodSeconds"]) == 0
        assert time.monotonic() - began < 2 + 5
        node.upstream.release()
        thread.join()


def users_rules_and_metrics(node):
    """Users from a Secret and rules from the ConfigMap, whose swaps count; the limit of memory; metrics."""
    values = node.values(htpasswd={"existingSecret": "users"}, metrics={"enabled": True})
    values["config"]["auth"] = {"rules": [{"users": ["ada"], "actions": ["pull", "push", "delete"]}]}
    values["config"]["proxy"]["spool"] = {"directory": "/tmp"}
    with node.pod(values, secrets={"users": {"htpasswd": node.users}}, services=["REGISTRY"]) as pod:
        pod.wait_until_started()
        url = pod.url("")
        assert pod.probe("readinessProbe") and pod.probe("livenessProbe")
        assert world.request("GET", f"{url}/v2/")[0] == 401
        layer = b"pushed" * 30_000
        assert world.push(url, "team/app", "1", b"{}", [layer], ADA) == 201
        status, headers, _ = world.request(
            "GET", f"{url}/v2/team/app/blobs/{world.digest(layer)}", user=ADA, follow=False
        )
        assert status == 307
        assert world.request("GET", node.bucket_url(headers["Location"]))[2] == layer
        code, text = pod.execute("/pounce", "status")
        assert code == 0 and "fills" in text, text
        # Three eighths of the container's limit, not of the machine's memory.
        metrics = world.request("GET", pod.url("/metrics", "metrics"))[2].decode()
        limit = float(re.search(r"^pounce_fill_memory_limit_bytes (\S+)", metrics, re.M)[1])
        assert abs(limit - pods.memory(pod.container) * 3 / 8) < (32 << 20), limit
        assert world.request("GET", pod.url("/status", "metrics"))[0] == 200
        # A copy through /tmp.
        spooled = b"spooled" * 1000
        node.upstream.blobs[world.digest(spooled)] = spooled
        assert pull(url, spooled, user=ADA)[2] == spooled
        # kubelet swaps the files.
        objects = pod.objects.of
        objects["secret", "users"]["htpasswd"] = node.users.replace("ada", "eve")
        objects["configMap", "pounce"]["registry.yml"] = objects["configMap", "pounce"]["registry.yml"].replace(
            "- ada", "- eve"
        )
        pod.update()
        world.until(lambda: world.request("GET", f"{url}/v2/team/app/tags/list", user="eve:password")[0] == 200)
        assert world.request("GET", f"{url}/v2/team/app/tags/list", user=ADA)[0] == 401
        # A file that cannot be used changes nothing.
        objects["configMap", "pounce"]["registry.yml"] = "version: 0.1\nproxy: {remote: x}\n"
        pod.update()
        world.until(lambda: "cannot be used as it is now" in pod.log.read_text())
        assert "proxy.spool.directory cannot be used" not in pod.log.read_text()
        assert world.request("GET", f"{url}/v2/team/app/tags/list", user="eve:password")[0] == 200


def a_secret_without_the_key_starts_nothing(node):
    try:
        with node.pod(node.values(), secrets={"pounce": {"AWS_ACCESS_KEY_ID": "test"}}):
            pass
    except KeyError as error:
        assert "couldn't find key REGISTRY_HTTP_SECRET" in str(error)
    else:
        raise AssertionError("it starts")


def a_bucket_that_is_not_named_is_an_error(node):
    """Not a folder that nothing keeps."""
    with node.pod({"config": {"log": {"formatter": "text"}}}) as pod:
        assert pod.wait(10) == 1
        assert "storage.s3.bucket: is missing" in pod.log.read_text()


def every_configuration_loads(node):
    """Those of the kustomize folders, and what helm renders of the documents' values, as `pounce check` reads them."""
    texts = [path.read_text() for path in sorted(chart.KUSTOMIZE.glob("*/registry.yml"))]
    assert len(texts) == 3, len(texts)
    for values in rendering.examples():
        maps = [one for one in chart.render(values) if one["kind"] == "ConfigMap"]
        texts += [one["data"]["registry.yml"] for one in maps]
    variables = SECRET | {
        "REGISTRY_AUTH_HTPASSWD_USERS": node.users,
        "REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY": "data",
    }
    checks = []
    for number, text in enumerate(texts):
        file = node.folder / f"registry{number}.yml"
        file.write_text(text)
        command = [node.program, "check", "--json", file]
        checks.append(subprocess.Popen(command, cwd=node.folder, env=variables, stdout=subprocess.PIPE))
    for text, check in zip(texts, checks, strict=True):
        first = json.loads(check.communicate()[0])["results"][0]
        assert (first["name"], first["status"]) == ("configuration", "ok"), (text, first)


def ipv6_alone(node):
    with node.pod(node.values(), ipv6=True) as pod:
        pod.wait_until_started()
        assert pod.probe("readinessProbe")
        assert pull(pod.url(""), node.upstream.layer)[0] == 307


def the_node_cache_serves_from_its_disk(node):
    """Through the Service, and then without it; and `helm test` finds the Service alive."""
    values = node.values(nodeCache={"enabled": True, "upstreams": ["docker.io"]})
    layer = node.upstream.layer
    with node.pod(values) as central:
        central.wait_until_started()
        service = [("pounce", central.ip)]
        with node.pod(values, "DaemonSet", hosts=service) as cache:
            cache.wait_until_started()
            assert cache.probe("livenessProbe")
            port = cache.container["ports"][0]
            assert (port["hostPort"], port["hostIP"]) == (5000, "127.0.0.1")

            def get(path):
                # As containerd asks, by the node's port.
                status, headers, body = world.request(
                    "GET", cache.url(path), headers={"Host": "127.0.0.1:5000"}, follow=False
                )
                if status == 307:
                    own = headers["Location"].removeprefix("http://127.0.0.1:5000")
                    assert own.startswith("/"), headers["Location"]
                    status, _, body = world.request("GET", cache.url(own), headers={"Host": "127.0.0.1:5000"})
                return status, body

            manifest, blob = (
                "/v2/library/app/manifests/1?ns=docker.io",
                f"/v2/library/app/blobs/{world.digest(layer)}?ns=docker.io",
            )
            assert get(manifest) == (200, node.upstream.manifest)
            assert get(blob) == (200, layer)
            world.until(lambda: any(path.name == "data" and path.read_bytes() == layer for path in cache.written()[1]))
            assert cache.written()[0] == set()
            code, text = cache.execute("/pounce", "status")
            assert code == 0 and "bytes" in text, text
            assert world.request("POST", cache.url("/v2/a/b/blobs/uploads/"), b"")[0] in (401, 403)
            with node.pod(values, "Pod", hosts=service) as alive:
                assert alive.wait(20) == 0
            central.terminate()
            assert central.wait(central.spec["terminationGracePeriodSeconds"]) == 0
            assert get(manifest) == (200, node.upstream.manifest)
            assert get(blob) == (200, layer)
            with node.pod(values, "Pod", hosts=service) as alive:
                assert alive.wait(20) == 1


def tls_of_its_own(node):
    """Probes, and `helm test`, talk TLS."""
    key, certificate = node.folder / "tls.key", node.folder / "tls.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=registry.example.com", "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)
    values = node.values(tls={"existingSecret": "web"})
    with node.pod(values, secrets={"web": {"tls.crt": certificate.read_text(), "tls.key": key.read_text()}}) as pod:
        pod.wait_until_started()
        assert pod.probe("readinessProbe") and pod.probe("livenessProbe")
        with node.pod(values, "Pod", hosts=[("pounce", pod.ip)]) as alive:
            assert alive.wait(20) == 0


def kustomize_starts_too(node):
    """The overlay's container, with a registry.yml of this node."""
    documents = rendering.example([])
    spec = policy.pod_of(chart.find(documents, "Deployment"))
    config = chart.find(documents, "ConfigMap")
    config["data"]["registry.yml"] = json.dumps({"version": 0.1} | node.values()["config"])
    objects = pods.Objects(documents, {"pounce": SECRET})
    with pods.Pod(spec, objects, node.program, node.folder, [("node", "gateway")]) as pod:
        pod.wait_until_started()
        assert pod.probe("readinessProbe")


CHECKS = [
    minimal_values_serve_pulls,
    a_pull_under_way_outlives_sigterm,
    a_pull_that_does_not_end_is_cut_off_in_time,
    users_rules_and_metrics,
    a_secret_without_the_key_starts_nothing,
    a_bucket_that_is_not_named_is_an_error,
    every_configuration_loads,
    ipv6_alone,
    the_node_cache_serves_from_its_disk,
    tls_of_its_own,
    kustomize_starts_too,
]
