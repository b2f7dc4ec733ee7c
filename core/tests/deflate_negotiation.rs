//! Which parameters of permessage-deflate are agreed upon (RFC 7692 §5, §7.1), in both roles.
#![cfg(feature = "deflate")]

use motews::deflate::{DeflateConfig, DeflateContext, DeflateParams, WindowBits, wire_limit};
use motews::handshake::{
    Agreed, ClientHandshake, HandshakeError, Key, Offers, Request, RequestEvent, ResponseEvent,
    ServerHandshake, Upgrade,
};
use motews::{Entropy, EntropyError, Limits};
use motews_testkit::head::{ACCEPT, Head, KEY, NONCE};

fn context(bits: u8, takeover: bool) -> DeflateContext {
    DeflateContext {
        window_bits: WindowBits::new(bits).expect("8 to 15"),
        takeover,
    }
}

fn config(send: (u8, bool), receive: (u8, bool)) -> DeflateConfig {
    DeflateConfig {
        send: context(send.0, send.1),
        receive: context(receive.0, receive.1),
    }
}

fn params(send: (u8, bool), receive: (u8, bool)) -> DeflateParams {
    let DeflateConfig { send, receive } = config(send, receive);
    DeflateParams { send, receive }
}

const ALL: (u8, bool) = (15, true);
const EXTENSIONS: &str = "Sec-WebSocket-Extensions";
const LIMITS: Limits = Limits {
    message: 1000,
    ..Limits::DEFAULT
};

struct Sample;

impl Entropy for Sample {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.copy_from_slice(&NONCE);
        Ok(())
    }
}

/// What a server uses then, and what it answers.
type Answer = Option<(DeflateParams, String)>;

/// What a server makes of these headers; the same if it reads them itself, byte by byte.
fn answer(config: &DeflateConfig, values: &[&str]) -> Result<Answer, HandshakeError> {
    let offers = Offers::new().deflate(*config);
    let headers = [
        ("Host", "h"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
    ];
    let headers: Vec<(&str, &str)> = headers
        .into_iter()
        .chain(values.iter().map(|value| (EXTENSIONS, *value)))
        .collect();
    let parsed = headers
        .iter()
        .map(|(name, value)| (*name, value.as_bytes()));
    let upgrade = Upgrade::from_headers("GET", (1, 1), parsed, &offers, LIMITS);

    let start = Head::new("GET / HTTP/1.1");
    let request = headers
        .iter()
        .fold(start, |head, (name, value)| head.and(name, value));
    let request = request.to_bytes();
    for buffer in [41, 1000] {
        let mut handshake = ServerHandshake::with_limits(vec![0; buffer], LIMITS);
        let mut read = Ok(None);
        for byte in request.chunks(1) {
            let mut input = byte;
            while let Some(event) = handshake.next_event(&mut input, &offers).transpose() {
                match event {
                    Ok(RequestEvent::Done(upgrade)) => read = Ok(Some(upgrade)),
                    Ok(_) => {}
                    Err(error) => {
                        read = Err(error);
                        break;
                    }
                }
            }
        }
        assert_eq!(read, upgrade.map(Some), "{values:?} through {buffer} bytes");
    }

    let upgrade = upgrade?;
    let agreed = upgrade.agreed();
    let mut response = None;
    upgrade.each_header(&upgrade.answer(&offers), |name, value| {
        if name == EXTENSIONS {
            let value = String::from_utf8(value.to_vec()).expect("text");
            assert_eq!(response.replace(value), None, "one header");
        }
    });
    assert_eq!(agreed.config.compression, response.is_some());
    let limit = if response.is_some() {
        wire_limit(1000)
    } else {
        1000
    };
    assert_eq!(agreed.config.max_message_len, limit);
    Ok(agreed.deflate.zip(response))
}

fn accept(config: &DeflateConfig, value: &str) -> Answer {
    answer(config, &[value]).unwrap_or_default()
}

/// What a client asks for.
fn offer(offers: &Offers<'_>) -> String {
    let request = Request::new("h", "/")
        .expect("right")
        .offers(offers)
        .expect("right");
    let mut offer = None;
    request.each_header((1, 1), None, |name, value| {
        if name == EXTENSIONS {
            offer = Some(String::from_utf8(value.to_vec()).expect("text"));
        }
    });
    offer.expect("there is one")
}

/// What a client makes of these headers; the same if it reads them itself, byte by byte.
fn confirm(offers: &Offers<'_>, values: &[&str]) -> Result<Option<DeflateParams>, HandshakeError> {
    let key = Key::new(&mut Sample).expect("a key");
    let headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", ACCEPT),
    ];
    let headers: Vec<(&str, &str)> = headers
        .into_iter()
        .chain(values.iter().map(|value| (EXTENSIONS, *value)))
        .collect();
    let parsed = headers
        .iter()
        .map(|(name, value)| (*name, value.as_bytes()));
    let agreed = Agreed::from_headers(101, (1, 1), Some(&key), parsed, offers, LIMITS);

    let start = Head::new("HTTP/1.1 101 ");
    let response = headers
        .iter()
        .fold(start, |head, (name, value)| head.and(name, value));
    let response = response.to_bytes();
    for buffer in [48, 1000] {
        let mut handshake = ClientHandshake::with_limits(&key, vec![0; buffer], LIMITS);
        let mut read = Ok(None);
        for byte in response.chunks(1) {
            let mut input = byte;
            while let Some(event) = handshake.next_event(&mut input, offers).transpose() {
                match event {
                    Ok(ResponseEvent::Done(agreed)) => read = Ok(Some(agreed)),
                    Ok(_) => {}
                    Err(error) => {
                        read = Err(error);
                        break;
                    }
                }
            }
        }
        assert_eq!(read, agreed.map(Some), "{values:?} through {buffer} bytes");
    }

    let agreed = agreed?;
    assert_eq!(agreed.config.compression, agreed.deflate.is_some());
    let limit = if agreed.deflate.is_some() {
        wire_limit(1000)
    } else {
        1000
    };
    assert_eq!(agreed.config.max_message_len, limit);
    Ok(agreed.deflate)
}

