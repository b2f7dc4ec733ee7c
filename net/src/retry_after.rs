//! How long a server wants to be left alone.

use core::time::Duration;
use std::time::SystemTime;

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// Returns the value of `Retry-After` (RFC 9110 §10.2.3) in milliseconds from `now`: a number of
/// seconds, or a date; 0 for one that has passed. `None` if the header is missing or is neither.
///
/// ```
/// use std::time::SystemTime;
/// use motews_net::http::{HeaderMap, HeaderValue, header::RETRY_AFTER};
///
/// let mut headers = HeaderMap::new();
/// headers.insert(RETRY_AFTER, HeaderValue::from_static("120"));
/// assert_eq!(motews_net::retry_after(&headers, SystemTime::now()), Some(120_000));
/// ```
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<u32> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = httpdate::parse_http_date(value).ok()?;
            at.duration_since(now).unwrap_or_default()
        }
    };
    Some(u32::try_from(wait.as_millis()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_anything_else_is_not() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let wait = |value| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
            retry_after(&headers, now)
        };
        assert_eq!(wait(" 7 "), Some(7_000));
        assert_eq!(wait("99999999999"), Some(u32::MAX));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60_000));
        assert_eq!(wait("Sun, 06 Nov 1994 08:40:37 GMT"), Some(0));
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("-1"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
