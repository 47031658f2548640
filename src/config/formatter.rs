//! The format of the log where the configuration is refused: the line that says so should have it, too.

use std::path::Path;

use serde_json::Value;

use super::environment::Environment;
use super::load::MAX_FILE;
use super::log::LogFormatter;
use super::schema::Config;
use super::variables::PATH_VARIABLE;
use super::yaml;
use crate::bounded_file;

const VARIABLE: &str = "REGISTRY_LOG_FORMATTER";

impl Config {
    /// `log.formatter` of a configuration that may have mistakes elsewhere: of its variable, or else of the file.
    #[must_use]
    pub fn log_formatter(file: Option<&Path>, environment: &Environment) -> LogFormatter {
        if let Some(text) = environment.get(VARIABLE) {
            return parse(text).unwrap_or_default();
        }
        let path = file.or_else(|| environment.get(PATH_VARIABLE).map(Path::new));
        let text = path.and_then(|path| bounded_file::read_text(path, MAX_FILE).ok());
        text.and_then(|text| of_text(&text)).unwrap_or_default()
    }
}

/// The formatter that a file names; of one that is not YAML, as far as its section `log` is.
fn of_text(text: &str) -> Option<LogFormatter> {
    let read = |text: &str| yaml::parse("", text, &mut Vec::new()).ok();
    let document = read(text).or_else(|| {
        let mut lines = text.lines().skip_while(|line| !line.starts_with("log:"));
        let first = lines.next()?;
        let rest = lines.take_while(|line| line.is_empty() || line.starts_with([' ', '\t', '#']));
        read(&std::iter::once(first).chain(rest).collect::<Vec<_>>().join("\n"))
    })?;
    parse(document["log"]["formatter"].as_str()?)
}

fn parse(text: &str) -> Option<LogFormatter> {
    serde_json::from_value(Value::String(text.to_owned())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_elsewhere_does_not_hide_the_formatter() {
        let json = Some(LogFormatter::Json);
        assert_eq!(of_text("log:\n  formatter: json\nnothing: {}\n"), json);
        assert_eq!(of_text("http: [\nlog:\n\n  # for Loki\n  formatter: logstash\nproxy: ]\n"), json);
        assert_eq!(of_text("http: [\n"), None);
        assert_eq!(of_text("log:\n  level: info\n"), None);
    }

    #[test]
    fn the_variable_wins_over_the_file() {
        let environment: Environment = [(VARIABLE, "json")].into_iter().collect();
        assert_eq!(Config::log_formatter(Some(Path::new("/nowhere")), &environment), LogFormatter::Json);
        assert_eq!(Config::log_formatter(Some(Path::new("/nowhere")), &Environment::default()), LogFormatter::Text);
    }
}
