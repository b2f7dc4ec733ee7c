//! How what a proxy or a server sends is cut into reads makes no difference, and what was encoded
//! is decoded to the same.

use core::fmt::Write as _;

use motews_net::{Body, BodyError, Framing, Host, Proxy, Tunnel};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// `bytes`, cut at `cuts`. Some of the pieces may be empty.
fn pieces<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|ends| &bytes[ends[0]..ends[1]])
        .collect()
}

#[derive(Debug, PartialEq)]
struct Decoded {
    content: Vec<u8>,
    error: Option<BodyError>,
    complete: bool,
    truncated: bool,
    consumed: usize,
}

fn decode(framing: Framing, limit: usize, pieces: &[&[u8]]) -> Decoded {
    let mut body = Body::new(framing, limit);
    let mut decoded = Decoded {
        content: Vec::new(),
        error: None,
        complete: false,
        truncated: false,
        consumed: 0,
    };
    for piece in pieces {
        let mut input = *piece;
        loop {
            match body.next_content(&mut input) {
                Ok(Some(content)) => decoded.content.extend_from_slice(content),
                Ok(None) => break,
                Err(error) => {
                    decoded.error = Some(error);
                    break;
                }
            }
        }
        decoded.consumed += piece.len() - input.len();
        let wants_more = !body.is_complete() && decoded.error.is_none();
        assert!(
            !wants_more || input.is_empty(),
            "it wants more, and leaves some"
        );
    }
    decoded.complete = body.is_complete();
    decoded.truncated = body.is_truncated();
    decoded
}

fn chunked(chunks: &[Vec<u8>], extension: &str, trailers: &[String]) -> Vec<u8> {
    let mut body = Vec::new();
    for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
        body.extend(format!("{:x}{extension}\r\n", chunk.len()).bytes());
        body.extend(chunk);
        body.extend(b"\r\n");
    }
    body.extend(format!("0{extension}\r\n").bytes());
    for trailer in trailers {
        body.extend(format!("X: {trailer}\r\n").bytes());
    }
    body.extend(b"\r\n");
    body
}

/// What became of a tunnel: what it has sent, whether it is open, the error, bytes consumed.
fn open(mut tunnel: Tunnel, pieces: &[&[u8]]) -> (Vec<u8>, bool, String, usize) {
    let mut sent = Vec::new();
    let mut consumed = 0;
    let mut result = Ok(());
    for piece in pieces {
        sent.extend_from_slice(tunnel.to_send());
        tunnel.sent(tunnel.to_send().len());
        let mut input = *piece;
        result = tunnel.receive(&mut input);
        consumed += piece.len() - input.len();
    }
    sent.extend_from_slice(tunnel.to_send());
    if result.is_ok() {
        result = tunnel.receive_eof();
    }
    (sent, tunnel.is_open(), format!("{result:?}"), consumed)
}

fn tunnel(proxy: &str) -> Tunnel {
    let proxy = Proxy::parse(proxy).expect("a proxy");
    let host = Host::Name("server.example".to_owned());
    proxy.tunnel(&host, 443).expect("a tunnel")
}

const HEADS: [&[u8]; 5] = [
    b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.0 200 OK\r\n\r\n",
    b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 4\r\n\r\nwho?",
    b"HTTP/1.1 502 Bad Gateway\r\nA: b\r\n c\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwhy\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nbroken\r\n\r\n",
];

const SOCKS: [&[u8]; 5] = [
    &[5, 0, 5, 0, 0, 1, 1, 2, 3, 4, 5, 6],
    &[5, 2, 1, 0, 5, 0, 0, 3, 3, b'a', b'.', b'b', 5, 6],
    &[5, 2, 1, 1],
    &[5, 0, 5, 4, 0, 1, 0, 0, 0, 0, 0, 0],
    &[5, 0, 5, 0, 0, 9, 0, 0, 0, 0, 0, 0],
];

