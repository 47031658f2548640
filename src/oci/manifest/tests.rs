use super::*;

fn manifest(json: &'static str) -> Manifest {
    Manifest::new(Bytes::from_static(json.as_bytes()), None, None).unwrap()
}

#[test]
fn the_declared_type_wins_and_the_bytes_tell_otherwise() {
    let bytes = Bytes::from_static(br#"{"schemaVersion":2,"manifests":[]}"#);
    let declared = Some(MediaType::DOCKER_LIST);
    let vague = Some("application/json".parse().unwrap());
    let kind = |declared| Manifest::new(bytes.clone(), declared, None).unwrap().media_type().clone();
    assert_eq!(kind(declared), MediaType::DOCKER_LIST);
    assert_eq!(kind(vague), MediaType::OCI_INDEX);
    assert_eq!(kind(None), MediaType::OCI_INDEX);
    assert_eq!(*manifest(r#"{"schemaVersion":1}"#).media_type(), MediaType::DOCKER_SCHEMA1);
    assert_eq!(*manifest(r#"{"mediaType":"a/b"}"#).media_type().as_str(), *"a/b");
}

#[test]
fn a_type_that_is_no_manifests_gives_way_to_the_manifests_own() {
    let kind = |declared: &str, json: &'static str| {
        let declared = declared.parse().ok();
        let manifest = Manifest::new(json.into(), declared, None).unwrap();
        manifest.media_type().clone()
    };
    let (docker, layers) = (
        r#"{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","layers":[]}"#,
        r#"{"schemaVersion":2,"layers":[]}"#,
    );
    for odd in ["", "text/plain", "text/html", "image/png", "application/x-tar"] {
        assert_eq!(kind(odd, docker), MediaType::DOCKER_MANIFEST, "{odd}");
        assert_eq!(kind(odd, layers), MediaType::OCI_MANIFEST, "{odd}");
    }
    let vendors = "application/vnd.example.thing.v1+json";
    assert_eq!(kind(vendors, layers).as_str(), vendors);
    assert_eq!(kind("a/b", "{}").as_str(), "a/b");
}

#[test]
fn a_digest_that_leaves_out_signatures_is_told_from_a_wrong_one() {
    let expected = Some(Digest::of(Algorithm::Sha256, b"payload"));
    let asked = |json: &'static str| Manifest::new(json.into(), None, expected).unwrap_err();
    assert_eq!(asked(r#"{"schemaVersion":1,"signatures":[]}"#), ManifestError::Schema1);
    let other = asked(r#"{"schemaVersion":2}"#);
    assert!(matches!(other, ManifestError::Digest { .. }));
}

#[test]
fn other_bytes_than_asked_for_are_refused() {
    let expected = Digest::of(Algorithm::Sha512, b"{}");
    assert_eq!(Manifest::new("{}".into(), None, Some(expected)).unwrap().digest(), expected);
    let error = Manifest::new("{ }".into(), None, Some(expected)).unwrap_err();
    assert!(matches!(error, ManifestError::Digest { .. }));
    assert_eq!(Manifest::new("<html>".into(), None, None).unwrap_err(), ManifestError::NotJson);
    let large = Bytes::from(vec![b' '; MAX_MANIFEST_BYTES + 1]);
    assert!(matches!(Manifest::new(large, None, None).unwrap_err(), ManifestError::TooLarge(_)));
}

#[test]
fn links_are_config_and_layers_without_the_foreign_ones() {
    let text = r#"{"config":{"mediaType":"a/c","digest":"DIGEST","size":1},"layers":[
        {"mediaType":"a/l","digest":"DIGEST","size":2},
        {"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"DIGEST","size":3}]}"#;
    let text = text.replace("DIGEST", &Digest::of(Algorithm::Sha256, b"").to_string());
    let links = Manifest::new(text.into(), None, None).unwrap().links();
    let sizes: Vec<_> = links.blobs.iter().map(Descriptor::size).collect();
    assert_eq!((sizes, links.manifests.len()), (vec![1, 2], 0));
}

#[test]
fn fields_of_unexpected_form_count_as_absent() {
    let links = manifest(r#"{"config":7,"layers":[{"digest":"sha256:.."}],"manifests":"x"}"#).links();
    assert_eq!(links, Links::default());
}

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn push(text: &str, declared: Option<MediaType>) -> Result<Manifest, String> {
    let text = text.replace("EMPTY", &format!(r#"{{"mediaType":"a/b","digest":"{DIGEST}","size":0}}"#));
    Manifest::pushed(&Bytes::from(text), declared, None).map_err(|error| error.to_string())
}

#[test]
fn manifests_of_the_field_are_taken() {
    let image = r#"{"schemaVersion":2,"config":EMPTY,"layers":[EMPTY],"x":[[[1]]]}"#;
    for media_type in [MediaType::OCI_MANIFEST, MediaType::DOCKER_MANIFEST] {
        let manifest = push(image, Some(media_type.clone())).unwrap();
        assert_eq!(*manifest.media_type(), media_type);
    }
    assert!(push(r#"{"schemaVersion":2,"config":EMPTY,"layers":null}"#, None).is_ok());
    let index = r#"{"schemaVersion":2,"manifests":[],"subject":EMPTY}"#;
    assert_eq!(*push(index, None).unwrap().media_type(), MediaType::OCI_INDEX);
}

#[test]
fn everything_else_is_refused_with_a_reason() {
    let image = Some(MediaType::OCI_MANIFEST);
    let deep = |levels| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"schemaVersion":2,"config":EMPTY,"x":"[\"{{","y":{open}1{close}}}"#)
    };
    assert!(push(&deep(63), None).is_ok());
    let deep = deep(64);
    let cases = [
        ("", image.clone(), "EOF while parsing"),
        ("[]", image.clone(), "invalid length"),
        ("[2,null,null,null,null,null,null,null,null]", image.clone(), "not a JSON object"),
        ("{}", image.clone(), "schemaVersion"),
        (r#"{"schemaVersion":2,"config":["a/b","DIGEST",0]}"#, image.clone(), "expected"),
        (r#"{"schemaVersion":2,"config":EMPTY,"Config":EMPTY}"#, image.clone(), "Config is written"),
        (r#"{"schemaVersion":2}"#, Some(MediaType::OCI_INDEX), "manifests is missing"),
        (r#"{"schemaVersion":1,"config":EMPTY}"#, image.clone(), "must be 2"),
        (r#"{"schemaVersion":2}"#, image.clone(), "config is missing"),
        (r#"{"schemaVersion":2,"config":EMPTY,"layers":[1]}"#, image.clone(), "invalid type"),
        (
            r#"{"schemaVersion":2,"config":EMPTY,"layers":[{"mediaType":"a/b","digest":"sha256:1","size":1}]}"#,
            image.clone(),
            "lower-case hex",
        ),
        (r#"{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"x","size":-1}}"#, image.clone(), "digest"),
        (r#"{"schemaVersion":2,"config":EMPTY,"config":EMPTY}"#, image.clone(), "duplicate"),
        (r#"{"schemaVersion":2,"config":EMPTY,"manifests":[]}"#, image.clone(), "no manifests"),
        (r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#, Some(MediaType::OCI_INDEX), "neither"),
        (
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","config":EMPTY}"#,
            image.clone(),
            "Content-Type",
        ),
        (r#"{"schemaVersion":2,"config":EMPTY}"#, "a/b".parse().ok(), "not a type of manifest"),
        (deep.as_str(), image, "64 levels"),
    ];
    for (text, declared, why) in cases {
        let error = push(text, declared).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
    let bytes = Bytes::from_static(b"{\"schemaVersion\":2,\"x\":\"\xff\"}");
    assert_eq!(Manifest::pushed(&bytes, None, None).unwrap_err(), ManifestError::NotUtf8);
}
