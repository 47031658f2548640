#!/usr/bin/env bash
# Debian's Prometheus scrapes pounce with config/prometheus/, while pounce is broken on purpose: its upstream answers 500,
# its bucket is away, it is gone. Each alert fires that should; none does before. The dashboard's queries have answers.
# usage: metrics.sh PATH_TO_POUNCE    (the Debian packages are in the Makefile)
set -u
POUNCE=$(realpath "${1:?the pounce program}")
HERE=$(dirname "$(realpath "$0")")
CONFIG=$(realpath "$HERE/../../config")
INTEROP_SERVERS_ONLY=1
. "$HERE/lib.sh"
tool() { python3 "$HERE/metrics.py" "$@"; }

# --- the rules by themselves
step check-rules promtool check rules "$CONFIG/prometheus/alerts.yml"
cp "$CONFIG"/prometheus/*.yml "$HERE/alerts.test.yml" .
step check-config promtool check config scrape.yml
step test-rules promtool test rules alerts.test.yml

# --- an upstream and a bucket, each behind a server that can break it, and pounce
breakable() { # breakable NAME TARGET: the address is in NAME; it breaks while the file NAME.state says so
  local port
  port=$(free_port)
  python3 "$HERE/metrics.py" breakable "$port" "$2" "$W/$1.state" &
  pids+=($!)
  declare -g "$1=127.0.0.1:$port"
}
distribution "$(in_folder "$W/upstream")" U
pounce B REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY="$W/bucket" REGISTRY_LOG_ACCESSLOG_DISABLED=true
key() { python3 -c "import json; print(json.load(open('$W/bucket/.pounce/credentials.json'))['$1'])"; }
breakable upstream "$U"
breakable bucket "$B"
until_ok curl -s "http://$upstream/v2/"
until_ok curl -s "http://$bucket/healthz"
M=127.0.0.1:$(free_port)
pounce R REGISTRY_HTTP_DEBUG_ADDR="$M" REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED=true REGISTRY_HTTP_SECRET=secret \
  REGISTRY_PROXY_REMOTEURL="http://$upstream" REGISTRY_PROXY_TAGTTL=0s REGISTRY_STORAGE=s3 \
  REGISTRY_STORAGE_S3_BUCKET=pounce REGISTRY_STORAGE_S3_REGIONENDPOINT="http://$bucket" \
  REGISTRY_STORAGE_S3_FORCEPATHSTYLE=true REGISTRY_STORAGE_S3_REGION=auto \
  REGISTRY_STORAGE_S3_ACCESSKEY="$(key accesskey)" REGISTRY_STORAGE_S3_SECRETKEY="$(key secretkey)"

# --- blobs at the upstream, and pulls
push() { # push REGISTRY TEXT: prints the digest
  local digest
  digest=sha256:$(printf %s "$2" | sha256sum | cut -d' ' -f1)
  curl -sf -o /dev/null -X POST "http://$1/v2/team/app/blobs/uploads/?digest=$digest" \
    -H 'content-type: application/octet-stream' --data-binary "$2" -D push.headers || return
  if ! grep -q ' 201' push.headers; then # distribution wants the second request
    curl -sf -X PUT "$(sed -n 's/^[Ll]ocation: *//p' push.headers | tr -d '\r')&digest=$digest" \
      -H 'content-type: application/octet-stream' --data-binary "$2" || return
  fi
  echo "$digest"
}
status() { curl -s -o /dev/null -w '%{http_code}' "$@"; }
is() { [ "$1" = "$2" ] || { echo "$1 is not $2"; return 1; }; }
blobs=()
for n in $(seq 12); do blobs+=("$(push "$U" "blob $n of the upstream")"); done
OCI=application/vnd.oci.image
manifest=$(printf '{"schemaVersion":2,"mediaType":"%s.manifest.v1+json","config":{"mediaType":"%s.config.v1+json","digest":"%s","size":22},"layers":[]}' \
  $OCI $OCI "${blobs[0]}")
curl -sf -X PUT "http://$U/v2/team/app/manifests/v1" -H "content-type: $OCI.manifest.v1+json" --data-binary "$manifest"
pull_twice() { # pull_twice DIGEST: cold, and ten times warm
  is "$(status "http://$R/v2/team/app/blobs/$1")" 200 || return
  until_ok is_warm "$1"
  for _ in $(seq 10); do is "$(status "http://$R/v2/team/app/blobs/$1")" 307 || return; done
  is "$(status -H "accept: $OCI.manifest.v1+json" "http://$R/v2/team/app/manifests/v1")" 200
}
is_warm() { [ "$(status "http://$R/v2/team/app/blobs/$1")" = 307 ]; }

# --- Prometheus, with the files that we ship: quicker, and with the thresholds of time at 2 s
sed -i "s/: 15s/: 1s/; s/127.0.0.1:5001/$M/" scrape.yml
sed -i 's/for: .*/for: 1s/; s/failing_seconds > [0-9]*/failing_seconds > 2/; s/\[5m\]/[20s]/g; s/\[10m\]/[30s]/g' alerts.yml
P=http://127.0.0.1:$(free_port)
prometheus --config.file=scrape.yml --storage.tsdb.path=prometheus --web.listen-address="${P#http://}" >prometheus.log 2>&1 &
pids+=($!)
scraped() { curl -sf "$P/api/v1/query?query=up%7Bjob=%22pounce%22%7D" | grep -q ',"1"\]'; }
step prometheus-scrapes until_ok scraped
pulls_and_pushes() {
  for digest in "${blobs[@]:0:6}"; do pull_twice "$digest" && push "$R" "$digest and a client's" && sleep .5 || return; done
}
step pulls-and-pushes pulls_and_pushes
# Some evaluations of all rules. The upstream says that it allows 3 of 100 requests, which is an alert.
sleep 2
limits_only() { tool quiet "$P" | grep -E "^alerts: \[(\('PounceUpstreamLimit', '(firing|pending)'\))?\]$"; }
step only-the-limit-alerts limits_only
step alert-limit tool alert "$P" PounceUpstreamLimit

# --- broken on purpose
echo 500 >upstream.state
traffic() { # traffic: requests that fail as the upstream does, until the file `calm` is there
  while [ ! -e calm ]; do
    for digest in "${blobs[@]:6}"; do status "http://$R/v2/team/app/blobs/$digest" >/dev/null; done
    status "http://$R/v2/team/app/manifests/latest?ns=quay.io" >/dev/null
    sleep .2
  done
}
traffic &
pids+=($!)
step alert-upstream tool alert "$P" PounceUpstreamFailing
step alert-errors tool alert "$P" PounceErrors
step alert-fills tool alert "$P" PounceFillsFail
step alert-bypassed tool alert "$P" PounceBypassed
rm upstream.state
echo away >bucket.state
step alert-bucket tool alert "$P" PounceBucketFailing
echo 403 >bucket.state
step alert-bucket-refuses tool alert "$P" PounceBucketRefuses
rm bucket.state
step dashboard tool dashboard "$P" "$CONFIG/grafana/pounce.json"
cp out dashboard.md
touch calm
step pounce-ends ends "$R_pid"
step alert-down tool alert "$P" PounceDown
[ -z "${SHOW_DASHBOARD:-}" ] || cat dashboard.md

verdict B.log
