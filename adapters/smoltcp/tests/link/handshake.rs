//! Requests and answers.

use motews::handshake::{HandshakeError, Offers, Request, RequestEvent, Response, ResponseEvent};
use motews::{Deadline, Ended, Message};
use motews_smoltcp::{ClientEvent, ClientSocket, Config, ServerEvent, ServerSocket};
use smoltcp::time::{Duration, Instant};

use crate::support::{ACCEPTED, CONFIG, Faults, Net, REQUEST, Random, Raw, Rig};

/// What a server does with one request after the other.
fn answer<'a>(
    net: &mut Net,
    config: &'a Config<'a>,
    rings: (usize, usize),
    request: &[u8],
    mut handle: impl FnMut(&mut ServerSocket<'a>, &str) -> Option<Response<'a>>,
) -> (Vec<u8>, Vec<String>, Option<Ended>) {
    let listener = net.server.listener(rings.0, rings.1, 80);
    let mut server: ServerSocket<'_> = ServerSocket::new(config);
    let mut raw = Raw::connect(net, 1000);
    raw.send(request);
    let mut lines = Vec::new();
    let mut end = None;
    net.run(Duration::from_secs(30), |net| {
        let tcp = net.server.tcp(listener);
        loop {
            let event = server.poll(tcp, net.now, 0);
            let (what, upgrade) = match event {
                None => break,
                Some(ServerEvent::Request(RequestEvent::RequestLine { target, .. })) => {
                    lines.push(String::from_utf8(target.as_bytes().to_vec()).unwrap());
                    continue;
                }
                Some(ServerEvent::Request(RequestEvent::Header(header))) => {
                    if header.first {
                        lines.push(String::from_utf8(header.name.as_bytes().to_vec()).unwrap());
                    }
                    let value = String::from_utf8(header.value.to_vec()).unwrap();
                    lines.last_mut().unwrap().push_str(&value);
                    continue;
                }
                Some(ServerEvent::Request(RequestEvent::Done(upgrade))) => ("", Some(upgrade)),
                Some(ServerEvent::Http(error)) => (error_name(error), None),
                Some(ServerEvent::Ended(ended)) => {
                    end = Some(ended);
                    continue;
                }
                Some(_) => continue,
            };
            match (handle(&mut server, what), upgrade) {
                (Some(response), _) => server.respond(response),
                (None, Some(upgrade)) => server.accept(upgrade),
                (None, None) => {}
            }
        }
        raw.poll(&mut net.client);
        end.is_some() || server.is_open() && raw.received.ends_with(b"\r\n\r\n")
    });
    (raw.received, lines, end)
}

fn error_name(error: HandshakeError) -> &'static str {
    match error {
        HandshakeError::NotUpgrade => "not an upgrade",
        _ => "wrong",
    }
}

#[test]
fn request_with_16_kb_of_cookies_passes_a_ring_of_2_kib() {
    let mut request = REQUEST.trim_end().to_owned();
    let mut expected = Vec::new();
    for i in 0..20 {
        let cookies = format!("part{i}=").repeat(130);
        request.push_str(&format!("\r\nCookie: {cookies}"));
        expected.push(format!("Cookie{cookies}"));
    }
    request.push_str("\r\n\r\n");
    assert!(request.len() > 16 * 1024);
    let mut net = Net::new(Faults::default(), 1);
    let rings = (2048, 512);
    let (bytes, lines, end) = answer(&mut net, &CONFIG, rings, request.as_bytes(), |_, _| None);
    assert_eq!(end, None);
    assert_eq!(bytes, ACCEPTED.as_bytes());
    assert_eq!(lines[0], "/chat");
    assert_eq!(lines[6..], expected);
}

/// An ordinary GET is answered with a page from flash, longer than the transmit ring.
#[test]
fn request_for_a_page_streams_it_through_a_tiny_ring() {
    static PAGE: [u8; 20_000] = [b'x'; 20_000];
    let mut net = Net::new(Faults::default(), 1);
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n";
    let (bytes, lines, end) = answer(&mut net, &CONFIG, (64, 131), request, |_, what| {
        assert_eq!(what, "not an upgrade");
        Some(Response::new(200).unwrap().body(&PAGE))
    });
    assert_eq!(end, Some(Ended::Refused(200)));
    assert_eq!(lines, ["/", "Hostx", "Accept*/*"]);
    let text = String::from_utf8(bytes).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200 \r\nConnection: close\r\nContent-Length: 20000\r\n\r\nxx")
    );
    assert!(text.ends_with(&"x".repeat(20_000)));
}

