//! The command lines of the examples: what they print, and how they end.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use base64::Engine;
use motews_std::rustls::ServerConfig;
use motews_std::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use motews_std::tls::TlsStream;
use motews_std::{Connector, DeflateConfig};
use motews_tests::{ServerProcess, example, free_port, wait_until};
use tungstenite::Message;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

/// How long a program may run.
const LIMIT: Duration = Duration::from_secs(30);

/// The exit statuses of `client`, as its help tells them.
const FINE: i32 = 0;
const BROKEN: i32 = 1;
const USAGE: i32 = 2;
const NOT_CONNECTED: i32 = 3;

#[test]
#[ignore = "builds the examples"]
fn client_lines_are_sent_and_echoes_printed() {
    let server = ServerProcess::example("echo", folder());
    let ended = client(
        &[&server.url()],
        "a\nb\r\n\n你好 👩‍👩‍👧‍👦\n/not a command\nno newline",
    );
    let expected = "a\nb\n\n你好 👩‍👩‍👧‍👦\n/not a command\nno newline\n";
    ended.expect(FINE, expected, "");
}

#[test]
#[ignore = "builds the examples"]
fn client_much_at_once_passes_whole() {
    let server = ServerProcess::example("echo", folder());
    let lines: String = (0..50_000).map(|n| format!("line {n} 行\n")).collect();
    client(&[&server.url()], &lines).expect(FINE, &lines, "");
}

#[test]
#[ignore = "builds the examples"]
fn client_commands_do_what_they_say() {
    let server = ServerProcess::example("echo", folder());
    let file = file("sent.bin", &[7; 20]);
    let input = format!(
        "/ping hi\n//slash\n/send {}\n/nonsense\n/close 1005\n/close 4002 tschüß\n",
        file.display()
    );
    let ended = client(&[&server.url(), "--commands", "--verbose"], &input);
    assert_eq!(ended.status, BROKEN, "{ended:?}");
    let bytes = " 07".repeat(16);
    assert_eq!(
        ended.stdout,
        format!("/slash\nbinary, 20 bytes:{bytes} ...\n")
    );
    for part in [
        "connected to ws://",
        "no command /nonsense",
        "this close code may not be sent",
        "closed: 4002\n",
        "not all of the input was sent",
    ] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
}

#[test]
#[ignore = "builds the examples"]
fn client_binary_file_comes_back_into_a_file() {
    let server = ServerProcess::example("echo", folder());
    let bytes: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let sent = file("whole.bin", &bytes);
    let received = folder().join("received.bin");
    let (sent, output) = (sent.display().to_string(), received.display().to_string());
    let arguments = [&server.url(), "--binary", &sent, "--output", &output];
    client(&arguments, "").expect(FINE, "", "");
    assert!(std::fs::read(&received).expect("the client wrote it") == bytes);
}

