//! How the SDK reaches a bucket where the environment names a proxy.
//!
//! Its default client reads `HTTPS_PROXY` and the like, and uses the proxy for everything that `NO_PROXY` does not
//! except. Here, addresses of this machine are excepted too: the S3 of another pounce, and the address at which a
//! container or an instance finds its credentials.

use aws_sdk_s3::config::SharedHttpClient;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use http::Uri;

use crate::config::is_local;

/// A client with these exceptions; `None` where no proxy is configured, so that the SDK's default client is used.
pub(super) fn client() -> Option<SharedHttpClient> {
    let names = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"];
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let any = names.iter().any(|name| is_set(name) || is_set(&name.to_ascii_lowercase()));
    any.then(|| {
        SharedHttpClient::new(Client { proxied: with(ProxyConfig::from_env()), direct: with(ProxyConfig::disabled()) })
    })
}

/// The SDK's default client, with this proxy.
fn with(proxy: ProxyConfig) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(RuntimeComponents::sleep_impl));
        connector.set_proxy_config(Some(proxy.clone()));
        connector.build()
    })
}

#[derive(Debug)]
struct Client {
    proxied: SharedHttpClient,
    direct: SharedHttpClient,
}

impl HttpClient for Client {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Either {
            proxied: self.proxied.http_connector(settings, components),
            direct: self.direct.http_connector(settings, components),
        })
    }
}

#[derive(Debug)]
struct Either {
    proxied: SharedHttpConnector,
    direct: SharedHttpConnector,
}

impl HttpConnector for Either {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let uri = request.uri().parse::<Uri>().ok();
        match uri.as_ref().and_then(Uri::host) {
            Some(host) if is_local(host) => self.direct.call(request),
            _ => self.proxied.call(request),
        }
    }
}