/// RFC 9110 §6.4.1, §9.3.2: no body where there is none, whoever answers; and a whole head.
#[test]
fn request_for_a_head_or_a_bodiless_status_gets_no_body() {
    let ask = |request: &[u8], response: Option<Response<'static>>| {
        let mut net = Net::new(Faults::default(), 1);
        let (bytes, _, end) = answer(&mut net, &CONFIG, (64, 131), request, |_, _| response);
        match response {
            Some(_) => assert!(matches!(end, Some(Ended::Refused(_))), "{end:?}"),
            None => assert_eq!(end, Some(Ended::Handshake(HandshakeError::Method))),
        }
        String::from_utf8(bytes).unwrap()
    };
    let (get, head) = (b"GET / HTTP/1.1\r\n\r\n", b"HEAD / HTTP/1.1\r\n\r\n");
    let page = Response::new(200).unwrap().body(b"a page");
    let start = "HTTP/1.1 200 \r\nConnection: close\r\nContent-Length: 6\r\n\r\n";
    assert_eq!(ask(get, Some(page)), format!("{start}a page"));
    assert_eq!(ask(head, Some(page)), start);
    for status in [204, 304] {
        let response = Response::new(status).unwrap().body(b"gone");
        for request in [&get[..], head] {
            let text = format!("HTTP/1.1 {status} \r\nConnection: close\r\n\r\n");
            assert_eq!(ask(request, Some(response)), text);
        }
    }
    // The adapter's own answer to what is wrong.
    let wrong = REQUEST.replace("GET ", "HEAD ");
    let text = ask(wrong.as_bytes(), None);
    assert!(text.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{text}");
    assert!(text.ends_with("\r\nContent-Length: 6\r\n\r\n"), "{text}");
}

#[test]
fn request_beyond_what_there_is_room_for_gets_503() {
    let mut net = Net::new(Faults::default(), 1);
    let refusal = Response::new(503).unwrap().reason("Busy").unwrap();
    let (bytes, _, end) = answer(&mut net, &CONFIG, (200, 200), REQUEST.as_bytes(), |_, _| {
        Some(refusal)
    });
    assert_eq!(end, Some(Ended::Refused(503)));
    let text = "HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(String::from_utf8(bytes).unwrap(), text);
}

#[test]
fn request_that_is_wrong_gets_the_error_s_own_response() {
    for (request, status, error) in [
        (
            "GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            "426",
            HandshakeError::NotUpgrade,
        ),
        (
            REQUEST.replace("Version: 13", "Version: 8"),
            "426",
            HandshakeError::UnsupportedVersion,
        ),
        (
            REQUEST.replace("Host", "No Host"),
            "400",
            HandshakeError::HeaderName,
        ),
        (
            REQUEST.replace("/chat", &"/long".repeat(100)),
            "414",
            HandshakeError::StartLineTooLong,
        ),
    ] {
        let mut net = Net::new(Faults::default(), 1);
        let (bytes, _, end) = answer(&mut net, &CONFIG, (200, 200), request.as_bytes(), |_, _| {
            None
        });
        // The cause, and not the status that says so.
        assert_eq!(end, Some(Ended::Handshake(error)));
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
    }
}

#[test]
fn request_that_offers_subprotocols_gets_the_server_s_choice() {
    let config = Config {
        offers: Offers::new().subprotocols(&["b", "a"]),
        ..Config::DEFAULT
    };
    let offer = REQUEST.replace("Upgrade: w", "Sec-WebSocket-Protocol: a, b\r\nUpgrade: w");
    let mut net = Net::new(Faults::default(), 1);
    let (bytes, _, _) = answer(&mut net, &config, (99, 200), offer.as_bytes(), |_, _| None);
    assert!(
        String::from_utf8(bytes)
            .unwrap()
            .contains("Sec-WebSocket-Protocol: b\r\n")
    );
}

/// HS22: a request that trickles is cut off, however lively it is.
#[test]
fn request_that_trickles_is_reset_after_its_time() {
    let mut rig = Rig::new(100, 200);
    let mut bytes = REQUEST.bytes().cycle();
    let mut next = Instant::ZERO;
    let ended = rig.run(20, |rig| {
        if rig.net.now >= next {
            rig.raw.send([bytes.next().unwrap()]);
            next = rig.net.now + Duration::from_millis(500);
        }
        rig.end.is_some()
    });
    assert!(ended);
    assert_eq!(rig.end, Some(Ended::TimedOut(Deadline::Handshake)));
    assert!(
        (10_000..10_200).contains(&rig.net.now.total_millis()),
        "{}",
        rig.net.now
    );
}

#[test]
fn request_that_breaks_off_is_lost_and_the_next_one_served() {
    let mut rig = Rig::new(100, 200);
    rig.raw.send(&REQUEST[..50]);
    assert!(rig.run(1, |rig| rig.raw.out.is_empty()));
    rig.net.client.tcp(rig.raw.handle).close();
    assert_eq!(rig.run_to_end(1), Ended::Lost);
    rig.raw = Raw::connect(&mut rig.net, 500);
    rig.raw.send(REQUEST);
    assert!(rig.run(5, |rig| rig.raw.received == ACCEPTED.as_bytes()));
}

