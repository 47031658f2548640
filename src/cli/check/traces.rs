//! Checks where traces go. A request without spans shows whether the collector takes them.

use super::report::Report;
use crate::cli::traces;
use crate::config::Environment;
use crate::telemetry::{self, Traces};

/// Without a collector there is nothing to say.
pub(super) async fn check(environment: &Environment) -> Report {
    const NAME: &str = "traces";
    let mut report = Report::default();
    let Traces { settings, notices } = Traces::read(environment);
    for notice in &notices {
        // A notice begins with the variable.
        let variable = notice.split(':').next().unwrap_or_default();
        report.warned(NAME, variable, notice, "correct it, or take it out");
    }
    let Some(settings) = settings else {
        return report;
    };
    let collector = settings.origin();
    let tried = match traces::post(&settings) {
        Ok(post) => telemetry::try_collector(&settings, post).await,
        Err(cause) => Err(cause),
    };
    match tried {
        Ok(()) => report.passed(NAME, &format!("they go to {collector}, which takes them")),
        Err(cause) => {
            let why = format!("{collector} does not take a request without spans: {cause}");
            let next =
                "look at the URL, the headers, the collector, and the network between: until then, traces are lost";
            report.warned(NAME, "OTEL_EXPORTER_OTLP_ENDPOINT", &why, next);
        }
    }
    report
}
