//! What the variables of OpenTelemetry say of traces.
//!
//! A wrong one never keeps pounce from serving, because a platform may set them for all its programs: pounce says what
//! is wrong, and goes on with the default, or without traces where there is none.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use opentelemetry_sdk::trace::Sampler;
use url::Url;

use super::variables::Variables;
use crate::config::Environment;

/// The most spans that may wait. One has about 2 KiB.
const MAX_QUEUE: usize = 1 << 16;

/// How traces are sent.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// The URL that spans are posted to.
    pub endpoint: Url,
    /// How long one request to it may take.
    pub timeout: Duration,
    pub(super) sampler: Sampler,
    /// How many spans may wait.
    pub(super) queue: usize,
    /// How many are sent in one request.
    pub(super) batch: usize,
    /// How often spans are sent.
    pub(super) delay: Duration,
    /// Contexts are taken from clients, and passed on to upstreams.
    pub(super) propagates: bool,
}

/// What the variables say: whether traces are sent, and what is wrong.
#[derive(Clone, Debug)]
pub struct Traces {
    /// `None`: there are no traces.
    pub settings: Option<TraceSettings>,
    /// What is wrong with the variables, and what pounce does instead: sentences that begin with a variable. No secret
    /// is in them.
    pub notices: Vec<String>,
}

impl Traces {
    /// Reads the variables. Without an endpoint, nothing is looked at.
    #[must_use]
    pub fn read(environment: &Environment) -> Self {
        let mut variables = Variables::new(environment);
        let settings = TraceSettings::read(&mut variables);
        Self { settings, notices: variables.notices }
    }
}

impl TraceSettings {
    fn read(variables: &mut Variables<'_>) -> Option<Self> {
        let (name, endpoint) = variables.of_exporter("ENDPOINT")?;
        if variables.flag("OTEL_SDK_DISABLED") || !is_exported(variables) || !speaks_protobuf(variables) {
            return None;
        }
        let endpoint = match url(&name, endpoint) {
            Ok(endpoint) => endpoint,
            Err(why) => {
                variables.note(&name, format_args!("{why}; no traces are sent"));
                return None;
            }
        };
        note_unsupported(variables);
        check_headers(variables);
        let timeout = variables.of_exporter("TIMEOUT").map(|(name, _)| name).unwrap_or_default();
        let queue = variables.number("OTEL_BSP_MAX_QUEUE_SIZE", &(1..=MAX_QUEUE), 2048);
        Some(Self {
            endpoint,
            timeout: Duration::from_millis(variables.number(&timeout, &(1..=60_000), 10_000)),
            sampler: sampler(variables),
            queue,
            batch: variables.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", &(1..=queue), queue.min(512)),
            delay: Duration::from_millis(variables.number("OTEL_BSP_SCHEDULE_DELAY", &(10..=600_000), 5000)),
            propagates: propagates(variables),
        })
    }

    /// Scheme, host and port of the endpoint.
    #[must_use]
    pub fn origin(&self) -> String {
        self.endpoint.origin().ascii_serialization()
    }
}

/// The URL for traces: that of traces as it is, or `v1/traces` below the one of all signals.
fn url(name: &str, value: &str) -> Result<Url, String> {
    let path = if name.contains("TRACES") { "" } else { "v1/traces" };
    let separator = if path.is_empty() || value.ends_with('/') { "" } else { "/" };
    // Not with its value, which may have a password.
    let url = Url::parse(&format!("{value}{separator}{path}")).map_err(|error| format!("it is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("its URL begins with neither http:// nor https://".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("its URL has a user; set OTEL_EXPORTER_OTLP_HEADERS instead".to_owned());
    }
    Ok(url)
}

fn is_exported(variables: &mut Variables<'_>) -> bool {
    const NAME: &str = "OTEL_TRACES_EXPORTER";
    match variables.get(NAME) {
        None | Some("otlp") => true,
        Some("none") => false,
        Some(other) => {
            variables.note(NAME, format_args!("{other:?} is not supported, only otlp and none; no traces are sent"));
            false
        }
    }
}

fn speaks_protobuf(variables: &mut Variables<'_>) -> bool {
    let Some((name, protocol)) = variables.of_exporter("PROTOCOL").filter(|(_, value)| *value != "http/protobuf")
    else {
        return true;
    };
    let what = "is not supported; no traces are sent; set it to http/protobuf, and the endpoint to the collector's \
                port for HTTP, which is usually 4318";
    variables.note(&name, format_args!("{protocol:?} {what}"));
    false
}

fn note_unsupported(variables: &mut Variables<'_>) {
    const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
    if let Some((name, value)) = variables.of_exporter("COMPRESSION").filter(|(_, value)| *value != "none") {
        variables.note(&name, format_args!("{value:?} is not supported; spans are sent uncompressed"));
    }
    for setting in ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"] {
        if let Some((name, _)) = variables.of_exporter(setting) {
            variables.note(&name, "it is not supported, and ignored; SSL_CERT_FILE names the CAs that are trusted");
        }
    }
    let given = variables.get(ATTRIBUTES).unwrap_or_default();
    if given.split_terminator(',').any(|pair| !pair.contains('=')) {
        variables.note(ATTRIBUTES, "it has an entry that is not name=value, and is ignored");
    }
}