/// PD01, PD05 to PD11: each parameter of an offer, under limits of the server's own.
#[test]
fn server_judges_an_offer_answers_with_what_it_keeps_to() {
    let (all, none) = (config(ALL, ALL), None);
    let small = config((10, true), (11, true));
    let frugal = config((15, false), (15, false));
    let (all_params, small_params) = (params(ALL, ALL), params((10, true), (11, true)));
    let frugal_params = params((15, false), (15, false));
    let (s_nct, c_nct) = ("server_no_context_takeover", "client_no_context_takeover");
    let (s_bits, c_bits) = ("server_max_window_bits", "client_max_window_bits");
    let cases: Vec<(DeflateConfig, String, Answer)> = vec![
        (all, String::new(), Some((all_params, String::new()))),
        (
            all,
            format!("; {c_bits}"),
            Some((all_params, String::new())),
        ),
        (
            all,
            format!("; {s_nct}"),
            Some((params((15, false), ALL), format!("; {s_nct}"))),
        ),
        (
            all,
            format!("; {c_nct}"),
            Some((params(ALL, (15, false)), format!("; {c_nct}"))),
        ),
        (
            all,
            format!("; {s_bits}=15"),
            Some((all_params, format!("; {s_bits}=15"))),
        ),
        (
            all,
            format!("; {s_bits}=8"),
            Some((params((8, true), ALL), format!("; {s_bits}=8"))),
        ),
        (
            all,
            format!("; {c_bits}=9"),
            Some((params(ALL, (9, true)), format!("; {c_bits}=9"))),
        ),
        (
            all,
            format!(";{s_nct}  ; {c_nct};{s_bits}=\"12\" ;{c_bits}= 10"),
            Some((
                params((12, false), (10, false)),
                format!("; {s_nct}; {c_nct}; {s_bits}=12; {c_bits}=10"),
            )),
        ),
        // The server limits itself without telling, and the client where that is possible.
        (small, String::new(), none.clone()),
        (
            small,
            format!("; {c_bits}"),
            Some((small_params, format!("; {c_bits}=11"))),
        ),
        (
            small,
            format!("; {c_bits}=10"),
            Some((params((10, true), (10, true)), format!("; {c_bits}=10"))),
        ),
        (
            small,
            format!("; {c_bits}=15"),
            Some((small_params, format!("; {c_bits}=11"))),
        ),
        (
            small,
            format!("; {s_bits}=15; {c_bits}"),
            Some((small_params, format!("; {s_bits}=10; {c_bits}=11"))),
        ),
        (
            small,
            format!("; {s_bits}=9; {c_bits}"),
            Some((
                params((9, true), (11, true)),
                format!("; {s_bits}=9; {c_bits}=11"),
            )),
        ),
        (
            frugal,
            String::new(),
            Some((frugal_params, format!("; {s_nct}; {c_nct}"))),
        ),
    ];
    for (config, offer, expected) in cases {
        let expected =
            expected.map(|(agreed, answer)| (agreed, format!("permessage-deflate{answer}")));
        let offer = format!("permessage-deflate{offer}");
        assert_eq!(accept(&config, &offer), expected, "{offer}");
    }
}

