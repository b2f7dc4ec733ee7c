//! Which parameters of permessage-deflate are agreed upon (RFC 7692 §5, §7.1), in both roles.
#![cfg(feature = "deflate")]

use motews::deflate::{Context, Deflate, Offers, WindowBits};
use motews::handshake::{HandshakeError, RequestEvent, ServerHandshake};
use motews_testkit::head::Head;

fn context(bits: u8, takeover: bool) -> Context {
    Context {
        window_bits: WindowBits::new(bits).expect("8 to 15"),
        takeover,
    }
}

fn deflate(send: (u8, bool), receive: (u8, bool)) -> Deflate {
    Deflate {
        send: context(send.0, send.1),
        receive: context(receive.0, receive.1),
    }
}

const ALL: (u8, bool) = (15, true);

/// What a server uses then, and what it answers.
type Answer = Option<(Deflate, String)>;

fn accept(config: &Deflate, value: &str) -> Answer {
    let accepted = config.accept([value.as_bytes()])?;
    Some((accepted.agreed, accepted.response.as_str().to_owned()))
}

/// PD01, PD05 to PD11: each parameter of an offer, under limits of the server's own.
#[test]
fn server_judges_an_offer_answers_with_what_it_keeps_to() {
    let (all, none) = (deflate(ALL, ALL), None);
    let small = deflate((10, true), (11, true));
    let frugal = deflate((15, false), (15, false));
    let (s_nct, c_nct) = ("server_no_context_takeover", "client_no_context_takeover");
    let (s_bits, c_bits) = ("server_max_window_bits", "client_max_window_bits");
    let cases: Vec<(Deflate, String, Answer)> = vec![
        (all, String::new(), Some((all, String::new()))),
        (all, format!("; {c_bits}"), Some((all, String::new()))),
        (
            all,
            format!("; {s_nct}"),
            Some((deflate((15, false), ALL), format!("; {s_nct}"))),
        ),
        (
            all,
            format!("; {c_nct}"),
            Some((deflate(ALL, (15, false)), format!("; {c_nct}"))),
        ),
        (
            all,
            format!("; {s_bits}=15"),
            Some((all, format!("; {s_bits}=15"))),
        ),
        (
            all,
            format!("; {s_bits}=8"),
            Some((deflate((8, true), ALL), format!("; {s_bits}=8"))),
        ),
        (
            all,
            format!("; {c_bits}=9"),
            Some((deflate(ALL, (9, true)), format!("; {c_bits}=9"))),
        ),
        (
            all,
            format!(";{s_nct}  ; {c_nct};{s_bits}=\"12\" ;{c_bits}= 10"),
            Some((
                deflate((12, false), (10, false)),
                format!("; {s_nct}; {c_nct}; {s_bits}=12; {c_bits}=10"),
            )),
        ),
        // The server limits itself without telling, and the client where that is possible.
        (small, String::new(), none.clone()),
        (
            small,
            format!("; {c_bits}"),
            Some((small, format!("; {c_bits}=11"))),
        ),
        (
            small,
            format!("; {c_bits}=10"),
            Some((deflate((10, true), (10, true)), format!("; {c_bits}=10"))),
        ),
        (
            small,
            format!("; {c_bits}=15"),
            Some((small, format!("; {c_bits}=11"))),
        ),
        (
            small,
            format!("; {s_bits}=15; {c_bits}"),
            Some((small, format!("; {s_bits}=10; {c_bits}=11"))),
        ),
        (
            small,
            format!("; {s_bits}=9; {c_bits}"),
            Some((
                deflate((9, true), (11, true)),
                format!("; {s_bits}=9; {c_bits}=11"),
            )),
        ),
        (
            frugal,
            String::new(),
            Some((frugal, format!("; {s_nct}; {c_nct}"))),
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
        assert_eq!(accept(&Deflate::MAX, &offer), None, "{offer}");
        // It is only this offer that is declined.
        let both = format!("{offer}, permessage-deflate");
        let is_list = !offer.ends_with('=') && !offer.contains("=+");
        assert_eq!(
            accept(&Deflate::MAX, &both).is_some(),
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
        assert_eq!(accept(&Deflate::MAX, other), None, "{other}");
    }
}

/// PD01: the first of several that is acceptable, over several headers.
#[test]
fn server_judges_several_offers_takes_the_first_acceptable() {
    let small = deflate((10, true), (10, true));
    let values: [&[u8]; 3] = [
        b"x-other; a=b, permessage-deflate",
        b"permessage-deflate; unknown, permessage-deflate; client_max_window_bits=9",
        b"permessage-deflate; client_max_window_bits",
    ];
    let accepted = small.accept(values).expect("the second can be accepted");
    assert_eq!(
        accepted.response.as_str(),
        "permessage-deflate; client_max_window_bits=9"
    );
    assert_eq!(Deflate::MAX.accept([]), None);
}

/// What `Offers` of `N` bytes make of these headers, which come in parts of any size.
fn gathered<const N: usize>(values: &[&str]) -> Vec<Option<String>> {
    let request = values.iter().fold(Head::request(), |head, value| {
        head.and("sec-websocket-extensions", value)
            .and("X-Other", "a,b")
    });
    let request = request.to_bytes();
    let gather = |room: usize| {
        let mut offers = Offers::<N>::default();
        let mut handshake = ServerHandshake::new(vec![0; room]);
        let mut input = &request[..];
        while let Some(event) = handshake.next_event(&mut input).expect("it is correct") {
            if let RequestEvent::Header(header) = event {
                offers.push(&header);
            }
        }
        let accepted = offers.accept(&Deflate::MAX)?;
        Some(accepted.response.as_str().to_owned())
    };
    [45, 64, 99, 500].map(gather).to_vec()
}

/// PD01: those that are whole count where there is no room for all.
#[test]
fn server_gathers_offers_leaves_out_what_there_is_no_room_for() {
    let (eight, nine) = (
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=9",
    );
    let len = eight.len();
    assert_eq!(len, 44);
    let accepted = |offer: &str| vec![Some(offer.to_owned()); 4];
    let none = vec![None; 4];
    assert_eq!(gathered::<128>(&[]), none);
    assert_eq!(gathered::<128>(&["x-other"]), none);
    for one in [&[eight][..], &[eight, nine], &[eight, eight, nine]] {
        assert_eq!(gathered::<0>(one), none);
        assert_eq!(gathered::<1>(one), none);
        assert_eq!(gathered::<43>(one), none);
        assert_eq!(gathered::<44>(one), accepted(eight));
        assert_eq!(gathered::<45>(one), accepted(eight));
        assert_eq!(gathered::<60>(one), accepted(eight));
        assert_eq!(gathered::<500>(one), accepted(eight));
    }
    let both = format!("x-other,{nine},{eight}");
    assert_eq!(gathered::<51>(&[&both]), none);
    assert_eq!(gathered::<52>(&[&both]), accepted(nine));
    assert_eq!(gathered::<53>(&["x-other", nine, eight]), accepted(nine));
    assert_eq!(gathered::<500>(&["x-other", nine, eight]), accepted(nine));
}

/// PD03 to PD07, PD12: what a client takes for an answer to which offer.
#[test]
fn client_judges_an_answer_takes_what_fits_its_offer() {
    let all = Deflate::MAX;
    let small = deflate((10, true), (11, true));
    let frugal = deflate((15, false), (15, false));
    let wrong = Err(HandshakeError::Extensions);
    let offers = [
        (all, "; client_max_window_bits"),
        (Deflate::default(), "; client_max_window_bits=12"),
        (
            small,
            "; server_max_window_bits=11; client_max_window_bits=10",
        ),
        (
            frugal,
            "; server_no_context_takeover; client_no_context_takeover; client_max_window_bits",
        ),
    ];
    for (config, offer) in offers {
        assert_eq!(
            config.offer().as_str(),
            format!("permessage-deflate{offer}")
        );
    }
    let cases = [
        (all, "", Ok(Some(all))),
        (
            all,
            "; server_no_context_takeover",
            Ok(Some(deflate(ALL, (15, false)))),
        ),
        (
            all,
            "; client_no_context_takeover",
            Ok(Some(deflate((15, false), ALL))),
        ),
        (
            all,
            "; server_max_window_bits=9",
            Ok(Some(deflate(ALL, (9, true)))),
        ),
        (
            all,
            "; client_max_window_bits=8",
            Ok(Some(deflate((8, true), ALL))),
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
        (small, "; server_max_window_bits=11", Ok(Some(small))),
        (
            small,
            "; server_max_window_bits=8; client_max_window_bits=11",
            Ok(Some(deflate((10, true), (8, true)))),
        ),
        (
            small,
            "; server_max_window_bits=8; client_max_window_bits=9",
            Ok(Some(deflate((9, true), (8, true)))),
        ),
        // The value that was offered is a hint, which a server may ignore.
        (Deflate::default(), "", Ok(Some(Deflate::default()))),
        (
            Deflate::default(),
            "; client_max_window_bits=15",
            Ok(Some(Deflate::default())),
        ),
        (
            Deflate::default(),
            "; client_max_window_bits=8",
            Ok(Some(deflate((8, true), ALL))),
        ),
        (frugal, "", wrong),
        (frugal, "; client_no_context_takeover", wrong),
        (frugal, "; server_no_context_takeover", Ok(Some(frugal))),
    ];
    for (config, answer, expected) in cases {
        let answer = format!("permessage-deflate{answer}");
        assert_eq!(config.confirm([answer.as_bytes()]), expected, "{answer}");
    }
    assert_eq!(all.confirm([]), Ok(None));
    assert_eq!(all.confirm([&b"x-other"[..]]), Ok(None));
    let twice = [&b"permessage-deflate"[..], b"permessage-deflate"];
    assert_eq!(all.confirm(twice), wrong);
}

/// PD05, PD09, PD11: both roles of this crate come to the same, whatever each of them wants.
#[test]
fn client_and_server_with_any_limits_agree() {
    let contexts = || {
        [8, 10, 15]
            .into_iter()
            .flat_map(|bits| [context(bits, true), context(bits, false)])
    };
    let configs: Vec<Deflate> = contexts()
        .flat_map(|send| contexts().map(move |receive| Deflate { send, receive }))
        .collect();
    for client in &configs {
        for server in &configs {
            let offer = client.offer();
            let accepted = server
                .accept([offer.as_str().as_bytes()])
                .expect("it can limit itself");
            let agreed = client.confirm([accepted.response.as_str().as_bytes()]);
            let agreed = agreed.expect("it fits").expect("it was accepted");
            assert_eq!(agreed.send.takeover, accepted.agreed.receive.takeover);
            assert_eq!(agreed.receive.takeover, accepted.agreed.send.takeover);
            // Who sends may use less than the other keeps.
            assert!(agreed.send.window_bits <= accepted.agreed.receive.window_bits);
            assert!(accepted.agreed.send.window_bits <= agreed.receive.window_bits);
            for (agreed, limit) in [(agreed, client), (accepted.agreed, server)] {
                assert!(agreed.receive.window_bits <= limit.receive.window_bits);
                assert!(agreed.send.window_bits <= limit.send.window_bits);
                assert!(agreed.send.takeover <= limit.send.takeover);
                assert!(agreed.receive.takeover <= limit.receive.takeover);
            }
        }
    }
}
