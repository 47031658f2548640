//! Values of labels. Each label has a bound on how many values it may have.

use std::fmt::Write;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use crate::oci::Outcome;

/// A kind of request to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamCall {
    HeadManifest,
    GetManifest,
    HeadBlob,
    GetBlob,
    ListTags,
    ListReferrers,
    Support,
    Token,
}

impl UpstreamCall {
    pub(super) const ALL: [Self; 8] = [
        Self::HeadManifest,
        Self::GetManifest,
        Self::HeadBlob,
        Self::GetBlob,
        Self::ListTags,
        Self::ListReferrers,
        Self::Support,
        Self::Token,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::HeadManifest => "head_manifest",
            Self::GetManifest => "get_manifest",
            Self::HeadBlob => "head_blob",
            Self::GetBlob => "get_blob",
            Self::ListTags => "list_tags",
            Self::ListReferrers => "list_referrers",
            Self::Support => "support",
            Self::Token => "token",
        }
    }
}

macro_rules! label_value {
    ($kind:ty) => {
        impl EncodeLabelValue for $kind {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                encoder.write_str(self.as_str())
            }
        }
    };
}

label_value!(Outcome);
label_value!(UpstreamCall);

/// What sweeps delete.
pub(super) const SWEPT: [&str; 4] = ["multipart", "upload", "lease", "stray"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct S3Request {
    pub(super) operation: String,
    pub(super) status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Answer {
    pub(super) kind: &'static str,
    pub(super) outcome: Outcome,
    pub(super) upstream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Asked {
    pub(super) call: UpstreamCall,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Ended {
    pub(super) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Kind {
    pub(super) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CacheName {
    pub(super) cache: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfUpstream {
    pub(super) upstream: String,
}

/// How many classes of statuses there are.
pub(super) const CLASSES: usize = 5;

/// The classes of statuses, by their first digit less one.
pub(super) const CLASS: [&str; CLASSES] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The index of a status's class in [`CLASS`].
pub(super) fn class(status: u16) -> usize {
    usize::from(status / 100).clamp(1, CLASSES) - 1
}

/// A status by itself, if it is one that tells something; else its class; `none` where no answer came. So a server that
/// makes statuses up adds no series.
pub(super) fn status(status: Option<u16>) -> &'static str {
    let Some(code) = status else {
        return "none";
    };
    match code {
        200 => "200",
        204 => "204",
        206 => "206",
        304 => "304",
        307 => "307",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        405 => "405",
        409 => "409",
        411 => "411",
        412 => "412",
        416 => "416",
        429 => "429",
        500 => "500",
        501 => "501",
        502 => "502",
        503 => "503",
        504 => "504",
        507 => "507",
        other => CLASS[class(other)],
    }
}

/// The class of a status; `none` where no answer came.
pub(super) fn class_or_none(status: Option<u16>) -> &'static str {
    status.map_or("none", |status| CLASS[class(status)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_is_made_up_has_the_label_of_its_class() {
        let labels = [None, Some(200), Some(299), Some(503), Some(599), Some(999), Some(0)].map(status);
        assert_eq!(labels, ["none", "200", "2xx", "503", "5xx", "5xx", "1xx"]);
    }
}