/// PD02, PD04: what is declined.
#[test]
fn server_judges_a_wrong_offer_declines_it() {
    let bits = [
        "", "=", "=0", "=7", "=16", "=08", "=+9", "=-9", "=9.0", "=015", "=1", "=115", "=\"16\"",
        "=a",
    ];
    let mut offers: Vec<String> = bits
        .iter()
        .map(|value| format!("server_max_window_bits{value}"))
        .collect();
    offers.extend(
        bits.iter()
            .skip(1)
            .map(|value| format!("client_max_window_bits{value}")),
    );
    offers.extend(
        [
            "server_no_context_takeover=1",
            "client_no_context_takeover=true",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover; client_no_context_takeover",
            "server_max_window_bits=9; server_max_window_bits=9",
            "client_max_window_bits; client_max_window_bits",
            "client_max_window_bits=9; client_max_window_bits",
            "Server_no_context_takeover",
            "unknown",
            "unknown=1",
            "server_no_context_takeover; unknown",
        ]
        .map(str::to_owned),
    );
    for offer in offers {
        let offer = format!("permessage-deflate; {offer}");
        assert_eq!(accept(&DeflateConfig::MAX, &offer), None, "{offer}");
        // It is only this offer that is declined.
        let both = format!("{offer}, permessage-deflate");
        let is_list = !offer.ends_with('=') && !offer.contains("=+");
        assert_eq!(
            accept(&DeflateConfig::MAX, &both).is_some(),
            is_list || offer.contains("=+"),
            "{both}"
        );
    }
    for other in [
        "",
        "x-webkit-deflate-frame",
        "permessage-deflat",
        "Permessage-deflate",
        "permessage-deflate2",
    ] {
        assert_eq!(accept(&DeflateConfig::MAX, other), None, "{other}");
    }
}

/// PD01: the first of several that is acceptable, over several headers; the rest changes nothing.
#[test]
fn server_judges_several_offers_takes_the_first_acceptable() {
    let small = config((10, true), (10, true));
    let values = [
        "x-other; a=b, permessage-deflate",
        "permessage-deflate; unknown, permessage-deflate; client_max_window_bits=9",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover; client_max_window_bits=8",
        "",
    ];
    let accepted = answer(&small, &values).expect("well formed");
    let (agreed, response) = accepted.expect("the third can be accepted");
    assert_eq!(agreed, params((10, true), (9, true)));
    assert_eq!(response, "permessage-deflate; client_max_window_bits=9");
    assert_eq!(answer(&DeflateConfig::MAX, &[]), Ok(None));
    assert_eq!(answer(&DeflateConfig::MAX, &[""]), Ok(None));
    // A name, or a parameter, of which another one is the beginning.
    for value in [
        "permessage-deflate-x",
        "permessage-deflat",
        "permessage",
        "x",
    ] {
        assert_eq!(answer(&DeflateConfig::MAX, &[value]), Ok(None), "{value}");
    }
    // What is malformed fails the handshake, accepted before or not.
    let wrong = Err(HandshakeError::Extensions);
    for value in ["permessage-deflate;", "permessage-deflate, ", "a b"] {
        assert_eq!(
            answer(&DeflateConfig::MAX, &["permessage-deflate", value]),
            wrong,
            "{value}"
        );
    }
    // A server that does not want compression has none.
    let offers = Offers::new().subprotocols(&["permessage-deflate"]);
    let headers = [
        ("sec-websocket-version", &b"13"[..]),
        ("sec-websocket-extensions", b"permessage-deflate"),
    ];
    let upgrade = Upgrade::from_headers("CONNECT", (2, 0), headers, &offers, LIMITS);
    assert_eq!(upgrade.expect("right").agreed().deflate, None);
    // One that has no memory left does without.
    let offers = Offers::new().deflate(DeflateConfig::MAX);
    let upgrade = Upgrade::from_headers("CONNECT", (2, 0), headers, &offers, LIMITS);
    let upgrade = upgrade.expect("right");
    assert_eq!(upgrade.agreed().deflate, Some(params(ALL, ALL)));
    let without = upgrade.without_deflate();
    assert_eq!(without.agreed().deflate, None);
    assert_eq!(without.agreed().config.max_message_len, 1000);
    without.each_header(&without.answer(&offers), |name, _| {
        assert_ne!(name, EXTENSIONS)
    });
}

