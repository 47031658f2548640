//! Admission control: a request is dispatched once there is memory for it, and answered once there is memory for the
//! response.

use axum::body::Body;

use super::budget::exhausted;
use super::dispatch;
use super::response_memory::Need;
use super::{Answer, Context, Endpoint};
use crate::auth::Identity;
use crate::oci::{Error, Outcome};

/// Dispatches a request within the memory of responses.
pub(super) async fn dispatch(
    cx: &Context<'_>,
    body: Body,
    identity: &Identity,
    endpoint: &Endpoint,
) -> Result<Answer, Error> {
    let (memory, ip) = (&cx.app.memory, cx.client.ip);
    let of_request = memory.reserve_request(ip, cx.request).await?;
    // Boxed, because a request that waits for memory has none yet.
    let answer = Box::pin(dispatch::dispatch(cx, body, identity, endpoint)).await?;
    let Some(need) = need(cx, &answer) else {
        return Ok(Answer { memory: Some(of_request), ..answer });
    };
    if let Some(answer) = memory.hold(ip, answer, need, None) {
        return Ok(answer);
    }
    // While it waits for memory it holds none, so the answer is made again afterwards.
    drop(of_request);
    let reserved = memory.reserve(ip, need).await?;
    let again = Box::pin(dispatch::dispatch(cx, Body::empty(), identity, endpoint)).await?;
    if matches!(need, Need::Body(_)) && Need::of_body(cx.request, &again).is_none() {
        return Ok(again);
    }
    memory.hold(ip, again, need, Some(reserved)).ok_or_else(exhausted)
}

/// The memory that an answer needs, if that is more than its request's.
fn need(cx: &Context<'_>, answer: &Answer) -> Option<Need> {
    let is_from_elsewhere = answer.outcome == Some(Outcome::Stream) && cx.app.registry.embedded().is_none();
    Need::of_body(cx.request, answer).or((answer.is_blob && is_from_elsewhere).then_some(Need::Stream))
}
