//! `wss://`: through a proxy, and what is explained of a failure.

use std::io::{self, Write};

use motews_std::tls::TlsStream;
use motews_std::{ConnectError, Connector};

use crate::assert_echoes;
use crate::certificates::configs;
use crate::proxies::{http_proxy, proxy};
use crate::support::serve;

#[test]
fn wss_through_a_proxy_works() {
    let (server_config, client_config) = configs();
    let (server, echo) = serve(move |stream| {
        let stream = TlsStream::server(stream, server_config).unwrap();
        let mut ws = motews_std::accept(stream).unwrap();
        while let Ok(Some(message)) = ws.recv() {
            ws.send(message).unwrap();
        }
    });
    let (address, proxied) = http_proxy(server);
    let builder = proxy("PROXY", address).tls(client_config);
    let url = format!("https://localhost:{}/", server.port());
    let ws = builder.connect(&url).unwrap();
    assert_echoes(ws);
    let head = proxied.join().unwrap();
    assert!(head.starts_with(&format!("CONNECT localhost:{} ", server.port())));
    echo.join().unwrap();
}

#[test]
fn wss_to_a_plain_port_says_so() {
    let (_, client_config) = configs();
    // As a server answers to what is no HTTP.
    let (address, _server) = serve(|mut stream| {
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
        let _ = io::copy(&mut stream, &mut io::sink());
    });
    let builder = Connector::new().tls(client_config);
    let url = format!("wss://localhost:{}/", address.port());
    let text = builder.connect(&url).unwrap_err().to_string();
    assert!(
        text.contains("does not speak TLS") && text.contains("ws://"),
        "{text}"
    );
    assert!(!text.contains("Invalid"), "{text}");
}

#[test]
fn certificate_of_an_unknown_authority_is_explained() {
    let (server_config, _) = configs();
    let (_, other_config) = configs();
    let (address, _server) = serve(move |stream| {
        let stream = TlsStream::server(stream, server_config).unwrap();
        let _ = motews_std::accept(stream);
    });
    let url = format!("wss://localhost:{}/", address.port());
    let error = Connector::new()
        .tls(other_config)
        .connect(&url)
        .unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, ConnectError::Tls(_)));
    assert!(
        text.contains("certificate is not signed by anyone who is trusted")
            || text.contains("signed by those who are trusted"),
        "{text}"
    );
}

#[test]
fn certificate_for_another_host_is_explained() {
    let (server_config, client_config) = configs();
    let (address, _server) = serve(move |stream| {
        let stream = TlsStream::server(stream, server_config).unwrap();
        let _ = motews_std::accept(stream);
    });
    let url = format!("wss://{address}/");
    let error = Connector::new()
        .tls(client_config)
        .connect(&url)
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("is for another host"), "{text}");
}