/// PD03 to PD07, PD12: what a client takes for an answer to which offer.
#[test]
fn client_judges_an_answer_takes_what_fits_its_offer() {
    let all = DeflateConfig::MAX;
    let small = config((10, true), (11, true));
    let frugal = config((15, false), (15, false));
    let default = DeflateConfig::default();
    let (all_params, small_params) = (params(ALL, ALL), params((10, true), (11, true)));
    let (frugal_params, default_params) =
        (params((15, false), (15, false)), params((12, true), ALL));
    let wrong = Err(HandshakeError::Extensions);
    let offered = [
        (all, "; client_max_window_bits"),
        (default, "; client_max_window_bits=12"),
        (
            small,
            "; server_max_window_bits=11; client_max_window_bits=10",
        ),
        (
            frugal,
            "; server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
        ),
    ];
    for (config, expected) in offered {
        let offers = Offers::new().deflate(config);
        assert_eq!(offer(&offers), format!("permessage-deflate{expected}"));
    }
    let cases = [
        (all, "", Ok(Some(all_params))),
        (
            all,
            "; server_no_context_takeover",
            Ok(Some(params(ALL, (15, false)))),
        ),
        (
            all,
            "; client_no_context_takeover",
            Ok(Some(params((15, false), ALL))),
        ),
        (
            all,
            "; server_max_window_bits=9",
            Ok(Some(params(ALL, (9, true)))),
        ),
        (
            all,
            "; client_max_window_bits=8",
            Ok(Some(params((8, true), ALL))),
        ),
        (all, "; client_max_window_bits", wrong),
        (all, "; client_max_window_bits=7", wrong),
        (all, "; server_max_window_bits", wrong),
        (all, "; server_max_window_bits=16", wrong),
        (all, "; server_no_context_takeover=1", wrong),
        (
            all,
            "; server_no_context_takeover; server_no_context_takeover",
            wrong,
        ),
        (all, "; unknown", wrong),
        (all, ", permessage-deflate", wrong),
        (small, "", wrong),
        (small, "; server_max_window_bits=12", wrong),
        (small, "; server_max_window_bits=11", Ok(Some(small_params))),
        (
            small,
            "; server_max_window_bits=8; client_max_window_bits=11",
            Ok(Some(params((10, true), (8, true)))),
        ),
        (
            small,
            "; server_max_window_bits=8; client_max_window_bits=9",
            Ok(Some(params((9, true), (8, true)))),
        ),
        // The value that was offered is a hint, which a server may ignore.
        (default, "", Ok(Some(default_params))),
        (
            default,
            "; client_max_window_bits=15",
            Ok(Some(default_params)),
        ),
        (
            default,
            "; client_max_window_bits=8",
            Ok(Some(params((8, true), ALL))),
        ),
        (frugal, "", wrong),
        (frugal, "; client_no_context_takeover", wrong),
        (
            frugal,
            "; server_no_context_takeover",
            Ok(Some(frugal_params)),
        ),
    ];
    for (config, answer, expected) in cases {
        let answer = format!("permessage-deflate{answer}");
        let offers = Offers::new().deflate(config);
        assert_eq!(confirm(&offers, &[&answer]), expected, "{answer}");
    }
    let offers = Offers::new().deflate(all);
    assert_eq!(confirm(&offers, &[]), Ok(None));
    assert_eq!(confirm(&offers, &[""]), Ok(None));
    assert_eq!(confirm(&offers, &["x-other"]), wrong);
    assert_eq!(confirm(&offers, &["permessage-deflate"; 2]), wrong);
    assert_eq!(confirm(&Offers::new(), &["permessage-deflate"]), wrong);
    // Beside an extension of the application's own, in any order.
    let offers = offers.extensions(&["x-other; a=b"]);
    assert_eq!(
        confirm(&offers, &["x-other", "permessage-deflate"]),
        Ok(Some(all_params))
    );
    assert_eq!(
        confirm(&offers, &["permessage-deflate, x-other"]),
        Ok(Some(all_params))
    );
    assert_eq!(confirm(&offers, &["x-other; c"]), Ok(None));
    assert_eq!(confirm(&offers, &["x-other2"]), wrong);
}