/// The library leaves out what it cannot send.
fn check_headers(variables: &mut Variables<'_>) {
    let Some((name, headers)) = variables.of_exporter("HEADERS") else {
        return;
    };
    for (number, header) in (1..).zip(headers.split_terminator(',')) {
        let is_sent = header.split_once('=').is_some_and(|(name, value)| {
            let (name, value) = (name.trim(), value.trim());
            name.parse::<HeaderName>().is_ok() && !value.is_empty() && value.parse::<HeaderValue>().is_ok()
        });
        if !is_sent {
            // Not with its value, which may be a secret.
            variables.note(&name, format_args!("entry {number} is not name=value, and is not sent"));
        }
    }
}

fn sampler(variables: &mut Variables<'_>) -> Sampler {
    const NAME: &str = "OTEL_TRACES_SAMPLER";
    let default = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
    let Some(value) = variables.get(NAME) else {
        return default;
    };
    let root = match value.strip_prefix("parentbased_").unwrap_or(value) {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(variables.number("OTEL_TRACES_SAMPLER_ARG", &(0.0..=1.0), 1.0)),
        _ => {
            variables.note(NAME, format_args!("{value:?} is not supported; parentbased_always_on is used"));
            return default;
        }
    };
    if value.starts_with("parentbased_") { Sampler::ParentBased(Box::new(root)) } else { root }
}

fn propagates(variables: &mut Variables<'_>) -> bool {
    const NAME: &str = "OTEL_PROPAGATORS";
    let Some(value) = variables.get(NAME) else {
        return true;
    };
    let mut propagates = false;
    for propagator in value.split(',').map(str::trim) {
        match propagator {
            "tracecontext" => propagates = true,
            // pounce has no use for baggage, which the default of the standard names.
            "none" | "baggage" => {}
            other => variables.note(NAME, format_args!("{other:?} is not supported, only tracecontext")),
        }
    }
    propagates
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    fn read(variables: &[(&str, &str)]) -> Traces {
        Traces::read(&variables.iter().copied().collect())
    }

    #[test]
    fn there_are_no_traces_without_an_endpoint_or_where_they_are_turned_off() {
        let off: [&[(&str, &str)]; 4] = [
            &[("OTEL_TRACES_SAMPLER", "nonsense")],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")],
            &[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")],
            &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
        ];
        for variables in off {
            let traces = read(variables);
            assert!(traces.settings.is_none() && traces.notices.is_empty(), "{variables:?}");
        }
    }

    #[test]
    fn the_variable_of_traces_is_the_url_itself() {
        let endpoint = |variables: &[_]| String::from(read(variables).settings.unwrap().endpoint);
        assert_eq!(endpoint(&[ENDPOINT]), "http://collector:4318/v1/traces");
        assert_eq!(endpoint(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c/x/")]), "https://c/x/v1/traces");
        let of_traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://other:4318/put");
        assert_eq!(endpoint(&[ENDPOINT, of_traces]), "http://other:4318/put");
    }

    #[test]
    fn defaults_are_those_of_the_standard() {
        let TraceSettings { timeout, sampler, queue, batch, delay, propagates, .. } =
            read(&[ENDPOINT]).settings.unwrap();
        assert_eq!((timeout.as_millis(), queue, batch, delay.as_millis()), (10_000, 2048, 512, 5000));
        assert!(propagates);
        assert_eq!(format!("{sampler:?}"), "ParentBased(AlwaysOn)");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_variable_and_without_secrets() {
        let off = "no traces are sent";
        let cases = [
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", off),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", off),
            ("OTEL_TRACES_EXPORTER", "zipkin", off),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318", off),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:secret@collector", off),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://secret:secret", off),
            ("OTEL_SDK_DISABLED", "1", "counts as false"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b,Bearer secret", "entry 2"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "10000 is used"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0", "10000 is used"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "uncompressed"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem", "SSL_CERT_FILE"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c", "ignored"),
            ("OTEL_TRACES_SAMPLER", "xray", "parentbased_always_on is used"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "1000000000", "2048 is used"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0", "512 is used"),
            ("OTEL_BSP_SCHEDULE_DELAY", "-1", "5000 is used"),
            ("OTEL_PROPAGATORS", "tracecontext,b3", "\"b3\" is not supported"),
        ];
        for (name, value, said) in cases {
            let traces =
                read(&[(name, value)].into_iter().chain(Some(ENDPOINT).filter(|it| it.0 != name)).collect::<Vec<_>>());
            assert_eq!(traces.settings.is_none(), said == off, "{name}");
            let [notice] = &traces.notices[..] else { panic!("{name}: {:?}", traces.notices) };
            assert!(notice.starts_with(&format!("{name}: ")) && notice.contains(said), "{notice}");
            assert!(!notice.contains("secret"), "{notice}");
        }
    }

    #[test]
    fn samplers_have_their_argument() {
        let sampler = |name, argument| {
            let variables = [ENDPOINT, ("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", argument)];
            let traces = read(&variables);
            (format!("{:?}", traces.settings.unwrap().sampler), traces.notices.len())
        };
        assert_eq!(sampler("always_off", "x"), ("AlwaysOff".to_owned(), 0));
        assert_eq!(sampler("traceidratio", "0.25"), ("TraceIdRatioBased(0.25)".to_owned(), 0));
        let based = "ParentBased(TraceIdRatioBased(0.5))".to_owned();
        assert_eq!(sampler("parentbased_traceidratio", "0.5"), (based, 0));
        assert_eq!(sampler("traceidratio", "NaN"), ("TraceIdRatioBased(1.0)".to_owned(), 1));
    }
}