/// What a client comes to, given a server's answer to its request.
fn client(answer: &str) -> (Vec<String>, Option<Ended>, Instant) {
    let mut net = Net::new(Faults::default(), 1);
    let mut raw = Raw::new(net.server.listener(500, 500, 80));
    let socket = net.client.socket(50, 131);
    let address = net.server.address;
    net.client.connect(socket, address, 80);
    let random = Random(3);
    let request = Request::new("10.0.0.1", "/").unwrap();
    let mut client: ClientSocket<'_, _> =
        ClientSocket::new(&CONFIG, request, random, net.now).unwrap();
    let (mut events, mut end) = (Vec::new(), None);
    net.run(Duration::from_secs(40), |net| {
        raw.poll(&mut net.server);
        if raw.received.ends_with(b"\r\n\r\n") {
            raw.take();
            raw.send(answer);
        }
        let tcp = net.client.tcp(socket);
        while let Some(event) = client.poll(tcp, net.now, 100) {
            match event {
                ClientEvent::Response(ResponseEvent::StatusLine { status, .. }) => {
                    events.push(status.to_string());
                }
                ClientEvent::Response(ResponseEvent::Header(header)) => {
                    let value = String::from_utf8(header.value.to_vec()).unwrap();
                    events.push(format!("{:?}: {value}", header.name));
                }
                ClientEvent::Response(_) => {
                    events.push("done".to_owned());
                    let hello = Message::Text("hello");
                    client.send(tcp, hello).expect("it is open");
                }
                ClientEvent::Ended(ended) => end = Some(ended),
                _ => {}
            }
        }
        end.is_some()
    });
    (events, end, net.now)
}

/// HC13: a redirection is told with its headers, and is no connection.
#[test]
fn response_of_another_status_is_told_and_refused() {
    let (events, end, _) =
        client("HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(events.len(), 3);
    assert_eq!(events[0], "302");
    assert!(events[1].contains("/elsewhere"));
    assert_eq!(end, Some(Ended::Refused(302)));
}

/// HC16
#[test]
fn response_with_the_wrong_accept_is_refused() {
    let (events, end, _) = client(ACCEPTED);
    assert_eq!(events.len(), 4);
    assert_eq!(end, Some(Ended::Handshake(HandshakeError::Accept)));
}

/// HC25
#[test]
fn response_that_never_comes_times_out() {
    let (events, end, now) = client("");
    assert!(events.is_empty());
    assert_eq!(end, Some(Ended::TimedOut(Deadline::Handshake)));
    assert!((10_000..10_200).contains(&now.total_millis()));
}

#[test]
fn client_that_no_one_answers_is_lost() {
    let mut net = Net::new(Faults::default(), 1);
    let socket = net.client.socket(50, 131);
    let address = net.server.address;
    net.client.connect(socket, address, 81);
    let random = Random(3);
    let request = Request::new("10.0.0.1", "/").unwrap();
    let mut client: ClientSocket<'_, _> =
        ClientSocket::new(&CONFIG, request, random, net.now).unwrap();
    let lost = net.run(Duration::from_secs(1), |net| {
        let event = client.poll(net.client.tcp(socket), net.now, 0);
        matches!(event, Some(ClientEvent::Ended(Ended::Lost)))
    });
    assert!(lost);
}

/// No one has called: there is nothing to wait for but TCP.
#[test]
fn listening_poll_at_is_never() {
    let mut rig = Rig::new(100, 200);
    assert_eq!(rig.server.poll_at(rig.net.now), None);
    rig.raw.send(REQUEST);
    assert!(rig.run(1, |rig| rig.raw.received == ACCEPTED.as_bytes()));
    assert!(rig.server.poll_at(rig.net.now).is_some());
    rig.net.client.tcp(rig.raw.handle).abort();
    rig.run_to_end(1);
    rig.run(1, |_| false);
    assert!(rig.server.is_idle());
    assert_eq!(rig.server.poll_at(rig.net.now), None);
}

/// HS13: an upgrade answers no request that is not there.
#[test]
fn request_arriving_upgrade_of_an_earlier_connection_is_not_accepted() {
    let mut rig = Rig::new(300, 300);
    let poll = |rig: &mut Rig| {
        let mut done = None;
        let until = rig.net.now + Duration::from_secs(1);
        while rig.net.now < until {
            rig.raw.poll(&mut rig.net.client);
            rig.net.step();
            let (tcp, now) = (rig.net.server.tcp(rig.listener), rig.net.now);
            while let Some(event) = rig.server.poll(tcp, now, 0) {
                if let ServerEvent::Request(RequestEvent::Done(upgrade)) = event {
                    done = Some(upgrade);
                }
            }
        }
        done
    };
    rig.raw.send(REQUEST);
    let kept = poll(&mut rig).unwrap();
    rig.net.client.tcp(rig.raw.handle).abort();
    assert_eq!(poll(&mut rig), None);
    rig.server.accept(kept); // No one has called.

    rig.raw = Raw::connect(&mut rig.net, 500);
    let request = REQUEST.replace("dGhl", "AAAA");
    let (one, two) = request.split_at(100);
    rig.raw.send(one);
    assert_eq!(poll(&mut rig), None);
    rig.server.accept(kept); // The request has not arrived yet.
    rig.raw.send(two);
    let own = poll(&mut rig).unwrap();
    assert!(rig.raw.received.is_empty());
    rig.server.accept(own);
    poll(&mut rig);
    assert!(rig.server.is_open());
    assert!(rig.raw.received.starts_with(b"HTTP/1.1 101 "));
    assert_ne!(rig.raw.received, ACCEPTED.as_bytes());
}