/// Some servers agree to the extension, and leave out the window or the lack of context takeover that
/// was asked for. A client that has the memory goes on: to fail would protect nobody.
///
/// PD05, PD09
#[test]
fn client_with_memory_takes_more_than_it_asked_for() {
    let wrong = Err(HandshakeError::Extensions);
    let asked = config((10, true), (10, false));
    let offers = Offers::new().deflate(asked);
    let (none, bits, takeover) = (
        "permessage-deflate",
        "permessage-deflate; server_max_window_bits=10",
        "permessage-deflate; server_no_context_takeover",
    );
    let cases = [
        // Room for what was asked only, for a larger window, for the window before, for both.
        (context(10, false), none, wrong),
        (context(10, false), bits, wrong),
        (context(10, false), takeover, wrong),
        (context(8, false), bits, wrong),
        (context(15, false), none, wrong),
        (context(15, false), bits, wrong),
        (context(15, false), takeover, Ok((15, false))),
        (context(14, false), takeover, wrong),
        (context(10, true), none, wrong),
        (context(10, true), bits, Ok((10, true))),
        (context(8, true), bits, Ok((10, true))),
        (context(10, true), takeover, wrong),
        (context(15, true), none, Ok((15, true))),
        (context(15, true), bits, Ok((10, true))),
        (context(15, true), takeover, Ok((15, false))),
        (context(15, true), "permessage-deflate; unknown", wrong),
    ];
    for (memory, answer, receive) in cases {
        let agreed = receive.map(|receive| Some(params((10, true), receive)));
        let offers = offers.deflate_memory(memory);
        // The offer asks for no more than before.
        assert_eq!(
            offer(&offers),
            "permessage-deflate; server_no_context_takeover; server_max_window_bits=10; \
             client_max_window_bits=10"
        );
        assert_eq!(confirm(&offers, &[answer]), agreed, "{answer}, {memory:?}");
    }
    assert_eq!(
        Offers::new().deflate_memory(DeflateContext::MAX),
        Offers::new()
    );
}

/// PD05, PD09, PD11: both roles of this crate come to the same, whatever each of them wants.
#[test]
fn client_and_server_with_any_limits_agree() {
    let contexts = || {
        [8, 10, 15]
            .into_iter()
            .flat_map(|bits| [context(bits, true), context(bits, false)])
    };
    let configs: Vec<DeflateConfig> = contexts()
        .flat_map(|send| contexts().map(move |receive| DeflateConfig { send, receive }))
        .collect();
    for client in &configs {
        for server in &configs {
            let offers = Offers::new().deflate(*client);
            let (accepted, response) =
                accept(server, &offer(&offers)).expect("it can limit itself");
            let agreed = confirm(&offers, &[&response]);
            let agreed = agreed.expect("it fits").expect("it was accepted");
            assert_eq!(agreed.send.takeover, accepted.receive.takeover);
            assert_eq!(agreed.receive.takeover, accepted.send.takeover);
            // Who sends may use less than the other keeps.
            assert!(agreed.send.window_bits <= accepted.receive.window_bits);
            assert!(accepted.send.window_bits <= agreed.receive.window_bits);
            for (agreed, limit) in [(agreed, client), (accepted, server)] {
                assert!(agreed.receive.window_bits <= limit.receive.window_bits);
                assert!(agreed.send.window_bits <= limit.send.window_bits);
                assert!(agreed.send.takeover <= limit.send.takeover);
                assert!(agreed.receive.takeover <= limit.receive.takeover);
            }
        }
    }
}
