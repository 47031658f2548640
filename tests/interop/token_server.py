"""A token server as distribution's `auth: token` wants one: the user `user` with the password `secret`
gets every access that is asked for; `reader`, with the same password, no more than to pull.
usage: token_server.py PORT KEY.pem CERTIFICATE.pem"""

import base64
import http.server
import json
import secrets
import sys
import time
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

NAME = "interop"  # of the issuer and of the service
LIFE = 300
USERS = {"Basic " + base64.b64encode(f"{user}:secret".encode()).decode(): user for user in ("user", "reader")}


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def access(user, scopes):
    entries = []
    for scope in " ".join(scopes).split():
        kind, rest = scope.split(":", 1)
        name, actions = rest.rsplit(":", 1)
        granted = [action for action in actions.split(",") if user != "reader" or action == "pull"]
        entries.append({"type": kind, "name": name, "actions": granted})
    return entries


def token(user, scopes):
    now = int(time.time())
    header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(CHAIN).decode()]}
    claims = {"iss": NAME, "sub": user, "aud": NAME, "exp": now + LIFE, "nbf": now - 1, "iat": now,
              "jti": secrets.token_hex(8), "access": access(user, scopes)}
    signed = ".".join(encode(json.dumps(part).encode()) for part in (header, claims))
    return signed + "." + encode(KEY.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url, user = urlsplit(self.path), USERS.get(self.headers.get("Authorization"))
        if url.path != "/token":
            self.answer(404, {})
        elif not user:
            self.answer(401, {"details": "incorrect username or password"})
        else:
            value = token(user, parse_qs(url.query).get("scope", []))
            self.answer(200, {"token": value, "access_token": value, "expires_in": LIFE})

    def do_POST(self):  # containerd tries it first, and takes this for an answer
        self.close_connection = True  # the body was not read
        self.answer(405, {})

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    port, key, certificate = sys.argv[1:]
    with open(key, "rb") as file:
        KEY = serialization.load_pem_private_key(file.read(), None)
    with open(certificate, "rb") as file:
        CHAIN = x509.load_pem_x509_certificate(file.read()).public_bytes(serialization.Encoding.DER)
    http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
