//! `fly.toml` and docs/fly.md: the keys that Fly.io documents, values in their ranges, and a configuration that pounce
//! takes; and what the log says of Fly's proxy.

use std::path::Path;

use pounce::config::{Config, Driver, Environment};
use toml_edit::{DocumentMut, Item, Value};

use crate::support::{Pounce, Process};

/// What a key may have.
enum Kind {
    Text,
    OneOf(&'static [&'static str]),
    Texts,
    Flag,
    /// An integer between these.
    Integer(i64, i64),
    /// Texts by any name, but for names that begin with this.
    Map(&'static str),
    /// A duration, as in `10s`.
    Duration,
}

/// The keys of Fly's reference of its configuration that are used here. `[]` stands for each table of an array.
const DOCUMENTED: [(&str, Kind); 28] = [
    ("app", Kind::Text),
    ("primary_region", Kind::Text),
    ("kill_signal", Kind::OneOf(&["SIGINT", "SIGTERM", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGKILL", "SIGSTOP"])),
    ("kill_timeout", Kind::Integer(0, 300)),
    ("swap_size_mb", Kind::Integer(0, 1 << 16)),
    ("deploy.strategy", Kind::OneOf(&["rolling", "immediate", "canary", "bluegreen"])),
    ("deploy.release_command", Kind::Text),
    ("env", Kind::Map("FLY_")),
    ("processes", Kind::Map("")),
    ("http_service.processes", Kind::Texts),
    ("http_service.internal_port", Kind::Integer(1, 65_535)),
    ("http_service.force_https", Kind::Flag),
    ("http_service.auto_stop_machines", Kind::OneOf(&["off", "stop", "suspend"])),
    ("http_service.auto_start_machines", Kind::Flag),
    ("http_service.min_machines_running", Kind::Integer(0, 1000)),
    ("http_service.concurrency.type", Kind::OneOf(&["connections", "requests"])),
    ("http_service.concurrency.soft_limit", Kind::Integer(1, 100_000)),
    ("http_service.concurrency.hard_limit", Kind::Integer(1, 100_000)),
    ("http_service.checks.[].method", Kind::OneOf(&["GET", "HEAD"])),
    ("http_service.checks.[].path", Kind::Text),
    ("http_service.checks.[].interval", Kind::Duration),
    ("http_service.checks.[].timeout", Kind::Duration),
    ("http_service.checks.[].grace_period", Kind::Duration),
    ("vm.[].size", Kind::Text),
    ("vm.[].memory", Kind::Text),
    ("vm.[].processes", Kind::Texts),
    ("metrics.port", Kind::Integer(1, 65_535)),
    ("metrics.path", Kind::Text),
];

impl Kind {
    fn takes(&self, item: &Item) -> bool {
        let texts = |item: &Item| item.as_array().is_some_and(|all| all.iter().all(Value::is_str));
        match self {
            Self::Text => item.is_str(),
            Self::OneOf(values) => item.as_str().is_some_and(|value| values.contains(&value)),
            Self::Texts => texts(item),
            Self::Flag => item.is_bool(),
            Self::Integer(least, most) => item.as_integer().is_some_and(|value| (*least..=*most).contains(&value)),
            Self::Map(not) => item.as_table().is_some_and(|all| {
                let is_own = |name: &str| !not.is_empty() && name.starts_with(not);
                all.iter().all(|(name, value)| value.is_str() && !is_own(name))
            }),
            Self::Duration => item.as_str().is_some_and(|text| seconds(text) > 0),
        }
    }
}

/// Seconds.
fn seconds(text: &str) -> u64 {
    let (number, unit) = text.split_at(text.len() - 1);
    number.parse::<u64>().unwrap_or(0)
        * match unit {
            "s" => 1,
            "m" => 60,
            _ => 0,
        }
}

/// The keys that Fly does not document, or whose values it does not take.
fn mistakes(item: &Item, path: &str) -> Vec<String> {
    if let Some((_, kind)) = DOCUMENTED.iter().find(|(known, _)| *known == path) {
        return if kind.takes(item) { Vec::new() } else { vec![format!("{path} = {item}")] };
    }
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if let Some(table) = item.as_table_like() {
        return table.iter().flat_map(|(name, child)| mistakes(child, &below(name))).collect();
    }
    match item.as_array_of_tables() {
        Some(tables) => {
            let each = tables.iter().map(|table| Item::Table(table.clone()));
            each.flat_map(|table| mistakes(&table, &below("[]"))).collect()
        }
        None => vec![format!("{path} is not documented")],
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn fly() -> DocumentMut {
    read("fly.toml").parse().unwrap()
}

/// The variables of `[env]`.
fn env(fly: &DocumentMut) -> Vec<(String, String)> {
    let env = fly["env"].as_table().unwrap();
    env.iter().map(|(name, value)| (name.to_owned(), value.as_str().unwrap().to_owned())).collect()
}

/// The blocks of a kind in docs/fly.md.
fn blocks(kind: &str) -> Vec<String> {
    let (document, fence) = (read("docs/fly.md"), format!("```{kind}\n"));
    let after = document.split(&fence).skip(1);
    after.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn fly_documents_each_key_and_takes_its_value() {
    assert_eq!(mistakes(fly().as_item(), ""), Vec::<String>::new());
    let blocks = blocks("toml");
    assert!(!blocks.is_empty());
    for block in blocks {
        let document: DocumentMut = block.parse().unwrap_or_else(|error| panic!("{error}: {block}"));
        assert_eq!(mistakes(document.as_item(), ""), Vec::<String>::new(), "{block}");
    }
    for wrong in [
        "kill_timeout = 301",
        "kill_timeot = 30",
        "kill_signal = \"TERM\"",
        "[env]\nFLY_APP_NAME = \"x\"",
        "[env]\nA = 1",
        "[http_service]\nauto_stop_machines = true",
        "[http_service.concurrency]\nsoftlimit = 1",
        "[[http_service.checks]]\ntimeout = 2",
        "[[vm]]\ncpu = 1",
    ] {
        let document: DocumentMut = wrong.parse().unwrap();
        assert_eq!(mistakes(document.as_item(), "").len(), 1, "{wrong}");
    }
}

#[test]
fn values_fit_together_and_fit_pounce() {
    let fly = fly();
    // What `fly storage create` sets.
    let bucket = [
        ("BUCKET_NAME", "images"),
        ("AWS_ENDPOINT_URL_S3", "https://fly.storage.tigris.dev"),
        ("AWS_REGION", "auto"),
        ("AWS_ACCESS_KEY_ID", "tid_x"),
        ("AWS_SECRET_ACCESS_KEY", "tsec_x"),
    ];
    let own = env(&fly);
    let all: Environment = own
        .iter()
        .map(|(name, value)| (&name[..], &value[..]))
        .chain(bucket)
        .chain([("REGISTRY_HTTP_SECRET", "x")])
        .collect();
    let loaded = Config::load(None, &all).unwrap();
    assert_eq!(loaded.notices, Vec::<String>::new());
    let config = loaded.config;
    assert_eq!(config.storage.driver, Driver::S3);
    let timeout = u64::try_from(fly["kill_timeout"].as_integer().unwrap()).unwrap();
    // The drain, and a second for the log.
    assert!(config.http.draintimeout.as_secs() + 5 <= timeout);

    let service = &fly["http_service"];
    let port = service["internal_port"].as_integer().unwrap();
    assert!(Config::default().http.addr.to_string().ends_with(&format!(":{port}")));
    let limit = |name: &str| service["concurrency"][name].as_integer().unwrap();
    assert!(limit("soft_limit") < limit("hard_limit"));
    assert!(limit("hard_limit") < i64::try_from(config.http.limits.connections).unwrap());
    let groups: Vec<_> = service["processes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(groups.iter().all(|group| fly["processes"].get(group).is_some()), "{groups:?}");
    let memory = fly["vm"].as_array_of_tables().unwrap().get(0).unwrap()["memory"].as_str().unwrap().to_owned();
    let memory: u64 = memory.strip_suffix("mb").unwrap().parse().unwrap();
    // Above this, Fly suspends no machine.
    assert!(service["auto_stop_machines"].as_str() != Some("suspend") || memory <= 2048);
    // The least that copies can have.
    assert!(memory * 3 / 8 >= 64);
}

#[tokio::test]
async fn the_check_asks_what_answers() {
    let fly = fly();
    let own = env(&fly);
    let variables: Vec<_> = own.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let pounce = Pounce::with(&variables).await;
    for check in fly["http_service"]["checks"].as_array_of_tables().unwrap() {
        assert_eq!(pounce.get(check["path"].as_str().unwrap()).await.status, 200);
    }
}

/// Commands of `fly`, and the flags that they are used with.
#[test]
fn the_documents_commands_are_flys() {
    let known = [
        "launch --no-deploy --copy-config",
        "storage create",
        "secrets set",
        "secrets unset",
        "deploy",
        "scale count --region --process-group",
        "logs",
        "machine list",
        "machine start",
        "config validate --strict",
    ];
    let lines: Vec<_> = blocks("shell").join("").lines().map(str::to_owned).collect();
    let commands: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("fly ")).collect();
    assert!(commands.len() > 8);
    for command in commands {
        let command = command.split(" #").next().unwrap().trim_end();
        let of = |known: &&str| {
            let words = known.split(" --").next().unwrap();
            command == words || command.starts_with(&format!("{words} "))
        };
        let known = known.iter().copied().find(of).unwrap_or_else(|| panic!("fly {command}"));
        for flag in command.split(' ').filter(|word| word.starts_with("--")) {
            assert!(known.split(' ').any(|word| word == flag), "fly {command}");
        }
    }
}

/// With the headers of Fly's proxy, from an address that `fly.toml` does not name.
#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_a_proxy_that_is_not_trusted_once_and_the_setting() {
    let fly = fly();
    let own: Vec<_> = env(&fly).into_iter().filter(|(name, _)| name.starts_with("REGISTRY_HTTP_")).collect();
    let variables: Vec<_> = own.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    let process = Process::start(&variables);
    let ask = async |name: &str, value: &str| {
        let request = reqwest::Client::new().get(process.url("/v2/")).header(name, value);
        assert_eq!(request.send().await.unwrap().status(), 200);
    };
    // A proxy on the client's side adds these; they say nothing of one in front of pounce.
    ask("x-forwarded-for", "192.0.2.7").await;
    ask("via", "1.1 squid").await;
    for _ in 0..3 {
        ask("fly-client-ip", "203.0.113.9").await;
        ask("fly-forwarded-proto", "https").await;
        ask("x-forwarded-proto", "https").await;
    }
    process.terminate();
    let (_, log) = process.end();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let warned: Vec<_> =
        lines.iter().filter(|line| line["message"].as_str().unwrap().contains("trustedproxies")).collect();
    let [line] = warned[..] else { panic!("{warned:?}") };
    assert_eq!(line["address"], "127.0.0.1");
    assert_eq!(line["setting"], "REGISTRY_HTTP_TRUSTEDPROXIES=172.16.0.0/12,127.0.0.1");
    // What the client claims is not in the line, and it says that it may be a client.
    assert!(!line.to_string().contains("203.0.113.9") && line.to_string().contains("clients can send such headers"));
    // And none of it is believed.
    let requests: Vec<_> = lines.iter().filter(|line| line["message"] == "request").collect();
    assert!(requests.len() == 11 && requests.iter().all(|line| line["client"] == "127.0.0.1"), "{requests:?}");
}
