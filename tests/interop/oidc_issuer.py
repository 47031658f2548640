"""An issuer of OpenID Connect tokens: its discovery document, its key, and at /token a token of the repository
`org/app` for `interop`.
usage: oidc_issuer.py PORT KEY.pem"""

import base64
import http.server
import json
import sys
import time

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

LIFE = 3600


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value):
    return encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def token():
    now = int(time.time())
    header = {"typ": "JWT", "alg": "RS256", "kid": "1"}
    claims = {"iss": ISSUER, "sub": "repo:org/app", "aud": "interop", "repository": "org/app",
              "iat": now, "nbf": now, "exp": now + LIFE}
    signed = ".".join(encode(json.dumps(part).encode()) for part in (header, claims))
    return signed + "." + encode(KEY.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        public = KEY.public_key().public_numbers()
        jwk = {"kty": "RSA", "kid": "1", "use": "sig", "alg": "RS256", "n": number(public.n), "e": number(public.e)}
        documents = {
            "/.well-known/openid-configuration": {"issuer": ISSUER, "jwks_uri": ISSUER + "/keys"},
            "/keys": {"keys": [jwk]},
        }
        if self.path == "/token":
            self.answer(200, token().encode())
        elif self.path in documents:
            self.answer(200, json.dumps(documents[self.path]).encode())
        else:
            self.answer(404, b"")

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    port, key = sys.argv[1:]
    ISSUER = f"http://127.0.0.1:{port}"
    with open(key, "rb") as file:
        KEY = serialization.load_pem_private_key(file.read(), None)
    http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()