proptest! {
    #[test]
    fn chunked_body_in_any_pieces_is_decoded(
        chunks in vec(vec(any::<u8>(), 0..300), 0..8),
        extension in "( |;[a-z]{1,5}(=[a-z\"]{1,5})?){0,2}",
        trailers in vec("[ -~]{0,10}", 0..3),
        cuts in vec(any::<Index>(), 0..12),
        limit in 0..2000_usize,
    ) {
        let mut stream = chunked(&chunks, &extension, &trailers);
        let len = stream.len();
        stream.extend(b"what follows");
        let expected = chunks.concat();
        let decoded = decode(Framing::Chunked, limit, &pieces(&stream, &cuts));
        let within = expected.len() <= limit;
        prop_assert_eq!(&decoded.content, &expected[..expected.len().min(limit)]);
        prop_assert_eq!(decoded.error, None);
        prop_assert!(decoded.complete);
        prop_assert_eq!(decoded.truncated, !within);
        prop_assert!(!within || decoded.consumed == len);
        prop_assert_eq!(decode(Framing::Chunked, limit, &[&stream]), decoded);
    }

    #[test]
    fn damaged_chunked_body_in_any_pieces_comes_to_the_same(
        chunks in vec(vec(any::<u8>(), 0..20), 0..4),
        damage in vec((any::<Index>(), any::<u8>()), 1..4),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let mut stream = chunked(&chunks, ";a", &["b".to_owned()]);
        for (at, byte) in damage {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        let whole = decode(Framing::Chunked, 50, &[&stream]);
        prop_assert_eq!(decode(Framing::Chunked, 50, &pieces(&stream, &cuts)), whole);
    }

    #[test]
    fn counted_body_in_any_pieces_is_decoded(
        stream in vec(any::<u8>(), 0..300),
        length in 0..400_u64,
        limit in 0..400_usize,
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let decoded = decode(Framing::Counted(length), limit, &pieces(&stream, &cuts));
        let end = stream.len().min(limit).min(length as usize);
        prop_assert_eq!(&decoded.content, &stream[..end]);
        prop_assert_eq!(decoded.consumed, end);
        prop_assert_eq!(decoded.error, None);
        let whole = decode(Framing::Counted(length), limit, &[&stream]);
        prop_assert_eq!(decoded, whole);
    }

    #[test]
    fn answers_of_a_proxy_in_any_pieces_come_to_the_same(
        head in proptest::sample::select(&HEADS),
        socks in proptest::sample::select(&SOCKS),
        damage in vec((any::<Index>(), any::<u8>()), 0..2),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        for (proxy, answer) in [("proxy", head), ("socks5h://u:p@proxy", socks)] {
            let mut stream = answer.to_vec();
            for (at, byte) in &damage {
                let at = at.index(stream.len());
                stream[at] = *byte;
            }
            stream.extend(b"from the server");
            let whole = open(tunnel(proxy), &[&stream]);
            let cut = open(tunnel(proxy), &pieces(&stream, &cuts));
            prop_assert_eq!(&cut, &whole);
            if damage.is_empty() && whole.1 {
                prop_assert_eq!(whole.3, answer.len());
            }
        }
    }
}

#[test]
fn answers_of_a_proxy_byte_by_byte_come_to_the_same() {
    let heads = HEADS.map(|head| ("proxy", head));
    let socks = SOCKS.map(|answer| ("socks5://u:p@proxy", answer));
    let mut seen = String::new();
    for (proxy, answer) in heads.into_iter().chain(socks) {
        let bytes: Vec<&[u8]> = answer.chunks(1).collect();
        let whole = open(tunnel(proxy), &[answer]);
        assert_eq!(open(tunnel(proxy), &bytes), whole, "{answer:?}");
        write!(seen, "{} ", whole.2).expect("a string takes all");
    }
    for outcome in [
        "Ok(())",
        "AuthenticationRequired",
        "Refused",
        "NotHttp",
        "AuthenticationFailed",
        "Socks(HostUnreachable)",
        "NotSocks5",
    ] {
        assert!(seen.contains(outcome), "{outcome}");
    }
}
