//! What a browser gets from an example: its page, and the files that the pages share.

use motews_std::{Request, Response};

use crate::run::Places;

/// The files that the pages share: their paths, their types and what is in them.
const SHARED: [(&str, &str, &str); 4] = [
    (
        "/base.css",
        "text/css; charset=utf-8",
        include_str!("web/base.css"),
    ),
    (
        "/link.js",
        "text/javascript; charset=utf-8",
        include_str!("web/link.js"),
    ),
    (
        "/screen.css",
        "text/css; charset=utf-8",
        include_str!("web/screen.css"),
    ),
    (
        "/screen.js",
        "text/javascript; charset=utf-8",
        include_str!("web/screen.js"),
    ),
];

/// The answer to an ordinary request: `page` at `/`, the shared files at their paths.
#[must_use]
pub fn answer(request: &Request, page: &'static str) -> Response {
    if request.method() != "GET" {
        return refuse(405, "GET only").header("Allow", "GET");
    }
    match file(request.path(), page) {
        Some((kind, body)) => Response::new(200)
            .header("Content-Type", kind)
            .header("Cache-Control", "no-store")
            .body(body),
        None => refuse(404, "The page is at /"),
    }
}

/// The type and the content of what is at `path`: `page` at `/`, the shared files at their paths.
#[must_use]
pub fn file(path: &str, page: &'static str) -> Option<(&'static str, &'static str)> {
    if path == "/" {
        return Some(("text/html; charset=utf-8", page));
    }
    let mut shared = SHARED.iter();
    let (_, kind, body) = shared.find(|(shared, ..)| *shared == path)?;
    Some((kind, body))
}

/// The answer to any request: a WebSocket for this server's own pages, and for what is no browser,
/// as long as there is a place; otherwise as [`answer`].
#[must_use]
pub fn welcome(request: &Request, page: &'static str, places: &Places) -> Response {
    if !request.is_websocket() {
        answer(request, page)
    } else if !is_own_page(request) {
        refuse(403, "Not for pages of other sites")
    } else if places.are_full() {
        full()
    } else {
        Response::accepted()
    }
}

/// The answer when all places are taken.
#[must_use]
pub fn full() -> Response {
    refuse(503, "Too many connections").header("Retry-After", "5")
}

/// An answer in one line of text.
#[must_use]
pub fn refuse(status: u16, why: &str) -> Response {
    Response::new(status)
        .header("Content-Type", "text/plain; charset=utf-8")
        .body(format!("{why}\n"))
}

/// Whether the request comes from a page of this server, or from no page at all.
///
/// A browser lets the pages of any site open a WebSocket to any server, and says in `Origin` which
/// page it was (RFC 6455 §10.2). What is no browser need not send one.
fn is_own_page(request: &Request) -> bool {
    is_own(request.origin(), request.host())
}

/// The same, by the request's `Origin` and `Host`.
#[must_use]
pub fn is_own(origin: Option<&str>, host: Option<&str>) -> bool {
    let Some(origin) = origin else {
        return true;
    };
    let own = origin.split_once("://").map(|(_, host)| host);
    own.is_some() && own == host
}
