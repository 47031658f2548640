//! `pounce credential-provider`: kubelet's requests and the responses to them, as the documents of Kubernetes have them
//! (kubelet-credentialprovider.v1).

use serde_json::{Value, json};

use crate::check::run;

const ARGUMENTS: [&str; 3] = ["credential-provider", "--provider", "kubernetes"];

fn request(image: &str, token: &str) -> Value {
    json!({
        "kind": "CredentialProviderRequest",
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
        "image": image,
        "serviceAccountToken": token,
        "serviceAccountAnnotations": {"example.com/identity": "puller"},
    })
}

#[tokio::test]
async fn kubelet_gets_the_token_as_the_password_for_the_images_registry() {
    for (image, registry) in [
        ("registry.example.com/team/app:v1", "registry.example.com"),
        ("registry.example.com:5000/team/app@sha256:00", "registry.example.com:5000"),
        ("localhost/app", "localhost"),
    ] {
        let (status, said, errors) = run(&ARGUMENTS, &[], &request(image, "a.b.c").to_string()).await;
        assert_eq!((status, errors.as_str()), (0, ""), "{image}");
        let expected = json!({
            "kind": "CredentialProviderResponse",
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "cacheKeyType": "Registry",
            "cacheDuration": "0s",
            "auth": {registry: {"username": "kubernetes", "password": "a.b.c"}},
        });
        assert_eq!(serde_json::from_str::<Value>(&said).unwrap(), expected, "{image}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_an_error_without_the_token() {
    let changed = |key: &str, value: Value| {
        let mut request = request("registry.example.com/app", "s3cret");
        request[key] = value;
        request.to_string()
    };
    let cases = [
        (String::new(), "is no CredentialProviderRequest"),
        ("s3cret".to_owned(), "is no CredentialProviderRequest"),
        (changed("serviceAccountToken", json!(7)), "is no CredentialProviderRequest"),
        (changed("kind", json!("CredentialProviderResponse")), "is not a CredentialProviderRequest"),
        (changed("apiVersion", json!("credentialprovider.kubelet.k8s.io/v1alpha1")), "/v1"),
        (changed("serviceAccountToken", json!("")), "tokenAttributes.serviceAccountTokenAudience"),
        // Docker Hub must not get the token.
        (changed("image", json!("alpine:3")), "names no registry"),
        (changed("image", json!("library/alpine")), "names no registry"),
        (changed("image", json!("")), "names no registry"),
        (changed("filling", json!("x".repeat(1 << 20))), "at most 1 MiB"),
    ];
    for (input, why) in cases {
        let (status, said, errors) = run(&ARGUMENTS, &[], &input).await;
        assert_eq!((status, said.as_str()), (1, ""), "{errors}");
        assert!(errors.starts_with("pounce: ") && errors.contains(why), "{errors}");
        assert!(!errors.contains("s3cret"), "{errors}");
    }
    let (status, ..) = run(&ARGUMENTS[..1], &[], "").await;
    assert_eq!(status, 2);
}
