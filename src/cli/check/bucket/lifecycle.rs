//! Lifecycle rules that make objects unreadable.

use super::probe::Probe;
use crate::cli::check::report::Report;
use crate::store::{ArchiveRule, Lifecycle};

pub(super) async fn check(probe: &Probe<'_>, report: &mut Report) {
    let name = "lifecycle";
    match probe.store.lifecycle().await {
        Ok(Lifecycle::Harmless) => report.passed(name, "no rule moves objects out of reach"),
        Ok(Lifecycle::Unknown(why)) => {
            report.passed(name, &format!("not tried: the bucket does not tell ({why})"));
        }
        Ok(Lifecycle::Archives(freezes)) => {
            for ArchiveRule { rule, class } in freezes {
                let why = format!(
                    "the rule {rule:?} moves pounce's objects to {class}, where a GET refuses them, so that images that \
                     are old enough cannot be pulled"
                );
                let next = "let the rule exclude pounce's prefix, or move them to GLACIER_IR";
                report.failed(name, "storage.s3.rootdirectory", &why, next);
            }
        }
        Err(error) => probe.failed(report, name, &error, ""),
    }
}
