//! Whether objects stay where they can be read.

use super::Trial;
use crate::cli::check::report::Report;
use crate::store::{Freeze, Lifecycle};

impl Trial<'_> {
    pub(super) async fn lifecycle(&self, report: &mut Report) {
        let name = "lifecycle";
        match self.store.lifecycle().await {
            Ok(Lifecycle::Harmless) => report.right(name, "no rule moves objects out of reach"),
            Ok(Lifecycle::Untold(why)) => {
                report.right(name, &format!("not tried: the bucket does not tell ({why})"));
            }
            Ok(Lifecycle::Freezes(freezes)) => {
                for Freeze { rule, class } in freezes {
                    let why = format!("the rule {rule:?} moves pounce's objects to {class}");
                    let lost = "a GET refuses them then, so images that are old enough cannot be pulled; exclude \
                                pounce's prefix, or move them to GLACIER_IR";
                    report.wrong(name, &why, lost);
                }
            }
            Err(error) => self.failed(report, name, &error, ""),
        }
    }
}
