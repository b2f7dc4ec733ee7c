//! How a client gets to its server: refusals, redirects, proxies, and what ends it.

use core::net::SocketAddr;
use std::io::{self, Write};
use std::net::{Shutdown, TcpListener};
use std::thread::{self, JoinHandle};

use motews_std::{ConnectError, Message, Refused, WebSocket};
use motews_testkit::head::{accept, read as read_head};
use support::{PATIENCE, key_of, serve};

mod answers;
#[cfg(feature = "tls")]
#[path = "../support/tls.rs"]
mod certificates;
mod ends;
mod proxies;
mod redirects;
mod resolver;
#[path = "../support/mod.rs"]
mod support;
#[cfg(feature = "tls")]
mod tls;

fn refused(result: Result<WebSocket, ConnectError>) -> Refused {
    match result {
        Err(ConnectError::Refused(refused)) => *refused,
        other => panic!("{other:?}"),
    }
}

/// The head that accepts a request, with more headers.
fn accepting(request: &str, headers: &str) -> String {
    let accept = accept(key_of(request));
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        {headers}Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}

/// What a server answers to the head of a request.
type Answer = Box<dyn FnOnce(&str) -> String + Send>;

/// A server of as many connections as there are answers, which are made from the heads of the
/// requests. It returns those.
fn respond(answers: Vec<Answer>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let mut heads = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let head = read_head(&mut stream);
            stream.write_all(answer(&head).as_bytes()).unwrap();
            // The client may have gone, or ended its half.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = io::copy(&mut stream, &mut io::sink());
            heads.push(head);
        }
        heads
    });
    (address, thread)
}

fn answer(text: impl Into<String>) -> Answer {
    let text = text.into();
    Box::new(move |_| text)
}

fn accept_with(headers: &'static str) -> Answer {
    Box::new(move |request| accepting(request, headers))
}

/// The values of a header in the head of a request.
fn values<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}

/// An echo of one connection.
fn echo() -> (SocketAddr, JoinHandle<()>) {
    serve(|stream| {
        let mut ws = motews_std::accept(stream).unwrap();
        while let Ok(Some(message)) = ws.recv() {
            ws.send(message).unwrap();
        }
    })
}

fn assert_echoes(mut ws: WebSocket) {
    ws.send("hello").unwrap();
    assert_eq!(ws.recv().unwrap(), Some(Message::Text("hello".into())));
    support::close(&mut ws, motews_std::CloseCode::NORMAL, "");
}
