//! `Content-Length: 0` on requests without a body.
//!
//! Neither the SDK nor hyper writes it, and HTTP does not require it (RFC 9110, section 8.6: a client SHOULD send it if
//! the method anticipates content). Ceph RGW and Google's S3 API answer 411 without it.

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_smithy_runtime_api::box_error::BoxError;

/// Adds the header after signing: S3 does not require it to be signed, and a proxy may drop or add it.
#[derive(Debug)]
pub(super) struct ContentLength;

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for ContentLength {
    fn name(&self) -> &'static str {
        "ContentLength"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let has_no_body = request.body().content_length() == Some(0);
        if has_no_body
            && matches!(request.method(), "PUT" | "POST")
            && !request.headers().contains_key("content-length")
        {
            request.headers_mut().insert("content-length", "0");
        }
        Ok(())
    }
}
