"""Starts, probes and ends a pod's container as kubelet and containerd do, with runc."""

import ctypes
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request

import chart

# The program must not be able to do more than in its image: what the linker and TLS need, and nothing that runs.
LIBRARIES = re.compile(r"(/lib\S+)")
RUNTIME_VARIABLES = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
}
UNITS = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
PR_SET_CHILD_SUBREAPER = 36
# kubelet verifies none.
ANY_CERTIFICATE = ssl._create_unverified_context()
_numbers = itertools.count(1)


def become_node():
    """The network namespace is this process's own; containers that lose their parent become its children."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    # Pods reach each other.
    pathlib.Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def dockerfile():
    """The variables and the entrypoint of the image."""
    last = (chart.ROOT / "Dockerfile").read_text().split("\nFROM ")[-1]
    variables = dict(line.removeprefix("ENV ").split("=", 1) for line in last.splitlines() if line.startswith("ENV "))
    return variables, json.loads(re.search("^ENTRYPOINT (.*)$", last, re.M)[1])


def memory(container):
    """A container's limit, in bytes."""
    limit = container["resources"]["limits"]["memory"]
    return int(limit[:-2]) * UNITS[limit[-2:]]


class Objects:
    """ConfigMaps and Secrets: name → {key: text}. A change of them reaches the pods that are given to `update`."""

    def __init__(self, documents, secrets):
        self.of = {
            ("configMap", one["metadata"]["name"]): one["data"] for one in documents if one["kind"] == "ConfigMap"
        }
        self.of |= {("secret", name): data for name, data in secrets.items()}


