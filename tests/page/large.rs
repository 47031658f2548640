//! Ten thousand repositories, and ten thousand tags: what a view asks of the bucket.

use super::{document, view};
use crate::support::{FakeS3, Image, Pounce, Rule, borrowed};

const REPOSITORIES: &str = "docker/registry/v2/repositories";

/// Ten thousand repositories with some keys each; one of them has a hundred times as many.
fn fill(s3: &FakeS3) {
    for number in 0..10_000 {
        let name = format!("team-{}/app-{number:04}", number % 7);
        let image = Image::new(number, &[]);
        let hex = image.digest().replace("sha256:", "");
        let repository = format!("{REPOSITORIES}/{name}/_manifests");
        s3.put(&format!("{repository}/revisions/sha256/{hex}/link"), image.digest());
        s3.put(&format!("{repository}/tags/v1/current/link"), image.digest());
    }
    for number in 0..5000 {
        s3.put(&format!("{REPOSITORIES}/team-0/app-0000/_layers/sha256/{number:064x}/link"), "x");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_view_of_ten_thousand_repositories_is_no_walk() {
    let s3 = FakeS3::start(&[]).await;
    fill(&s3);
    let pounce = Pounce::with(&borrowed(&s3.variables())).await;
    s3.take();
    let overview = document(&pounce, "/").await;
    let calls = s3.take();
    // Ten for the names, one for the tags of each that is shown, and one for the notes of pulls.
    assert_eq!(calls["ListObjectsV2"], 10 + 50 + 1, "{calls:?}");
    assert!(calls.values().sum::<usize>() <= 65, "{calls:?}");
    assert_eq!(overview.matches("class=\"row\"").count(), 50);
    // The next page comes from memory, but for its tags, unless this machine is so slow that the names are listed anew.
    let next = "/?last=team-0%2Fapp-0343";
    assert!(overview.contains(&format!("href=\"{next}\" rel=\"next\"")), "{overview}");
    let second = document(&pounce, next).await;
    let calls = s3.take().values().sum::<usize>();
    assert!((50..=50 + 15).contains(&calls), "{calls}");
    assert!(second.contains("team-0/app-0350\"") && !second.contains("team-0/app-0343\""));
    let found = document(&pounce, "/?q=APP-9999").await;
    assert!(found.contains("team-3/app-9999\"") && found.contains("1 match<"), "{found}");
    assert!(s3.take().values().sum::<usize>() <= 1 + 15);
    assert!(document(&pounce, "/?q=nothing").await.contains("No repository has this"));
    assert!(document(&pounce, "/?last=zzz").await.contains("no further repositories"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_knows_no_delimiter_of_two_characters_is_listed_by_keys() {
    for rule in [Rule::NoDelimiter, Rule::IgnoresDelimiter] {
        let s3 = FakeS3::start(&[]).await;
        fill(&s3);
        let pounce = Pounce::with(&borrowed(&s3.variables())).await;
        s3.rules(&[rule]);
        s3.take();
        let overview = document(&pounce, "/?q=app-9999").await;
        assert!(overview.contains("team-3/app-9999\""), "{rule:?}: {overview}");
        let calls = s3.take();
        // Two keys for each repository, a thousand a request; the layers of the large one are skipped.
        assert!(calls["ListObjectsV2"] <= 30, "{rule:?}: {calls:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_view_of_ten_thousand_tags_reads_fifty() {
    let s3 = FakeS3::start(&[]).await;
    let pounce = Pounce::with(&borrowed(&s3.variables())).await;
    let image = Image::new(1, &[100]);
    pounce.push_image("big", "zz", &image).await;
    for number in 0..10_000 {
        let tag = format!("{REPOSITORIES}/big/_manifests/tags/t{number:05}");
        let hex = image.digest().replace("sha256:", "");
        s3.put(&format!("{tag}/current/link"), image.digest());
        s3.put(&format!("{tag}/index/sha256/{hex}/link"), image.digest());
    }
    s3.take();
    let first = document(&pounce, "/-/repositories/big").await;
    let calls = s3.take();
    assert_eq!(first.matches("class=\"row\"").count(), 50);
    // Its names, and the notes of pulls; each tag, and the one image's configuration.
    assert_eq!(calls["ListObjectsV2"], 2, "{calls:?}");
    assert!(calls.values().sum::<usize>() <= 50 * 3 + 10, "{calls:?}");
    assert!(first.contains("href=\"/-/repositories/big?last=t00049\" rel=\"next\""), "{first}");
    let second = document(&pounce, "/-/repositories/big?last=t00049").await;
    assert!(second.contains("/-/t00050\"") && !second.contains("/-/t00049\""));
    s3.take();
    let found = document(&pounce, "/-/repositories/big?tag=t0999").await;
    assert_eq!(found.matches("class=\"row\"").count(), 10);
    assert_eq!(s3.take()["ListObjectsV2"], 11);
    let found = document(&pounce, "/-/repositories/big?tag=t09").await;
    assert!(found.contains("href=\"/-/repositories/big?tag=t09&amp;last=t09049\" rel=\"next\""), "{found}");
    assert_eq!(view(&pounce, "/-/repositories/big/-/zz").await.status, 200);
}
