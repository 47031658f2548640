//! `--help`: the defaults that it tells are the defaults.

use crate::check::run;
use crate::mistakes::load;

#[tokio::test]
async fn the_defaults_of_serve_are_the_defaults() {
    let (status, help, _) = run(&["serve", "--help"], &[], "").await;
    assert_eq!(status, 0);
    let settings = help.split("defaults and ranges").nth(1).unwrap().split("\n\n").next().unwrap();
    let told: Vec<_> = settings.lines().skip(1).map(|line| line.trim().split_once("  ").unwrap()).collect();
    assert!(told.len() >= 5, "{help}");
    let variables = told.iter().map(|(setting, value)| {
        let name = format!("REGISTRY_{}", setting.to_uppercase().replace('.', "_"));
        (name, value.trim().split(';').next().unwrap())
    });
    let variables: Vec<_> = variables.collect();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (&name[..], *value)).collect();
    let values = |variables: &[(&str, &str)]| {
        let loaded = load("", variables).unwrap();
        assert!(loaded.notices.is_empty(), "{:?}", loaded.notices);
        loaded.settings().into_iter().map(|(setting, value, _)| (setting, value)).collect::<Vec<_>>()
    };
    assert_eq!(values(&variables), values(&[]));
}

#[tokio::test]
async fn every_command_has_an_example_or_says_its_arguments() {
    for command in ["serve", "warm", "check", "ls", "du", "gc"] {
        let (status, help, _) = run(&[command, "--help"], &[], "").await;
        assert_eq!(status, 0);
        assert!(help.contains(&format!("Examples:\n  pounce {command}")), "{help}");
        assert!(help.contains("Exit status: "), "{help}");
        let ours = help.split("Examples:").nth(1).unwrap();
        let longest = ours.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= 120, "{longest}: {help}");
    }
}
