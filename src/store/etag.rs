//! Comparing `ETag`s, which buckets and proxies spell in several ways.

/// Whether an `ETag` says only that contents are alike (RFC 9110, section 8.8.1). No condition of a write or a copy
/// matches one.
#[must_use]
pub fn is_weak_etag(etag: &str) -> bool {
    etag.starts_with("W/")
}

/// Whether two `ETag`s are of the same content. Some buckets leave out the quotes in lists, and a proxy before a bucket
/// may make an `ETag` weak.
#[must_use]
pub fn is_same_etag(one: &str, other: &str) -> bool {
    value(one) == value(other)
}

fn value(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spelling_does_not_matter() {
        for same in ["\"a\"", "a", "W/\"a\""] {
            assert!(is_same_etag("\"a\"", same) && is_same_etag(same, "a"));
        }
        assert!(!is_same_etag("\"a\"", "\"b\""));
        assert!(is_weak_etag("W/\"a\"") && !is_weak_etag("\"W/\""));
    }
}
