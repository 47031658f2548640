//! The lines of the access log: what they say in each format, and that no client forges one.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::image::digest;
use crate::support::upstream::Manners;
use crate::support::{Image, Pounce, Upstream, wire};

const DEADLINE: Duration = Duration::from_secs(20);

/// The lines for paths with this text, as soon as there are so many. Text and JSON have the repository's name.
async fn lines(pounce: &Pounce, text: &str, count: usize) -> Vec<String> {
    let began = Instant::now();
    loop {
        let log = std::fs::read_to_string(pounce.access_log()).unwrap();
        let found: Vec<_> = log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect();
        if found.len() >= count && log.ends_with('\n') {
            assert_eq!(found.len(), count, "{log}");
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "no {count} lines with {text}: {log}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A line with the value behind `name` replaced, up to one of these characters.
fn mask(line: &str, name: &str, ends: &[char], is_right: impl Fn(&str) -> bool) -> String {
    let at = line.find(name).unwrap_or_else(|| panic!("no {name}: {line}")) + name.len();
    let end = line[at..].find(ends).map_or(line.len(), |end| at + end);
    assert!(is_right(&line[at..end]), "{name} {}", &line[at..end]);
    format!("{}*{}", &line[..at], &line[end..])
}

/// RFC 3339 in UTC, with milliseconds.
fn is_time(text: &str) -> bool {
    has_pattern(text, "0000-00-00T00:00:00.000Z")
}

/// Whether a text has digits where the pattern has zeros, and is the pattern elsewhere.
fn has_pattern(text: &str, pattern: &str) -> bool {
    let same = |(one, other): (char, char)| one == other || (other == '0' && one.is_ascii_digit());
    text.len() == pattern.len() && text.chars().zip(pattern.chars()).all(same)
}

fn is_duration(text: &str) -> bool {
    let (whole, rest) = text.split_once('.').unwrap();
    whole.parse::<u32>().is_ok() && rest.len() == 3 && rest.parse::<u32>().is_ok()
}

/// The line as text, without its time, duration and id.
fn plain(line: &str) -> String {
    let masked = mask(&format!("={line}"), "=", &[' '], is_time);
    let masked = mask(&masked, "duration_ms=", &[' '], is_duration);
    mask(&masked, "request_id=", &[' '], |id| id.len() == 36)
}

/// The same as JSON.
fn object(line: &str) -> String {
    let masked = mask(line, "\"timestamp\":\"", &['"'], is_time);
    let masked = mask(&masked, "\"duration_ms\":", &[','], is_duration);
    mask(&masked, "\"request_id\":\"", &['"'], |id| id.len() == 36)
}

/// The same in Apache's combined format.
fn combined(line: &str) -> String {
    let is_time = |text: &str| {
        let masked = format!("{}Mon{}", &text[..3], &text[6..]);
        has_pattern(&masked, "00/Mon/0000:00:00:00 +0000")
    };
    mask(line, "[", &[']'], is_time)
}

/// A registry over an S3 that redirects, after a push of a blob, a redirect to it, an error and an early-left client;
/// their lines, and the blob's digest.
async fn logged(format: &str) -> (Vec<String>, String) {
    let upstream = Upstream::start().await;
    let image = Image::new(1, &[1 << 20]);
    upstream.add("slow/app", "v1", &image);
    upstream.behave(Manners { holds_after: Some(500_000), ..Manners::default() });
    let variables = [
        ("REGISTRY_PROXY_REMOTEURL", &upstream.url()[..]),
        ("REGISTRY_LOG_ACCESSLOG_FORMAT", format),
        ("REGISTRY_PROXY_FILL_CONNECTIONS", "1"),
    ];
    let pounce = Pounce::with_s3(&variables).await;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).user_agent("tester/1.0 (a b)");
    let client = client.build().unwrap();
    let blob = digest(b"a blob");
    let push = client.post(pounce.url(&format!("/v2/me/app/blobs/uploads/?digest={blob}"))).body("a blob");
    assert_eq!(push.send().await.unwrap().status(), 201);
    let path = format!("/v2/me/app/blobs/{blob}");
    let redirect = client.get(pounce.url(&path)).send().await.unwrap();
    assert_eq!(redirect.status(), 307);
    let id = redirect.headers()["x-request-id"].to_str().unwrap().to_owned();
    let missing = client.get(pounce.url("/v2/me/app/manifests/none")).send().await.unwrap();
    assert_eq!(missing.status(), 404);
    let slow = digest(image.layer());
    let mut reply = client.get(pounce.url(&format!("/v2/slow/app/blobs/{slow}"))).send().await.unwrap();
    reply.chunk().await.unwrap().unwrap();
    drop(reply);
    let mut lines = [lines(&pounce, "me/app", 3).await, lines(&pounce, "slow/app", 1).await].concat();
    assert!(format == "combined" || lines[1].contains(&id), "{lines:?}");
    for line in &mut lines {
        *line = line.replace(&blob, "BLOB").replace(&slow, "SLOW");
    }
    upstream.release();
    (lines, slow)
}

#[tokio::test(flavor = "multi_thread")]
async fn text_names_each_value() {
    let (lines, _) = logged("text").await;
    let agent = "client=127.0.0.1 user_agent=\"tester/1.0 (a b)\" request_id=*";
    let begin = "=*  INFO request method=";
    assert_eq!(
        plain(&lines[0]),
        format!("{begin}POST repository=me/app reference=BLOB status=201 bytes=0 duration_ms=* {agent}")
    );
    assert_eq!(
        plain(&lines[1]),
        format!("{begin}GET repository=me/app reference=BLOB status=307 bytes=0 duration_ms=* outcome=hit {agent}")
    );
    let missing = plain(&lines[2]);
    let (before, after) = missing.split_once(" bytes=").unwrap();
    assert_eq!(before, format!("{begin}GET repository=me/app reference=none status=404"));
    let (_, after) = after.split_once(' ').unwrap();
    assert_eq!(after, format!("duration_ms=* code=MANIFEST_UNKNOWN {agent}"));
    let (before, after) = lines[3].split_once(" bytes=").unwrap();
    assert!(before.ends_with("INFO request method=GET repository=slow/app reference=SLOW status=200"), "{before}");
    let (bytes, after) = after.split_once(' ').unwrap();
    assert!(bytes.parse::<u64>().unwrap() <= 500_000);
    let after = mask(after, "duration_ms=", &[' '], is_duration);
    let after = mask(&after, "request_id=", &[' '], |_| true);
    assert_eq!(after, format!("duration_ms=* outcome=fill complete=false {agent}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_has_the_same_names() {
    let (lines, _) = logged("json").await;
    let begin = r#"{"timestamp":"*","level":"INFO","message":"request","method":"#;
    let agent = r#""client":"127.0.0.1","user_agent":"tester/1.0 (a b)","request_id":"*"}"#;
    let about = r#","repository":"me/app","reference":"BLOB","#;
    assert_eq!(object(&lines[0]), format!(r#"{begin}"POST"{about}"status":201,"bytes":0,"duration_ms":*,{agent}"#));
    assert_eq!(
        object(&lines[1]),
        format!(r#"{begin}"GET"{about}"status":307,"bytes":0,"duration_ms":*,"outcome":"hit",{agent}"#)
    );
    let parsed: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&parsed[2]["status"], &parsed[2]["code"]), (&json!(404), &json!("MANIFEST_UNKNOWN")));
    assert_eq!((&parsed[3]["complete"], &parsed[3]["outcome"]), (&json!(false), &json!("fill")));
}

#[tokio::test(flavor = "multi_thread")]
async fn combined_is_as_apache_and_distribution_write_it() {
    let (lines, _) = logged("combined").await;
    let agent = "\"-\" \"tester/1.0 (a b)\"";
    // Without the query, which may be a secret.
    let push = "\"POST /v2/me/app/blobs/uploads/ HTTP/1.1\" 201 0";
    assert_eq!(combined(&lines[0]), format!("127.0.0.1 - - [*] {push} {agent}"));
    let redirect = "\"GET /v2/me/app/blobs/BLOB HTTP/1.1\" 307 0";
    assert_eq!(combined(&lines[1]), format!("127.0.0.1 - - [*] {redirect} {agent}"));
    let missing = combined(&lines[2]);
    assert!(missing.starts_with("127.0.0.1 - - [*] \"GET /v2/me/app/manifests/none HTTP/1.1\" 404 "), "{missing}");
    let slow = combined(&lines[3]);
    assert!(slow.starts_with("127.0.0.1 - - [*] \"GET /v2/slow/app/blobs/SLOW HTTP/1.1\" 200 "), "{slow}");
}

#[tokio::test]
async fn clients_can_neither_forge_a_line_nor_reach_the_terminal() {
    for format in ["text", "json", "combined"] {
        let pounce = Pounce::with(&[("REGISTRY_LOG_ACCESSLOG_FORMAT", format)]).await;
        let endless = format!("long{}", "x".repeat(8000));
        let agents: [&[u8]; 4] = [
            b"a\" status=200 \\\"\xff\x85\xc2\x9b31m\t",
            "\u{2028}\u{202e}{\"level\":\"ERROR\"}é".as_bytes(),
            endless.as_bytes(),
            b"",
        ];
        for agent in agents {
            let mut request = b"GET /v2/%0a%1b[31m%E2%80%A8X/y HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".to_vec();
            request.extend([b"User-Agent: ", agent, b"\r\n\r\n"].concat());
            let reply = wire::exchange(pounce.addr, &request).await;
            assert!(reply.starts_with("HTTP/1.1 4"), "{reply}");
        }
        let found = lines(&pounce, "/v2/%0a", 4).await;
        let log = std::fs::read_to_string(pounce.access_log()).unwrap();
        assert_eq!(log.lines().count(), 4, "{log}");
        for line in &found {
            assert!(line.len() < 1000 && line.chars().all(|c| c.is_ascii_graphic() || c == ' ' || c == 'é'), "{line}");
        }
        assert!(found[0].contains(r#""a\" status=200 \\\"\ufffd\ufffd\u009b31m""#), "{}", found[0]);
        assert!(found[1].contains(r#""\u2028\u202e{\"level\":\"ERROR\"}é""#), "{}", found[1]);
        assert_eq!(found[2].matches('x').count() - found[3].matches('x').count(), 252, "{}", found[2]);
        if format == "json" {
            let parsed: Value = serde_json::from_str(&found[0]).unwrap();
            assert_eq!(parsed["user_agent"], "a\" status=200 \\\"\u{fffd}\u{fffd}\u{9b}31m");
            assert_eq!(parsed["level"], "INFO");
        }
    }
}
