//! What fills need of a bucket besides blobs: conditional writes whose refusal is told, reads of just one version,
//! objects made of others, and deletes by the thousand. Over the embedded server and over an S3 with rules of its own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use pounce::config::{Config, Environment};
use pounce::oci::{Algorithm, Digest, Slice};
use pounce::store::{
    ComposeSource, Composed, Condition, FillObject, Key, MAX_POLLED_BYTES, ObjectStream, PartSource, Polled, Store,
    StoreError, Swapped, UpstreamId,
};
use uuid::Uuid;

use crate::support::faults::{Fault, Faulty};
use crate::support::image::noise;
use crate::support::{FakeS3, Rule, borrowed};

const MIB: usize = 1 << 20;

async fn connect(variables: &[(&str, &str)]) -> Store {
    let environment: Environment = variables.iter().copied().collect();
    Store::connect(&Config::load(None, &environment).unwrap().config.storage).await.unwrap()
}

async fn over(s3: &FakeS3, more: &[(&'static str, &str)]) -> Store {
    let variables = s3.variables();
    connect(&[borrowed(&variables), more.to_vec()].concat()).await
}

/// Behind a proxy that injects faults.
async fn behind(front: &Faulty, s3: &FakeS3) -> Store {
    let mut variables = s3.variables();
    for (name, value) in &mut variables {
        if *name == "REGISTRY_STORAGE_S3_REGIONENDPOINT" {
            *value = format!("http://{}", front.addr);
        }
    }
    connect(&borrowed(&variables)).await
}

async fn over_folder(folder: &tempfile::TempDir) -> Store {
    let root = folder.path().to_str().unwrap();
    connect(&[("REGISTRY_STORAGE", "filesystem"), ("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root)]).await
}

/// A blob that is filled from one upstream.
struct Fill {
    digest: Digest,
    upstream: UpstreamId,
    generation: Uuid,
}

impl Fill {
    fn new() -> Self {
        let digest = Digest::of(Algorithm::Sha256, b"blob");
        Self { digest, upstream: UpstreamId::of_url("https://example.org"), generation: Uuid::from_u128(1) }
    }

    fn lease(&self) -> Key<'_> {
        Key::FillLease(&self.digest, self.upstream)
    }

    fn chunk(&self, offset: usize) -> Key<'_> {
        Key::FillChunk(&self.digest, self.upstream, &self.generation, offset as u64)
    }

    fn chunks(&self) -> Key<'_> {
        Key::FillChunks(&self.digest, self.upstream, &self.generation)
    }

    async fn put_chunk(&self, store: &Store, offset: usize, bytes: &Bytes) -> Option<String> {
        let (len, source) = (bytes.len() as u64, source(bytes));
        store.put_chunk(self.chunk(offset), len, source).await.unwrap()
    }
}

fn source(bytes: &Bytes) -> PartSource {
    let bytes = bytes.clone();
    Arc::new(move || stream::iter([Ok(bytes.clone())]).boxed())
}

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn swapped(store: &Store, key: Key<'_>, bytes: &'static str, condition: Condition<'_>) -> Swapped {
    store.swap(key, text(bytes), condition).await.unwrap()
}

fn etag(swapped: Swapped) -> String {
    match swapped {
        Swapped::Written(etag) => etag,
        other => panic!("{other:?}"),
    }
}

async fn content(found: Option<ObjectStream>) -> Option<Vec<u8>> {
    let bytes: Vec<Bytes> = found?.bytes.try_collect().await.unwrap();
    Some(bytes.concat())
}

async fn check_swaps(store: &Store) {
    let fill = Fill::new();
    let key = fill.lease();
    assert_eq!(store.poll(key, None).await.unwrap(), Polled::Absent);
    assert_eq!(swapped(store, key, "none", Condition::IfUnchanged("\"0\"")).await, Swapped::Unmet);
    let first = etag(swapped(store, key, "first", Condition::IfAbsent).await);
    assert_eq!(swapped(store, key, "again", Condition::IfAbsent).await, Swapped::Unmet);
    let second = etag(swapped(store, key, "second", Condition::IfUnchanged(&first)).await);
    assert_ne!(first, second);
    assert_eq!(swapped(store, key, "third", Condition::IfUnchanged(&first)).await, Swapped::Unmet);

    let Polled::Read(version, bytes) = store.poll(key, Some(&first)).await.unwrap() else { panic!() };
    assert_eq!((&version.etag, bytes), (&second, text("second")));
    // A folder in the same process has this machine's clock.
    assert!(version.modified.is_some() && version.date.is_some());
    let unchanged = store.poll(key, Some(&second)).await.unwrap();
    assert!(
        matches!(unchanged, Polled::Unchanged { date } if date.is_some() == version.date.is_some()),
        "{unchanged:?}"
    );
    let (listed, more) = store.objects(Key::Fill(&fill.digest, fill.upstream), None, 10).await.unwrap();
    assert_eq!((listed.len(), more), (1, false));
    assert_eq!(FillObject::parse(&listed[0].path), Some(FillObject::Lease));
    assert_eq!(listed[0].etag.as_deref(), Some(&second[..]));

    assert!(!store.delete_unchanged(key, Some(&first)).await.unwrap());
    assert!(store.delete_unchanged(key, Some(&second)).await.unwrap());
    assert_eq!(store.poll(key, Some(&second)).await.unwrap(), Polled::Absent);

    for (len, fits) in [(MAX_POLLED_BYTES, true), (MAX_POLLED_BYTES + 1, false)] {
        store.delete(key).await.unwrap();
        let written = store.swap(key, Bytes::from(vec![0; len]), Condition::IfAbsent).await.unwrap();
        let written = etag(written);
        match store.poll(key, None).await.unwrap() {
            Polled::Read(version, bytes) => assert!(fits && version.etag == written && bytes.len() == len),
            Polled::TooLarge(version) => assert!(!fits && version.etag == written),
            other => panic!("{other:?}"),
        }
    }
}

async fn check_chunks(store: &Store) {
    let fill = Fill::new();
    let bytes = [noise(1, 5 * MIB), noise(2, 5 * MIB), noise(3, 7)];
    let mut etags = Vec::new();
    for (index, bytes) in bytes.iter().enumerate() {
        etags.push(fill.put_chunk(store, index * 5 * MIB, bytes).await.unwrap());
    }
    assert_eq!(fill.put_chunk(store, 0, &bytes[1]).await, None);
    let slice = Slice { start: 2, end: 9 };
    for (slice, expected) in [(None, &bytes[0][..]), (Some(slice), &bytes[0][2..9])] {
        let found = store.stream_unchanged(fill.chunk(0), slice, &etags[0]).await.unwrap();
        assert_eq!(found.as_ref().and_then(|found| found.etag.clone()).as_ref(), Some(&etags[0]));
        assert_eq!(content(found).await.unwrap(), expected);
        let other = store.stream_unchanged(fill.chunk(0), slice, "\"0\"").await.unwrap();
        assert!(other.is_none());
    }

    let keys = [0, 5 * MIB, 10 * MIB].map(|offset| fill.chunk(offset));
    let sources = |etags: &'_ [String]| {
        let sources = keys.into_iter().zip(etags.to_vec()).zip(&bytes);
        sources.map(|((key, etag), bytes)| (key, etag, bytes.len() as u64)).collect::<Vec<_>>()
    };
    let compose = async |etags: &[String], upload| {
        let owned = sources(etags);
        let borrowed = owned.iter().map(|(key, etag, len)| ComposeSource { key: *key, etag, len: *len });
        store.compose(upload, &borrowed.collect::<Vec<_>>()).await.unwrap()
    };
    let blob = Key::Blob(&fill.digest);
    let upload = store.begin(blob).await.unwrap();
    let mut others = etags.clone();
    others[1].clone_from(&etags[0]);
    let outcome = compose(&others, &upload).await;
    assert!(matches!(outcome, Composed::SourceChanged(1)), "{outcome:?}");
    let Composed::Parts(parts) = compose(&etags, &upload).await else { panic!() };
    assert_eq!(parts.iter().map(|part| part.len).collect::<Vec<_>>(), [5 << 20, 5 << 20, 7]);
    upload.complete(parts).await.unwrap();
    let found = store.stream(blob, None).await.unwrap();
    assert!(content(found).await.unwrap() == bytes.concat());

    let upload = store.begin(blob).await.unwrap();
    store.delete(fill.chunk(10 * MIB)).await.unwrap();
    let outcome = compose(&etags, &upload).await;
    assert!(matches!(outcome, Composed::SourceMissing(2)), "{outcome:?}");
    upload.abort().await.unwrap();
    let outcome = compose(&etags[..2], &upload).await;
    assert!(matches!(outcome, Composed::Gone), "{outcome:?}");

    // One that is not there is fine.
    store.delete_all(&keys).await.unwrap();
    let (left, _) = store.objects(fill.chunks(), None, 10).await.unwrap();
    assert!(left.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn swaps_polls_and_chunks_over_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let store = over_folder(&folder).await;
    check_swaps(&store).await;
    check_chunks(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn swaps_polls_and_chunks_over_an_s3() {
    let s3 = FakeS3::start(&[Rule::EqualParts, Rule::NeedsContentLength]).await;
    let store = over(&s3, &[]).await;
    check_swaps(&store).await;
    check_chunks(&store).await;
}

/// A lease is read at the leader, and so are the sources of copies.
#[tokio::test]
async fn fills_ask_the_leader() {
    let s3 = FakeS3::start(&[Rule::Lags(Duration::from_hours(1))]).await;
    let store = over(&s3, &[("REGISTRY_STORAGE_S3_TIGRIS", "true")]).await;
    check_swaps(&store).await;
    let fill = Fill::new();
    let bytes = noise(1, 100);
    let etag = fill.put_chunk(&store, 0, &bytes).await.unwrap();
    let upload = store.begin(Key::Blob(&fill.digest)).await.unwrap();
    let sources = [ComposeSource { key: fill.chunk(0), etag: &etag, len: 100 }];
    let composed = store.compose(&upload, &sources).await.unwrap();
    assert!(matches!(composed, Composed::Parts(_)), "{composed:?}");
    for operation in ["PutObject", "GetObject", "UploadPartCopy", "DeleteObject"] {
        let seen = s3.seen(operation);
        assert!(!seen.is_empty(), "{operation}");
        assert!(seen.iter().all(|it| it.headers["x-tigris-consistent"] == "true"), "{operation}");
    }
}

#[tokio::test]
async fn a_swap_is_never_repeated_without_its_condition() {
    let s3 = FakeS3::start(&[Rule::NoConditions]).await;
    let store = over(&s3, &[]).await;
    let fill = Fill::new();
    assert_eq!(swapped(&store, fill.lease(), "lease", Condition::IfAbsent).await, Swapped::Unsupported);
    assert_eq!(swapped(&store, fill.lease(), "lease", Condition::IfUnchanged("\"0\"")).await, Swapped::Unsupported);
    assert_eq!(s3.take()["PutObject"], 2);
    assert_eq!(s3.keys(), [""; 0]);
    assert!(!store.keeps_conditions_of_writes().await);

    s3.rules(&[]);
    s3.on("PutObject", 9, |_| async {
        let text = "<Error><Code>ConditionalRequestConflict</Code></Error>";
        Some((409, Vec::new(), Bytes::from(text)))
    });
    assert_eq!(swapped(&store, fill.lease(), "lease", Condition::IfAbsent).await, Swapped::Unmet);
    s3.forget_hooks();
    s3.take();
    s3.on("PutObject", 9, |_| async { Some((503, Vec::new(), Bytes::new())) });
    let failed = store.swap(fill.lease(), text("lease"), Condition::IfAbsent).await;
    assert!(matches!(failed, Err(StoreError::Unavailable { .. })), "{failed:?}");
    assert_eq!(s3.take()["PutObject"], 2);
}

/// The second attempt meets the object of the first one: only reading it tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_looks_like_another_writer() {
    let s3 = FakeS3::start(&[]).await;
    let front = Faulty::before(s3.addr, 1).await;
    let store = behind(&front, &s3).await;
    let fill = Fill::new();
    front.inject_at(Fault::LostAnswer, "PutObject", 0);
    assert_eq!(swapped(&store, fill.lease(), "mine", Condition::IfAbsent).await, Swapped::Unmet);
    let found = store.poll(fill.lease(), None).await.unwrap();
    assert!(matches!(found, Polled::Read(_, bytes) if bytes == text("mine")));
}

/// Chunks are deleted within minutes: no storage class. Their conditions are sent where they are kept.
#[tokio::test]
async fn a_chunk_is_written_once_where_the_bucket_keeps_conditions() {
    for (rules, sends) in [(&[][..], true), (&[Rule::IgnoresConditions], false), (&[Rule::NoConditions], false)] {
        let s3 = FakeS3::start(rules).await;
        let store = over(&s3, &[("REGISTRY_STORAGE_S3_STORAGECLASS", "STANDARD_IA")]).await;
        let fill = Fill::new();
        assert_eq!(store.keeps_conditions_of_writes().await, sends);
        for seed in 0..2 {
            let written = fill.put_chunk(&store, 0, &noise(seed, 100)).await;
            assert_eq!(written.is_some(), seed == 0 || !sends, "{rules:?}");
        }
        let path = fill.chunk(0).to_string();
        let seen: Vec<_> = s3.seen("PutObject").into_iter().filter(|it| it.path.contains(&path)).collect();
        assert_eq!(seen.len(), 2);
        for request in seen {
            assert_eq!(request.headers.contains_key("if-none-match"), sends);
            assert!(!request.headers.contains_key("x-amz-storage-class"));
            assert_eq!(request.headers["content-length"], "100");
        }
    }
    // One that never finds the ETag that it names.
    let s3 = FakeS3::start(&[]).await;
    s3.on("PutObject", usize::MAX, |seen| async move {
        let refused = "<Error><Code>PreconditionFailed</Code></Error>";
        seen.headers.contains_key("if-match").then(|| (412, Vec::new(), refused.into()))
    });
    assert!(!over(&s3, &[]).await.keeps_conditions_of_writes().await);
    // A DELETE's conditions do not matter.
    let s3 = FakeS3::start(&[Rule::IgnoresConditionsOfDeletes]).await;
    let store = over(&s3, &[]).await;
    assert!(store.keeps_conditions_of_writes().await && !store.keeps_conditions().await);
}

/// The beginning of one object and the rest of another would be neither.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_not_continued_with_another_object() {
    let s3 = FakeS3::start(&[]).await;
    let front = Faulty::before(s3.addr, 1).await;
    let store = behind(&front, &s3).await;
    let fill = Fill::new();
    let bytes = noise(1, MIB);
    let etag = fill.put_chunk(&store, 0, &bytes).await.unwrap();
    for exchanged in [false, true] {
        front.inject_at(Fault::Cut, "GetObject", 0);
        let found = store.stream(fill.chunk(0), None).await.unwrap().unwrap();
        if exchanged {
            s3.put(&fill.chunk(0).to_string(), noise(2, MIB));
        }
        let read: Result<Vec<Bytes>, _> = found.bytes.try_collect().await;
        match read {
            Ok(read) => assert!(!exchanged && read.concat() == bytes),
            Err(_) => assert!(exchanged),
        }
    }
    let resumed: Vec<_> = s3.seen("GetObject").into_iter().filter(|it| it.headers.contains_key("range")).collect();
    assert_eq!(resumed.len(), 2);
    assert!(resumed.iter().all(|it| it.headers["if-match"] == etag));
}

#[tokio::test]
async fn a_bucket_without_copies_into_parts_is_asked_once() {
    let s3 = FakeS3::start(&[Rule::NoUploadPartCopy]).await;
    let store = over(&s3, &[]).await;
    let fill = Fill::new();
    let etag = fill.put_chunk(&store, 0, &noise(1, 100)).await.unwrap();
    let upload = store.begin(Key::Blob(&fill.digest)).await.unwrap();
    for _ in 0..2 {
        let sources = [ComposeSource { key: fill.chunk(0), etag: &etag, len: 100 }];
        let outcome = store.compose(&upload, &sources).await.unwrap();
        assert!(matches!(outcome, Composed::Unsupported), "{outcome:?}");
    }
    assert_eq!(s3.take()["UploadPartCopy"], 1);
}

#[tokio::test]
async fn a_thousand_objects_are_deleted_by_one_request() {
    for (rules, batches, singles) in [(&[][..], 2, 2), (&[Rule::NeedsContentMd5], 1, 2 * 1001)] {
        let s3 = FakeS3::start(rules).await;
        let store = over(&s3, &[]).await;
        let fill = Fill::new();
        let keys: Vec<_> = (0..1001).map(|offset| fill.chunk(offset)).collect();
        for by_list in [false, true] {
            for key in &keys {
                s3.put(&key.to_string(), "x");
            }
            s3.put(&fill.lease().to_string(), "lease");
            if by_list {
                assert_eq!(store.delete_directory(fill.chunks()).await.unwrap(), 1001);
            } else {
                store.delete_all(&keys).await.unwrap();
            }
            assert_eq!(s3.keys(), [fill.lease().to_string()]);
        }
        let calls = s3.take();
        assert_eq!((calls["DeleteObjects"], calls["DeleteObject"]), (batches, singles), "{rules:?}");
    }
}

/// The answer to a delete of several objects may be a 200 with errors.
#[tokio::test]
async fn an_object_that_is_not_deleted_is_told() {
    let s3 = FakeS3::start(&[]).await;
    let store = over(&s3, &[]).await;
    s3.on("DeleteObjects", 1, |_| async {
        let error = "<Error><Key>a</Key><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
        Some((200, Vec::new(), Bytes::from(format!("<DeleteResult>{error}</DeleteResult>"))))
    });
    let fill = Fill::new();
    let deleted = store.delete_all(&[fill.chunk(0), fill.chunk(1)]).await;
    assert!(matches!(deleted, Err(StoreError::Denied { .. })), "{deleted:?}");
}
