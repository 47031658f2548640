//! Logins with keys of the bucket: `auth.bucketkeys`. pounce's own keys are tried as a client's are.

use super::probe::Probe;
use crate::cli::check::report::Report;
use crate::store::{KeyRights, StoreError};

const NAME: &str = "keys as logins";
const SETTING: &str = "auth.bucketkeys";

pub(super) async fn check(probe: &Probe<'_>, report: &mut Report) {
    let tried = async {
        probe.store.prepare_logins().await?;
        let rights = probe.store.rights_of(None).await?;
        Ok::<_, StoreError>((rights, probe.store.takes_any_keys().await?))
    };
    match tried.await {
        Ok((_, true)) => {
            let why = "the bucket takes keys that were made up, so that every client could log in";
            report.failed(
                NAME,
                SETTING,
                why,
                "set it to false, or let clients' signatures reach the bucket as they are",
            );
        }
        Ok((KeyRights::Read { write: true, delete: true }, false)) => {
            let found =
                "the bucket says what keys may do: pull, push and delete, for pounce's own; made-up ones are refused";
            report.passed(NAME, found);
        }
        Ok((rights, false)) => {
            let lacks = match rights {
                KeyRights::Unknown | KeyRights::Unreadable => "read",
                KeyRights::Read { write: false, .. } => "write",
                KeyRights::Read { .. } => "delete",
            };
            let why = format!("by the same requests, pounce's own keys may not {lacks}, so that no keys may");
            let next = "if pounce's keys may, set it to false, because the bucket does not tell what keys may do";
            report.warned(NAME, SETTING, &why, next);
        }
        Err(error) => probe.failed(report, NAME, &error, "no client can log in with keys of the bucket"),
    }
}
