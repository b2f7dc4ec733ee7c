//! Redirects: which are followed, and what is sent again.

use motews_std::{Connector, RedirectError, RedirectPolicy, Timeouts};

use crate::{Answer, accept_with, answer, refused, respond, values};

fn redirect(status: u16, location: &str) -> Answer {
    answer(format!(
        "HTTP/1.1 {status} Elsewhere\r\nLocation: {location}\r\nContent-Length: 1000\r\n\r\n"
    ))
}

fn following() -> Connector {
    Connector::new().redirects(RedirectPolicy::DEFAULT)
}

#[test]
fn redirect_of_each_status_is_followed() {
    for status in [301, 302, 303, 307, 308] {
        let there = respond(vec![accept_with("")]);
        let here = respond(vec![redirect(status, &format!("http://{}/b", there.0))]);
        following().connect(&format!("ws://{}/a", here.0)).unwrap();
        assert!(here.1.join().unwrap()[0].starts_with("GET /a "));
        assert!(there.1.join().unwrap()[0].starts_with("GET /b "));
    }
    let (address, server) = respond(vec![redirect(302, "../b?c"), accept_with("")]);
    following().connect(&format!("ws://{address}/d/a")).unwrap();
    assert!(server.join().unwrap()[1].starts_with("GET /b?c "));
}

#[test]
fn redirect_without_a_policy_is_a_refusal() {
    let (address, _server) = respond(vec![answer(
        "HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 2\r\n\r\nno",
    )]);
    let refused = refused(motews_std::connect(&format!("ws://{address}/a")));
    assert_eq!((refused.status.as_u16(), refused.redirect), (302, None));
    assert_eq!(refused.body, b"no");
}

#[test]
fn loop_of_redirects_ends() {
    let answers = (0..6).map(|_| redirect(307, "/")).collect();
    let (address, server) = respond(answers);
    let timeouts = Timeouts {
        handshake: Some(500),
        ..Timeouts::default()
    };
    let connected = following()
        .timeouts(timeouts)
        .connect(&format!("ws://{address}/"));
    let text = connected.as_ref().unwrap_err().to_string();
    assert!(text.contains("too many redirects"), "{text}");
    assert_eq!(refused(connected).redirect, Some(RedirectError::TooMany));
    assert_eq!(server.join().unwrap().len(), 6);
}

#[test]
fn headers_of_the_application_are_not_sent_to_another_host() {
    let builder = following()
        .header("Authorization", "Bearer 42")
        .header("Cookie", "session=1")
        .header("Host", "example.com")
        .header("X-Api-Key", "42");
    let secret = ["Authorization", "Cookie", "X-Api-Key"];

    let (address, server) = respond(vec![redirect(302, "/b"), accept_with("")]);
    builder
        .clone()
        .connect(&format!("ws://{address}/"))
        .unwrap();
    for head in server.join().unwrap() {
        assert!(
            secret.iter().all(|name| values(&head, name).len() == 1),
            "{head}"
        );
        assert_eq!(values(&head, "Host"), ["example.com"]);
    }

    let there = respond(vec![accept_with("")]);
    let here = respond(vec![redirect(302, &format!("ws://{}/", there.0))]);
    builder
        .clone()
        .connect(&format!("ws://user:pw@{}/", here.0))
        .unwrap();
    let head = &there.1.join().unwrap()[0];
    assert!(
        secret.iter().all(|name| values(head, name).is_empty()),
        "{head}"
    );
    assert_eq!(values(head, "Host"), [there.0.to_string()]);

    // The application knows that they are not secret; of some nobody has to ask.
    let there = respond(vec![accept_with("")]);
    let here = respond(vec![redirect(302, &format!("ws://{}/", there.0))]);
    let policy = RedirectPolicy {
        keep_headers: true,
        ..RedirectPolicy::DEFAULT
    };
    builder
        .redirects(policy)
        .connect(&format!("ws://{}/", here.0))
        .unwrap();
    let head = &there.1.join().unwrap()[0];
    let counts = secret.map(|name| values(head, name).len());
    assert_eq!(counts, [0, 0, 1], "{head}");
    assert_eq!(values(head, "Host"), [there.0.to_string()]);

    let there = respond(vec![accept_with("")]);
    let here = respond(vec![redirect(302, &format!("ws://{}/", there.0))]);
    following()
        .connect(&format!("ws://user:pw@{}/", here.0))
        .unwrap();
    assert_eq!(values(&here.1.join().unwrap()[0], "Authorization").len(), 1);
    assert!(values(&there.1.join().unwrap()[0], "Authorization").is_empty());
}

/// Without them the next server could not agree on one, or check the site.
#[test]
fn redirect_to_another_host_subprotocols_and_origin_are_sent_again() {
    let there = respond(vec![accept_with("Sec-WebSocket-Protocol: chat\r\n")]);
    let here = respond(vec![redirect(302, &format!("ws://{}/", there.0))]);
    let ws = following()
        .subprotocols(["chat"])
        .origin("https://example.com")
        .connect(&format!("ws://{}/", here.0))
        .unwrap();
    assert_eq!(ws.subprotocol(), Some("chat"));
    drop(ws);
    for (_, server) in [here, there] {
        let head = &server.join().unwrap()[0];
        assert_eq!(values(head, "Sec-WebSocket-Protocol"), ["chat"]);
        assert_eq!(values(head, "Origin"), ["https://example.com"]);
    }
}
