//! `pounce check --for distribution`: what distribution does not start with. `tests/interop/switching.sh` holds the same
//! against distribution itself.

use tempfile::TempDir;

use crate::check::run;
use crate::mistakes::Case;

/// The exit status and the output, with this file and these variables.
async fn checked(yaml: &str, variables: &[(&str, &str)]) -> (i32, String) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("config.yml");
    std::fs::write(&file, yaml).unwrap();
    let arguments = ["check", "--for", "distribution", file.to_str().unwrap()];
    let (status, said, errors) = run(&arguments, variables, "").await;
    assert_eq!(errors, "");
    (status, said)
}

#[tokio::test]
async fn a_configuration_of_distribution_passes() {
    let yaml = "version: 0.1\nstorage: {filesystem: {rootdirectory: /d}, delete: {enabled: true}, redirect: {disable: true}}\n\
                http: {addr: ':5000', headers: {X-Content-Type-Options: [nosniff]}}\n\
                auth: {htpasswd: {realm: r, path: /p}}";
    let (status, said) = checked(yaml, &[("REGISTRY_PROXY_TAGTTL", "1m")]).await;
    assert_eq!(status, 0, "{said}");
    assert!(said.contains("passes these over: REGISTRY_PROXY_TAGTTL"), "{said}");
}

#[tokio::test]
async fn each_mistake_is_one_line_that_says_what_to_remove() {
    let storage = "version: 0.1\nstorage: {filesystem: {rootdirectory: /d}";
    let cases: [Case; 14] = [
        ("storage: {filesystem: {rootdirectory: /d}}", &[], "version: "),
        ("version: 0.1", &[], "storage: "),
        (&format!("{storage}, redirect: {{expiry: 1h}}}}"), &[], "storage.redirect: "),
        (&format!("{storage}, redirect: {{disable: null}}}}"), &[], "storage.redirect: "),
        (&format!("{storage}}}"), &[("REGISTRY_STORAGE_REDIRECT_EXPIRY", "1h")], "REGISTRY_STORAGE_REDIRECT_EXPIRY: "),
        (
            &format!("{storage}, maintenance: {{uploadpurging: {{age: 8h}}}}}}"),
            &[],
            "storage.maintenance.uploadpurging: ",
        ),
        (
            &format!("{storage}}}"),
            &[("REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED", "true")],
            "REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED: ",
        ),
        (&format!("{storage}}}\nauth: {{anonymous: [pull]}}"), &[], "auth.anonymous: "),
        (&format!("{storage}}}\nauth: {{htpasswd: {{realm: r, path: /p}}, anonymous: null}}"), &[], "auth.anonymous: "),
        (&format!("{storage}}}\nauth: {{htpasswd: {{path: /p}}}}"), &[], "auth.htpasswd.realm: "),
        (&format!("{storage}}}"), &[("REGISTRY_AUTH_FILE", "/x")], "REGISTRY_AUTH_FILE: "),
        (&format!("{storage}}}"), &[("REGISTRY_HTTP_HEADERS_A", "b")], "REGISTRY_HTTP_HEADERS_A: "),
        (&format!("{storage}}}"), &[("REGISTRY_STORAGE_S3_TIGRIS", "true")], "REGISTRY_STORAGE_S3_TIGRIS: "),
        (
            "version: 0.1",
            &[("BUCKET_NAME", "b"), ("REGISTRY_STORAGE_S3_REGION", "auto")],
            "BUCKET_NAME: distribution does not read it. Next: set REGISTRY_STORAGE_S3_BUCKET=b",
        ),
    ];
    for (yaml, variables, line) in cases {
        let (status, said) = checked(yaml, variables).await;
        assert_eq!(status, 2, "{yaml} {variables:?}: {said}");
        let failures: Vec<_> = said.lines().filter(|it| it.starts_with("failed ")).collect();
        assert_eq!(failures.len(), 1, "{yaml} {variables:?}: {said}");
        assert!(failures[0].starts_with(&format!("failed distribution: {line}")), "{said}");
        assert!(failures[0].contains(". Next: "), "{said}");
    }
}

/// The variable replaces the whole section of the file there.
#[tokio::test]
async fn the_files_section_does_not_count_beside_a_driver_in_a_variable() {
    let yaml = "version: 0.1\nstorage: {filesystem: {rootdirectory: /d}, redirect: {expiry: 1h}}";
    let variables = [("REGISTRY_STORAGE", "filesystem"), ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "/d")];
    let (status, said) = checked(yaml, &variables).await;
    assert_eq!(status, 0, "{said}");
}

#[tokio::test]
async fn no_secret_is_shown() {
    let yaml = "version: 0.1\nstorage: {s3: {bucket: b, region: auto, accesskey: AKIA, secretkey: hunter2}}\n\
                auth: {htpasswd: {users: 'a:$2b$04$hunter2'}}\nhttp: {secret: hunter2}";
    let (status, said) = checked(yaml, &[]).await;
    assert!(status == 2 && !said.contains("hunter2"), "{said}");
}
