//! What a browser gets from an example: its page, and the files that the pages share.

use motews_std::{Request, Response};

use crate::run::Places;

/// The files that the pages share: their paths, their types and what is in them.
const SHARED: [(&str, &str, &str); 4] = [
    ("/base.css", "text/css", include_str!("web/base.css")),
    ("/link.js", "text/javascript", include_str!("web/link.js")),
    ("/screen.css", "text/css", include_str!("web/screen.css")),
    (
        "/screen.js",
        "text/javascript",
        include_str!("web/screen.js"),
    ),
];

/// The answer to an ordinary request: `page` at `/`, the shared files at their paths.
#[must_use]
pub fn answer(request: &Request, page: &'static str) -> Response {
    let file = |kind: &str, body: &'static str| {
        Response::new(200)
            .header("Content-Type", format!("{kind}; charset=utf-8"))
            .header("Cache-Control", "no-store")
            .body(body)
    };
    if request.method() != "GET" {
        return refuse(405, "GET only").header("Allow", "GET");
    }
    if request.path() == "/" {
        return file("text/html", page);
    }
    let shared = SHARED.iter().find(|(path, ..)| *path == request.path());
    match shared {
        Some((_, kind, body)) => file(kind, body),
        None => refuse(404, "The page is at /"),
    }
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
    let Some(origin) = request.origin() else {
        return true;
    };
    let host = origin.split_once("://").map(|(_, host)| host);
    host.is_some() && host == request.host()
}