#[test]
#[ignore = "builds the examples"]
fn client_request_carries_what_the_options_say() {
    let server = Peer::start(|stream| {
        let mut seen = Vec::new();
        #[expect(clippy::result_large_err, reason = "tungstenite's error is a response")]
        let answer = |request: &Request, mut response: Response| {
            for name in ["X-One", "Origin", "Sec-WebSocket-Protocol", "Authorization"] {
                seen.push(request.headers()[name].to_str().expect("text").to_owned());
            }
            seen.push(request.uri().to_string());
            let chosen = "v1".parse().expect("a value");
            response
                .headers_mut()
                .insert("Sec-WebSocket-Protocol", chosen);
            Ok(response)
        };
        let mut ws = tungstenite::accept_hdr(stream, answer).expect("an upgrade");
        ws.send(Message::from(seen.join("; "))).expect("sent");
        while ws.read().is_ok() {}
    });
    let url = format!("ws://me:secret@{}/path?q=1", server.address);
    let options = [
        "-H",
        "X-One: 1",
        "-p",
        "v2,v1",
        "--origin",
        "http://here",
        "-v",
    ];
    let ended = client(&[&[url.as_str()][..], &options].concat(), "");
    server.join();
    assert_eq!(
        ended.stdout,
        "1; http://here; v2, v1; Basic bWU6c2VjcmV0; /path?q=1\n"
    );
    assert!(ended.stderr.contains("/path?q=1, v1\n"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("secret"), "{}", ended.stderr);
}

#[test]
#[ignore = "builds the examples"]
fn client_tells_why_the_server_closed() {
    let server = Peer::start(|stream| {
        let mut ws = tungstenite::accept(stream).expect("an upgrade");
        let code = CloseCode::from(4001);
        let reason = "enough, 再见".into();
        ws.close(Some(CloseFrame { code, reason })).expect("sent");
        while ws.read().is_ok() {}
    });
    let ended = client(&[&server.url()], "");
    ended.expect(BROKEN, "", "client: closed: 4001 enough, 再见\n");
    server.join();
}

#[test]
#[ignore = "builds the examples"]
fn client_tells_of_a_server_that_leaves() {
    let server = Peer::start(|stream| {
        let mut ws = tungstenite::accept(stream).expect("an upgrade");
        ws.send(Message::from("last words")).expect("sent");
    });
    let ended = client(&[&server.url()], "");
    let message = "client: the peer left without a closing handshake\n";
    ended.expect(BROKEN, "last words\n", message);
    server.join();
}

#[test]
#[ignore = "builds the examples"]
fn client_tells_what_is_wrong_with_the_command_line() {
    let cases: [(&[&str], &str); 14] = [
        (&[], "Usage"),
        (&["nonsense"], "has no scheme"),
        (&["ftp://127.0.0.1/"], "does not begin with ws://"),
        (&["ws://127.0.0.1:1/", "-x", "socks4://h"], "socks5://"),
        (&["ws://127.0.0.1:65536/"], "port"),
        (&["ws://127.0.0.1/#top"], "fragment"),
        (&["ws://127.0.0.1:1/", "-H", "no colon"], "NAME: VALUE"),
        (
            &["ws://127.0.0.1:1/", "-H", "A: b\r\nC: d"],
            "control character",
        ),
        (&["ws://127.0.0.1:1/", "--wait", "-1"], "seconds"),
        (&["ws://127.0.0.1:1/", "-z", "--window-bits", "7"], "8..=15"),
        (
            &["ws://127.0.0.1:1/", "-z", "--window-bits", "16"],
            "8..=15",
        ),
        (&["ws://127.0.0.1:1/", "--window-bits", "9"], "--deflate"),
        (&["ws://127.0.0.1:1/", "--no-context-takeover"], "--deflate"),
        (
            &["ws://127.0.0.1:1/", "--binary", "/no/such/file"],
            "cannot read",
        ),
    ];
    for (arguments, message) in cases {
        let ended = client(arguments, "");
        assert_eq!(ended.status, USAGE, "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains(message), "{arguments:?}: {ended:?}");
    }
}

#[test]
#[ignore = "builds the examples"]
fn client_that_compresses_tells_what_was_agreed_upon_and_saved() {
    let mut command = Command::new(example("echo"));
    command.args(["127.0.0.1:0", "--deflate"]);
    let server = ServerProcess::start("echo-saves", &mut command, folder());
    let line = "again, and again, and again, and again, and again: 你好\n";
    let lines = line.repeat(500);
    for (options, agreed) in [
        (&["-z"][..], "client_max_window_bits=12"),
        (
            &["--deflate", "--no-context-takeover", "--window-bits", "15"],
            "server_no_context_takeover; client_no_context_takeover",
        ),
        (
            &["-z", "--window-bits", "8"],
            "server_max_window_bits=8; client_max_window_bits=8",
        ),
    ] {
        let url = server.url();
        let arguments = [&[url.as_str()], options].concat();
        let ended = client(&arguments, &lines);
        assert_eq!((ended.status, &ended.stdout), (FINE, &lines));
        // 57 bytes a line, without its end.
        let told = format!("permessage-deflate; {agreed}: sent 27.8 KiB as ");
        assert!(ended.stderr.starts_with(&told), "{ended:?}");
        assert!(ended.stderr.ends_with(" % saved\n"), "{ended:?}");
    }

    let plain = ServerProcess::example("echo", folder());
    let told = "no compression: the server does not agree on it\n";
    client(&[&plain.url(), "-z"], line).expect(FINE, line, told);
    // Who did not ask is not told.
    client(&[&server.url()], line).expect(FINE, line, "");
}

#[test]
#[ignore = "builds the examples"]
fn servers_that_compress_tell_a_page_what_that_saves() {
    for name in ["echo", "echo_blocking"] {
        let mut command = Command::new(example(name));
        command.args(["127.0.0.1:0", "-z"]);
        let server = ServerProcess::start(&format!("{name}-tells"), &mut command, folder());
        let ask = |query: &str| {
            let request = format!("GET /traffic{query} HTTP/1.1\r\nHost: x\r\n\r\n");
            let answer = http(server.address, &request);
            let (head, body) = answer.split_once("\r\n\r\n").expect("a response");
            (head[9..12].to_owned(), body.to_owned())
        };
        let connect = |query: &str| {
            let builder = Connector::new().deflate(DeflateConfig::MAX);
            let ws = builder.connect(&format!("{}{query}", server.url()));
            ws.expect("motews connects")
        };
        let longest = format!("?{}", "x".repeat(64));
        for query in ["?", "?name", &longest] {
            assert_eq!(ask(query).0, "404");
            let mut ws = connect(query);
            assert_eq!(ask(query).0, "200");
            let mut echo = || {
                ws.send("Hello").expect("sent");
                assert_eq!(ws.recv().expect("an echo"), Some("Hello".into()));
            };
            echo();
            // The server notes it when it has answered.
            let octets = r#"{"messages":5,"payloads":7}"#;
            let told = format!(r#"{{"received":{octets},"sent":{octets}}}"#);
            let mut last = String::new();
            let noted = wait_until(LIMIT, || {
                last = ask(query).1;
                last == told
            });
            assert!(noted, "{name}: {last}");

            // The same page comes back before the server knows that it has gone.
            let again = connect(query);
            let none = r#"{"messages":0,"payloads":0}"#;
            let none = format!(r#"{{"received":{none},"sent":{none}}}"#);
            assert_eq!(ask(query), ("200".to_owned(), none.clone()));
            drop(ws);
            assert_eq!(ask(query), ("200".to_owned(), none));
            drop(again);
            assert!(wait_until(LIMIT, || ask(query).0 == "404"), "{name}");
        }
        let _too_long = connect(&format!("{longest}x"));
        assert_eq!(ask(&format!("{longest}x")).0, "404");
        assert_eq!(ask("").0, "404");
    }
}

#[test]
#[ignore = "builds the examples"]
fn client_tells_why_it_cannot_connect() {
    let refused = format!("ws://127.0.0.1:{}/", free_port());
    let ended = client(&[&refused], "");
    assert_eq!(ended.status, NOT_CONNECTED, "{ended:?}");
    assert!(ended.stderr.contains("nothing listens there"), "{ended:?}");

    let cases = [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\n\r\nNo way\n",
            "the status 404\n  No way\n",
        ),
        (
            "HTTP/1.1 301 Moved\r\nLocation: wss://there/\r\nContent-Length: 0\r\n\r\n",
            "points to wss://there/",
        ),
        (
            "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n",
            "it wants Basic realm=x",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
            "but an ordinary page: the status is 200\n",
        ),
        (
            "HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nNo way\n\r\n0\r\n\r\n",
            "the status 403\n  No way\n",
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n", "is not a WebSocket server"),
        ("", "ended the connection before it answered"),
    ];
    for (response, message) in cases {
        let server = Peer::start(move |mut stream| {
            _ = stream.read(&mut [0; 4096]);
            stream.write_all(response.as_bytes()).expect("written");
        });
        let ended = client(&[&server.url()], "");
        assert_eq!(ended.status, NOT_CONNECTED, "{response}: {ended:?}");
        assert!(ended.stderr.contains(message), "{response}: {ended:?}");
        server.join();
    }
}

#[test]
#[ignore = "builds the examples"]
fn client_message_beyond_the_limit_names_the_option() {
    let server = Peer::start(|stream| {
        let mut ws = motews_std::accept(stream).expect("a client");
        _ = ws.send(vec![0; 17 << 20]);
    });
    let ended = client(&[&server.url(), "--max-message", "16"], "");
    assert_eq!(ended.status, BROKEN, "{ended:?}");
    assert!(ended.stderr.contains("longer than 16 MiB"), "{ended:?}");
    assert!(ended.stderr.contains("--max-message"), "{ended:?}");
    server.join();
}

#[test]
#[ignore = "builds the examples"]
fn client_follows_redirects_if_asked_to() {
    let there = Peer::start(|stream| {
        let mut ws = motews_std::accept(stream).expect("a client");
        while let Ok(Some(message)) = ws.recv() {
            ws.send(message).expect("sent");
        }
    });
    let location = there.url();
    let here = Peer::start(move |mut stream| {
        _ = stream.read(&mut [0; 4096]);
        let head = format!("HTTP/1.1 301 Moved\r\nLocation: {location}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("written");
    });
    client(&["-L", &here.url()], "hello\n").expect(FINE, "hello\n", "");
    here.join();
    there.join();
}

#[test]
#[ignore = "builds the examples"]
fn client_goes_through_the_proxy_it_is_given() {
    let proxy = Peer::start(|mut stream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a head");
            head.extend(byte);
        }
        assert!(head.starts_with(b"CONNECT nowhere.invalid:80 "));
        stream
            .write_all(b"HTTP/1.1 200 OK\r\n\r\n")
            .expect("written");
        // It is the server, too.
        let mut ws = motews_std::accept(stream).expect("a client");
        while let Ok(Some(message)) = ws.recv() {
            ws.send(message).expect("sent");
        }
    });
    let url = proxy.address.to_string();
    client(&["-x", &url, "ws://nowhere.invalid/"], "hello\n").expect(FINE, "hello\n", "");
    proxy.join();
}

#[test]
#[ignore = "builds the examples"]
fn client_silent_server_is_given_up() {
    let server = Peer::start(|mut stream| {
        _ = stream.read_to_end(&mut Vec::new());
    });
    let ended = client(&[&server.url(), "--timeout", "0.3"], "");
    assert_eq!(ended.status, NOT_CONNECTED, "{ended:?}");
    assert!(ended.stderr.contains("in time"), "{ended:?}");
    server.join();
}

/// EX04
#[test]
#[ignore = "builds the examples"]
fn client_trusts_the_authority_it_is_given_and_no_other() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a key");
    let base64 = base64::engine::general_purpose::STANDARD.encode(made.cert.der());
    let ca = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
    let ca = file("ca.pem", ca.as_bytes());
    let ca = ca.display().to_string();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a certificate and its key");
    let config = Arc::new(config);
    let serve = |config: Arc<ServerConfig>| {
        Peer::start(move |stream| {
            let stream = TlsStream::server(stream, config).expect("a configuration");
            let Ok(mut ws) = motews_std::accept(stream) else {
                return;
            };
            while let Ok(Some(message)) = ws.recv() {
                ws.send(message).expect("sent");
            }
        })
    };

    let server = serve(Arc::clone(&config));
    let url = format!("wss://localhost:{}/", server.address.port());
    client(&[&url, "--ca", &ca], "秘密\n").expect(FINE, "秘密\n", "");
    server.join();

    let server = serve(config);
    let url = format!("wss://localhost:{}/", server.address.port());
    let ended = client(&[&url], "");
    assert_eq!(ended.status, NOT_CONNECTED, "{ended:?}");
    assert!(ended.stderr.contains("--ca FILE"), "{ended:?}");
    server.join();

    let not_ca = file("not-ca.pem", b"no certificate");
    let ended = client(&[&url, "--ca", &not_ca.display().to_string()], "");
    assert_eq!(ended.status, USAGE, "{ended:?}");
    assert!(ended.stderr.contains("no certificate"), "{ended:?}");
}

#[test]
#[ignore = "builds the examples"]
fn echo_browser_gets_the_page_and_other_paths_nothing() {
    let server = ServerProcess::example("echo", folder());
    let page = http(server.address, "GET / HTTP/1.1\r\nHost: here\r\n\r\n");
    let (head, body) = page.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    for header in [
        "Content-Type: text/html; charset=utf-8",
        "Cache-Control: no-store",
        &format!("Content-Length: {}", body.len()),
    ] {
        assert!(head.lines().any(|line| line == header), "{header}: {head}");
    }
    assert!(body.starts_with("<!doctype html>") && body.ends_with("</html>\n"));

    for (request, status) in [
        ("GET /favicon.ico HTTP/1.1\r\nHost: here\r\n\r\n", "404 "),
        ("DELETE / HTTP/1.1\r\nHost: here\r\n\r\n", "405 "),
        ("nonsense\r\n\r\n", "400 "),
    ] {
        let answer = http(server.address, request);
        let expected = format!("HTTP/1.1 {status}");
        assert!(answer.starts_with(&expected), "{request}: {answer}");
    }
}

#[test]
#[ignore = "builds the examples"]
fn servers_one_connection_too_many_is_refused() {
    for name in ["echo", "echo_blocking", "chat", "video", "video_control"] {
        let mut command = Command::new(example(name));
        command.args(["127.0.0.1:0", "--max-connections", "2"]);
        let server = ServerProcess::start(&format!("{name}-small"), &mut command, folder());
        let connect = || tungstenite::connect(server.url()).map(|(ws, _)| ws);
        let mut first = connect().expect("room");
        let second = connect().expect("room");
        let Err(tungstenite::Error::Http(response)) = connect() else {
            panic!("{name}: there was room for a third");
        };
        assert_eq!(response.status(), 503);
        // The page is there, to tell of it.
        let page = http(server.address, "GET / HTTP/1.1\r\nHost: here\r\n\r\n");
        assert!(page.starts_with("HTTP/1.1 200 "), "{name}: {page}");
        if name.starts_with("echo") {
            first.send(Message::from("still here")).expect("sent");
            assert_eq!(first.read().expect("an echo"), Message::from("still here"));
        }

        drop(second);
        assert!(
            wait_until(LIMIT, || connect().is_ok()),
            "{name}: no room again"
        );
    }
}

#[test]
#[ignore = "builds the examples"]
fn servers_told_to_stop_say_that_they_go_away() {
    for name in ["echo", "chat", "video", "video_control"] {
        let mut server = ServerProcess::example(name, folder());
        let (mut ws, _) = tungstenite::connect(server.url()).expect("room");
        let stopped = Command::new("kill")
            .args(["-TERM", &server.process.id().to_string()])
            .status();
        assert!(stopped.expect("kill runs").success());
        let frame = loop {
            match ws.read().expect("a Close") {
                Message::Close(frame) => break frame.expect("a code"),
                _ => continue,
            }
        };
        assert_eq!(frame.code, CloseCode::Away, "{name}");
        // tungstenite answers the Close when it is asked for more.
        while ws.read().is_ok() {}
        assert!(server.process.wait(LIMIT).success(), "{name}");
    }
}

#[test]
#[ignore = "builds the examples"]
fn echo_on_several_threads_serves_all() {
    let mut command = Command::new(example("echo"));
    command.args(["127.0.0.1:0", "--threads", "4"]);
    let server = ServerProcess::start("echo-threads", &mut command, folder());
    let connect = |_| tungstenite::connect(server.url()).expect("room").0;
    let mut all: Vec<_> = (0..32).map(connect).collect();
    for (index, ws) in all.iter_mut().enumerate() {
        ws.send(Message::from(index.to_string())).expect("sent");
    }
    for (index, ws) in all.iter_mut().enumerate() {
        let echo = ws.read().expect("an echo");
        assert_eq!(echo, Message::from(index.to_string()));
    }
}

#[test]
#[ignore = "builds the examples"]
fn echo_tells_why_it_cannot_listen() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let in_use = listener.local_addr().expect("it is bound").to_string();
    for (addr, message) in [
        (in_use.as_str(), "is in use"),
        ("nonsense", "HOST:PORT"),
        ("127.0.0.1:65536", "HOST:PORT"),
    ] {
        for name in ["echo", "echo_blocking"] {
            let ended = run(&example(name), &[addr], "");
            assert_eq!(ended.status, 1, "{ended:?}");
            assert!(ended.stderr.contains(message), "{addr}: {ended:?}");
        }
    }
}

#[test]
#[ignore = "builds the examples; needs ffmpeg: bash .ci/install"]
fn video_tells_why_it_has_no_pictures() {
    let text = file("no-video.mp4", b"no video");
    let text = text.to_str().expect("a path in UTF-8");
    for (arguments, message) in [
        (
            &["--input", text, "--ffmpeg", "/no/ffmpeg"][..],
            "install ffmpeg",
        ),
        (&["--input", "/no/file.mp4"], "No such file"),
        (&["--input", text], "Invalid data"),
        (&["--size", "15x16"], "16x16 to 3840x2160"),
        (&["--fps", "61"], "1..=60"),
    ] {
        let arguments = [&["127.0.0.1:0"], arguments].concat();
        let ended = run(&example("video"), &arguments, "");
        assert!(ended.status == 1 || ended.status == 2, "{ended:?}");
        assert!(ended.stderr.contains(message), "{arguments:?}: {ended:?}");
    }
}

#[test]
#[ignore = "builds the examples"]
fn video_told_to_stop_leaves_no_program_behind_that_waits_for_its_source() {
    // One picture, and then nothing more.
    let (script, told) = (folder().join("hangs.sh"), folder().join("hangs.pid"));
    _ = std::fs::remove_file(&told);
    let lines = format!(
        "#!/bin/sh\nprintf '\\377\\330\\377\\331'\necho $$ >{}\nexec sleep 60\n",
        told.display()
    );
    std::fs::write(&script, lines).expect("the build folder is writable");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("it is ours");
    let mut command = Command::new(example("video"));
    command.args(["127.0.0.1:0", "--input", "a camera", "--ffmpeg"]);
    let mut server = ServerProcess::start("hangs", command.arg(&script), folder());
    let mut pid = String::new();
    let runs = wait_until(LIMIT, || {
        pid = std::fs::read_to_string(&told).unwrap_or_default();
        pid.ends_with('\n')
    });
    assert!(runs, "{}", server.process.log());
    let process = Path::new("/proc").join(pid.trim());
    assert!(process.exists());

    let stopped = Command::new("kill")
        .args(["-TERM", &server.process.id().to_string()])
        .status();
    assert!(stopped.expect("kill runs").success());
    assert!(server.process.wait(LIMIT).success());
    assert!(!process.exists());
}

#[test]
#[ignore = "builds the examples"]
fn every_example_has_a_help_text() {
    for name in [
        "echo",
        "echo_blocking",
        "chat",
        "video",
        "video_control",
        "client",
        "autobahn_client",
    ] {
        let ended = run(&example(name), &["--help"], "");
        assert_eq!(ended.status, 0, "{ended:?}");
        let usage = format!("Usage: {name} ");
        assert!(ended.stdout.contains(&usage), "{}", ended.stdout);
    }
}

/// Where the files and logs go.
fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    std::fs::write(&path, bytes).expect("the build folder is writable");
    path
}

