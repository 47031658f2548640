"""The parts of metrics.sh that are no shell: a server that breaks on purpose, and questions to Prometheus.

metrics.py breakable PORT TARGET FILE   passes requests on to TARGET, unless FILE has `500` or `away` in it
metrics.py alert URL NAME               waits until the alert fires, for 40 s at most
metrics.py quiet URL                    no alert is pending or firing
metrics.py dashboard URL FILE           runs each query of the dashboard, prints the answers as a table; all have one
"""

import http.client
import http.server
import json
import pathlib
import sys
import time
import urllib.parse
import urllib.request


class Breakable(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pass_on(self):
        state = self.state.read_text().strip() if self.state.exists() else ""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if state == "away":
            self.close_connection = True
            return
        if state:
            self.send_response(int(state))
            self.send_header("content-length", "0")
            self.end_headers()
            return
        server = http.client.HTTPConnection(self.target, timeout=20)
        server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            server.putheader(name, value)
        server.endheaders(body or None)
        answer = server.getresponse()
        content = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = answer.getheader("content-length") if self.command == "HEAD" else len(content)
        if length is not None and answer.status != 204:
            self.send_header("content-length", str(length))
        # What Docker Hub tells each client.
        self.send_header("ratelimit-limit", "100;w=21600")
        self.send_header("ratelimit-remaining", "3;w=21600")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        server.close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on

    def log_message(self, *_):
        pass


def breakable(port, target, state):
    Breakable.target, Breakable.state = target, pathlib.Path(state)
    http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Breakable).serve_forever()


def ask(url, path, **query):
    with urllib.request.urlopen(f"{url}{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
        return json.load(answer)["data"]


def alerts(url):
    return {(it["labels"]["alertname"], it["state"]) for it in ask(url, "/api/v1/alerts")["alerts"]}


def alert(url, name):
    seen, began = set(), time.time()
    while time.time() < began + 40:
        seen |= {state for alertname, state in alerts(url) if alertname == name}
        if "firing" in seen:
            print(f"{name}: {' and '.join(sorted(seen))} after {time.time() - began:.0f} s")
            return
        time.sleep(0.3)
    sys.exit(f"{name} does not fire; alerts: {sorted(alerts(url))}")


def quiet(url):
    found = alerts(url)
    print(f"alerts: {sorted(found)}")
    sys.exit(1 if found else 0)


def dashboard(url, file):
    names = {"$job": "pounce", "$instance": ".*", "$__rate_interval": "1m"}
    empty = []
    for panel in json.loads(pathlib.Path(file).read_text())["panels"]:
        for target in panel["targets"]:
            query = target["expr"]
            for name, value in names.items():
                query = query.replace(name, value)
            shown = []
            for series in ask(url, "/api/v1/query", query=query)["result"]:
                legend = target["legendFormat"]
                for label, value in series["metric"].items():
                    legend = legend.replace("{{%s}}" % label, value)
                shown.append(f"{legend} {float(series['value'][1]):.4g}")
            if not shown:
                empty.append(f"{panel['title']}: {query}")
            print(f"| {panel['title']} | {', '.join(sorted(shown)) or 'nothing'} |")
    if empty:
        sys.exit("no answer to\n" + "\n".join(empty))


if __name__ == "__main__":
    {"breakable": breakable, "alert": alert, "quiet": quiet, "dashboard": dashboard}[sys.argv[1]](*sys.argv[2:])
