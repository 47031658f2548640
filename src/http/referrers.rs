//! `/v2/<name>/referrers/<digest>` (end-12)

use axum::http::header::{self, HeaderName, HeaderValue};

use super::{Answer, AppState, headers};
use crate::oci::{Digest, Error, MediaType, RepositoryName};

const FILTERS: HeaderName = HeaderName::from_static("oci-filters-applied");

pub(super) async fn list(
    app: &AppState,
    name: &RepositoryName,
    subject: &Digest,
    artifact_type: Option<&str>,
    last: Option<&Digest>,
) -> Result<Answer, Error> {
    let page = app.registry.referrers.list(name, subject, artifact_type, last).await?;
    let mut response = headers::serialized(&page.list);
    let fields = response.headers_mut();
    let index = headers::value(MediaType::OCI_INDEX.as_str());
    fields.insert(header::CONTENT_TYPE, index);
    if artifact_type.is_some() {
        fields.insert(FILTERS, HeaderValue::from_static("artifactType"));
    }
    headers::warn_of_list(fields, "referrers", page.stale);
    if let Some(next) = page.next {
        let (path, last) = (format!("{}/v2/{name}/referrers/{subject}", app.prefix), next.to_string());
        let mut query = vec![("last", last.as_str())];
        query.extend(artifact_type.map(|text| ("artifactType", text)));
        fields.insert(header::LINK, headers::next_page(&path, &query));
    }
    Ok(response.into())
}