/// How a program ended.
#[derive(Debug)]
struct Ended {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn expect(&self, status: i32, stdout: &str, stderr: &str) {
        assert_eq!(self.stderr, stderr);
        assert!(self.stdout == stdout, "{}", self.stdout);
        assert_eq!(self.status, status);
    }
}

fn client(arguments: &[&str], input: &str) -> Ended {
    run(&example("client"), arguments, input)
}

/// Runs a program to its end.
fn run(program: &Path, arguments: &[&str], input: &str) -> Ended {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("it was asked for");
    let input = input.to_owned();
    thread::spawn(move || {
        // The program may end before it has read all.
        _ = stdin.write_all(input.as_bytes());
    });
    let stdout = read_all(child.stdout.take().expect("it was asked for"));
    let stderr = read_all(child.stderr.take().expect("it was asked for"));
    let mut status = None;
    let ended = wait_until(LIMIT, || {
        status = child.try_wait().expect("a child can be asked");
        status.is_some()
    });
    if !ended {
        _ = child.kill();
        _ = child.wait();
    }
    let (stdout, stderr) = (stdout.join(), stderr.join());
    let stderr = stderr.expect("it is UTF-8");
    assert!(ended, "{arguments:?} does not end: {stderr}");
    Ended {
        status: status.and_then(|status| status.code()).expect("no signal"),
        stdout: stdout.expect("it is UTF-8"),
        stderr,
    }
}

fn read_all(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it is UTF-8");
        text
    })
}

/// A server of one connection, in a thread.
struct Peer {
    address: SocketAddr,
    thread: JoinHandle<()>,
}

impl Peer {
    fn start(serve: impl FnOnce(TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            stream.set_read_timeout(Some(LIMIT)).expect("a limit");
            serve(stream);
        });
        Self { address, thread }
    }

    fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    fn join(self) {
        self.thread.join().expect("the server saw what it expected");
    }
}

/// Sends a request and returns all that is answered.
fn http(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}
