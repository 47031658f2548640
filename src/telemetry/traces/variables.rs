//! The variables of OpenTelemetry, with what is wrong with them.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::config::Environment;

/// Reads variables, and collects notices: sentences that begin with the variable.
#[derive(Debug)]
pub(super) struct Variables<'a> {
    environment: &'a Environment,
    pub(super) notices: Vec<String>,
}

impl<'a> Variables<'a> {
    pub(super) const fn new(environment: &'a Environment) -> Self {
        Self { environment, notices: Vec::new() }
    }

    /// The value without spaces around it; an empty one counts as unset.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.environment.get(name).map(str::trim).filter(|value| !value.is_empty())
    }

    /// The variable of traces, or else the one of all signals: its name and its value.
    pub(super) fn of_exporter(&self, setting: &str) -> Option<(String, &'a str)> {
        let names = [format!("OTEL_EXPORTER_OTLP_TRACES_{setting}"), format!("OTEL_EXPORTER_OTLP_{setting}")];
        names.into_iter().find_map(|name| self.get(&name).map(|value| (name, value)))
    }

    pub(super) fn note(&mut self, name: &str, what: impl Display) {
        self.notices.push(format!("{name}: {what}"));
    }

    /// A boolean, which is false unless it is `true`.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        match self.get(name) {
            Some(value) if value.eq_ignore_ascii_case("true") => true,
            Some(value) if !value.eq_ignore_ascii_case("false") => {
                self.note(name, format_args!("{value:?} is neither true nor false, and counts as false"));
                false
            }
            _ => false,
        }
    }

    /// A number in this range, or else the default.
    pub(super) fn number<T>(&mut self, name: &str, range: &RangeInclusive<T>, default: T) -> T
    where
        T: FromStr + PartialOrd + Display,
    {
        let Some(value) = self.get(name) else {
            return default;
        };
        match value.parse() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                let (least, most) = (range.start(), range.end());
                self.note(name, format_args!("{value:?} is no number from {least} to {most}; {default} is used"));
                default
            }
        }
    }
}
