//! Reading a page of metrics.

/// The sum of a metric over its labels.
pub fn metric(page: &str, name: &str) -> u64 {
    let prefix = format!("pounce_{name}");
    let values = page.lines().filter(|line| {
        line.strip_prefix(&prefix).is_some_and(|rest| rest.starts_with([' ', '{']) || rest.starts_with("_total"))
    });
    values.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}