class Pod:
    """A pod of one container; `with` ends it."""

    def __init__(self, spec, objects, program, folder, hosts=(), services=(), ipv6=False):
        number = next(_numbers)
        self.spec, self.container, self.objects = spec, spec["containers"][0], objects
        self.id, self.folder = f"pounce-kubernetes-{os.getpid()}-{number}", pathlib.Path(folder) / f"pod{number}"
        self.node_ip, self.ip = (
            (f"fd00:{number}::1", f"fd00:{number}::2") if ipv6 else (f"10.244.{number}.1", f"10.244.{number}.2")
        )
        self.network, self.hosts, self.services = number, hosts, services
        self.pid = self.code = None
        self.root, self.log = self.folder / "rootfs", self.folder / "log"
        self._make_root(program)
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise

    # --- the container

    def _make_root(self, program):
        self.root.mkdir(parents=True)
        for folder in ["proc", "dev", "sys", "etc/ssl/certs", "tmp", "lib", "lib64"]:
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for library in LIBRARIES.findall(linked) + ["/lib/x86_64-linux-gnu/libnss_files.so.2"]:
            if os.path.exists(library):
                (self.root / library[1:]).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, self.root / library[1:])
        (self.root / "etc/nsswitch.conf").write_text("hosts: files\n")
        (self.root / "etc/passwd").write_text("nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n")
        lines = [
            "127.0.0.1 localhost",
            "::1 localhost",
            *(f"{self.node_ip if ip == 'gateway' else ip} {name}" for name, ip in self.hosts),
        ]
        (self.root / "etc/hosts").write_text("\n".join(lines) + "\n")
        (self.root / "pounce").touch()
        self.mounts = [_bind(program, "/pounce"), _bind("/etc/ssl/certs", "/etc/ssl/certs")]
        for mount in self.container.get("volumeMounts", []):
            volume = next(one for one in self.spec["volumes"] if one["name"] == mount["name"])
            source = self.folder / "volumes" / volume["name"]
            (self.root / mount["mountPath"][1:]).mkdir(parents=True, exist_ok=True)
            self._fill(volume, source)
            self.mounts.append(_bind(source, mount["mountPath"], writable=not mount.get("readOnly")))
        self.before = self._files()

    def _files(self):
        return {path for path in self.root.rglob("*") if path.is_file()}

    def _fill(self, volume, source):
        """kubelet's folder: the files are links through ..data, which is replaced at once."""
        group = self.spec["securityContext"]["fsGroup"]
        source.mkdir(parents=True, exist_ok=True)
        os.chown(source, 0, group)
        if "emptyDir" in volume:
            source.chmod(0o2777)
            return
        kind = "configMap" if "configMap" in volume else "secret"
        data = self.objects.of[kind, volume[kind].get("name") or volume[kind]["secretName"]]
        items = volume[kind].get("items") or [{"key": key, "path": key} for key in data]
        now = source / f"..{time.time_ns()}"
        now.mkdir()
        for item in items:
            (now / item["path"]).write_text(data[item["key"]])
            os.chown(now / item["path"], 0, group)
            (now / item["path"]).chmod(volume[kind].get("defaultMode", 0o644))
            if not (source / item["path"]).is_symlink():
                (source / item["path"]).symlink_to(f"..data/{item['path']}")
        before = (source / "..data").resolve()
        (source / "..data_tmp").symlink_to(now.name)
        (source / "..data_tmp").rename(source / "..data")
        if before.name != "..data":
            shutil.rmtree(before)

    def update(self):
        """Objects changed, and kubelet notices."""
        for volume in self.spec["volumes"]:
            if "emptyDir" not in volume:
                self._fill(volume, self.folder / "volumes" / volume["name"])

    def _environment(self, image):
        container, secrets = self.container, self.objects.of
        variables = RUNTIME_VARIABLES | image
        variables |= {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
        for service in self.services:
            variables |= {
                f"{service}_PORT": "tcp://10.96.0.9:5000",
                f"{service}_SERVICE_HOST": "10.96.0.9",
                f"{service}_PORT_5000_TCP_ADDR": "10.96.0.9",
            }
        for source in container.get("envFrom", []):
            variables |= secrets["secret", source["secretRef"]["name"]]
        for one in container.get("env", []):
            reference = one.get("valueFrom", {}).get("secretKeyRef")
            if reference and reference["key"] not in secrets["secret", reference["name"]]:
                raise KeyError(f"CreateContainerConfigError: couldn't find key {reference['key']} in Secret")
            variables[one["name"]] = (
                secrets["secret", reference["name"]][reference["key"]] if reference else one["value"]
            )
        return [f"{name}={value}" for name, value in variables.items()]

    def _start(self):
        variables, entrypoint = dockerfile()
        pod, own = self.spec["securityContext"], self.container["securityContext"]
        assert own["capabilities"] == {"drop": ["ALL"]}
        config = {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": pod["runAsUser"], "gid": pod["runAsGroup"], "additionalGids": [pod["fsGroup"]]},
                "args": self.container.get("command", entrypoint) + self.container.get("args", []),
                "env": self._environment(variables),
                "cwd": "/",
                "capabilities": {},
                "noNewPrivileges": not own["allowPrivilegeEscalation"],
            },
            "root": {"path": str(self.root), "readonly": own["readOnlyRootFilesystem"]},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {
                    "destination": "/dev",
                    "type": "tmpfs",
                    "source": "tmpfs",
                    "options": ["nosuid", "mode=755", "size=65536k"],
                },
                {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
                {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
                *self.mounts,
            ],
            "linux": {
                "namespaces": [{"type": it} for it in ["pid", "network", "ipc", "uts", "mount"]],
                "cgroupsPath": f"/{self.id}",
                "resources": {"memory": {"limit": memory(self.container)}},
            },
        }
        (self.folder / "config.json").write_text(json.dumps(config))
        with open(self.log, "ab") as log:
            subprocess.run(
                [*self._runc(), "create", "--bundle", self.folder, self.id],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                check=True,
            )
        self.pid = json.loads(
            subprocess.run([*self._runc(), "state", self.id], capture_output=True, check=True).stdout
        )["pid"]
        self._connect()
        subprocess.run([*self._runc(), "start", self.id], check=True)

    def _runc(self):
        return ["runc", "--root", self.folder.parent / "runc"]

    def _connect(self):
        """A pair of interfaces, as CNI makes it."""
        here, inside = f"veth{self.network}", ["nsenter", "-t", str(self.pid), "-n"]
        bits, more = ("64", ["nodad"]) if ":" in self.ip else ("24", [])
        for command in [
            ["ip", "link", "add", here, "type", "veth", "peer", "name", "eth0", "netns", str(self.pid)],
            ["ip", "address", "add", f"{self.node_ip}/{bits}", "dev", here, *more],
            ["ip", "link", "set", here, "up"],
            [*inside, "ip", "link", "set", "lo", "up"],
            [*inside, "ip", "address", "add", f"{self.ip}/{bits}", "dev", "eth0", *more],
            [*inside, "ip", "link", "set", "eth0", "up"],
            [*inside, "ip", "route", "add", "default", "via", self.node_ip],
        ]:
            subprocess.run(command, check=True)

    # --- kubelet's part

    def url(self, path, port="http", scheme="http"):
        number = next(one["containerPort"] for one in self.container["ports"] if one["name"] == port)
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        return f"{scheme}://{host}:{number}{path}"

    def probe(self, name):
        """One HTTP probe, as kubelet sends it: whether it succeeds."""
        probe = self.container[name]
        scheme = probe["httpGet"].get("scheme", "HTTP").lower()
        ask = urllib.request.Request(self.url(probe["httpGet"]["path"], probe["httpGet"]["port"], scheme))
        ask.add_header("User-Agent", "kube-probe/1.37")
        ask.add_header("Accept", "*/*")
        ask.add_header("Connection", "close")
        try:
            with urllib.request.urlopen(ask, timeout=probe.get("timeoutSeconds", 1), context=ANY_CERTIFICATE) as answer:
                return 200 <= answer.status < 400
        except OSError:
            return False

    def wait_until_started(self):
        """The startup probe succeeds within its bounds, or the container would be killed."""
        probe = self.container["startupProbe"]
        for _ in range(probe["failureThreshold"]):
            if self.probe("startupProbe"):
                return
            assert self.ended() is None, f"it ended with {self.code}"
            time.sleep(probe["periodSeconds"] / 5)
        raise AssertionError("the startup probe never succeeded")

    def execute(self, *command):
        """As `kubectl exec`: the exit status, and what was printed."""
        ran = subprocess.run([*self._runc(), "exec", self.id, *command], capture_output=True, text=True, timeout=60)
        return ran.returncode, ran.stdout + ran.stderr

    def pre_stop(self):
        """kubelet sleeps."""
        time.sleep(self.container["lifecycle"]["preStop"]["sleep"]["seconds"])

    def terminate(self):
        subprocess.run([*self._runc(), "kill", self.id, "TERM"], check=True)

    def ended(self):
        """The exit status, once there is one."""
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.code = os.waitstatus_to_exitcode(status) if pid else None
        return self.code

    def wait(self, seconds):
        """The exit status, within so many seconds; `None` if kubelet would have to kill it."""
        end = time.monotonic() + seconds
        while self.ended() is None and time.monotonic() < end:
            time.sleep(0.05)
        return self.code

    def written(self):
        """Files outside of its volumes, of which there can be none, and those in its emptyDirs."""
        empty = [self.folder / "volumes" / one["name"] for one in self.spec.get("volumes", []) if "emptyDir" in one]
        return self._files() - self.before, {path for folder in empty for path in folder.rglob("*") if path.is_file()}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.pid and self.ended() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.wait(10)
        subprocess.run([*self._runc(), "delete", "--force", self.id], check=False, capture_output=True)


def _bind(source, destination, writable=False):
    options = ["rbind", "rw" if writable else "ro", "nosuid", "nodev"]
    return {"destination": str(destination), "type": "bind", "source": str(source), "options": options}
