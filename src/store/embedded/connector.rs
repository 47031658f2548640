//! How the SDK reaches a server in its own process: by calling it.
//!
//! `s3s-aws` has this too, beside a translation of every S3 operation that takes as long to compile as the SDK.

use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http::HeaderValue;
use http::header::HOST;
use s3s::service::S3Service;

/// A client whose every request goes to `service`.
pub(super) fn to(service: S3Service) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(Connector(service));
    http_client_fn(move |_, _| connector.clone())
}

#[derive(Debug)]
struct Connector(S3Service);

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let service = self.0.clone();
        HttpConnectorFuture::new(async move {
            let mut request = request.try_into_http1x().map_err(user)?;
            // The signature covers it, and only a connection would add it.
            if let Some(authority) = request.uri().authority() {
                let host = HeaderValue::from_str(authority.as_str()).map_err(user)?;
                request.headers_mut().entry(HOST).or_insert(host);
            }
            let answer = service.call(request.map(s3s::Body::http_body_unsync)).await;
            let answer = answer.map_err(|error| ConnectorError::other(error.into(), None))?;
            HttpResponse::try_from(answer.map(SdkBody::from_body_1_x)).map_err(user)
        })
    }
}

/// What the SDK made, or is given, is not HTTP: to try again is no use.
fn user(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ConnectorError {
    ConnectorError::user(error.into())
}
