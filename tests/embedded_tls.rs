//! `wss://` in firmware, on the host: the client of `motews_embedded_io::tls` against rustls, tungstenite
//! and OpenSSL; and embedded-tls as it is below a blocking WebSocket.

#[path = "embedded_tls/forger.rs"]
mod forger;
#[path = "embedded_tls/hostile.rs"]
mod hostile;
#[path = "embedded_tls/openssl.rs"]
mod openssl;
#[path = "embedded_tls/pump.rs"]
mod pump;
#[path = "embedded_tls/select.rs"]
mod select;
#[path = "embedded_tls/support.rs"]
mod support;
#[path = "embedded_tls/verify.rs"]
mod verify;

use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

use embedded_io_adapters::std::FromStd;
use embedded_tls::pki::CertVerifier;
use embedded_tls::{
    Aes128GcmSha256, Certificate, CryptoProvider, CryptoRngCore, TlsConfig, TlsContext, TlsError,
    TlsVerifier,
};
use motews::handshake::Request;
use motews::{CloseCode, Entropy, EntropyError, Message, MessageBuffer};
use motews_embedded_io::{Buffers, blocking};
use rand_core::OsRng;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The operating system's random numbers.
struct Os;

impl Entropy for Os {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(bytes).map_err(|_| EntropyError)
    }
}

/// Random numbers and one trusted certificate, for embedded-tls.
struct Provider<'a> {
    random: OsRng,
    verifier: CertVerifier<'a, Aes128GcmSha256, SystemTime, 4096>,
}

impl<'a> Provider<'a> {
    fn trusting(authority: &'a [u8]) -> Self {
        Self {
            random: OsRng,
            verifier: CertVerifier::new(Certificate::X509(authority)),
        }
    }
}

impl CryptoProvider for Provider<'_> {
    type CipherSuite = Aes128GcmSha256;
    type Signature = [u8; 0];

    fn rng(&mut self) -> impl CryptoRngCore {
        &mut self.random
    }

    fn verifier(&mut self) -> Result<&mut impl TlsVerifier<Aes128GcmSha256>, TlsError> {
        Ok(&mut self.verifier)
    }
}

/// An authority's certificate, and a server for `localhost` with one of its certificates.
fn configs() -> (CertificateDer<'static>, Arc<ServerConfig>) {
    let authority_key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let name = &mut authority.distinguished_name;
    name.push(DnType::CommonName, "an authority");
    let authority_der = authority
        .self_signed(&authority_key)
        .expect("a certificate");
    let issuer = Issuer::from_params(&authority, &authority_key);
    let key = KeyPair::generate().expect("a key");
    let mut server = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let name = &mut server.distinguished_name;
    name.push(DnType::CommonName, "localhost");
    let certificate = server.signed_by(&key, &issuer).expect("a certificate");
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("they fit")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("they fit");
    (authority_der.der().clone(), Arc::new(config))
}

/// An echo for one client: rustls, and the WebSocket of another maker.
fn serve(config: Arc<ServerConfig>) -> (u16, JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let connection = ServerConnection::new(config).expect("it is right");
        let stream = StreamOwned::new(connection, stream);
        let mut ws = tungstenite::accept(stream).expect("an upgrade");
        let mut echoed = 0;
        loop {
            match ws.read() {
                Ok(message) if message.is_text() || message.is_binary() => {
                    ws.send(message).expect("it goes out");
                    echoed += 1;
                }
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed) => return echoed,
                Err(error) => panic!("{error}"),
            }
        }
    });
    (port, server)
}

/// What is sent, from nothing to more than a record of TLS.
fn payloads() -> [Vec<u8>; 4] {
    [0, 5, 1000, 40_000].map(|len| (0..=255).cycle().take(len).collect())
}

#[test]
fn wss_blocking_client_echoes_and_closes_clean() {
    let (authority, config) = configs();
    let (port, server) = serve(config);
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let (mut read, mut write) = (vec![0; 16_640], vec![0; 4096]);
    let mut tls = embedded_tls::blocking::TlsConnection::new(
        FromStd::new(stream),
        &mut read[..],
        &mut write[..],
    );
    let config = TlsConfig::new().with_server_name("localhost");
    tls.open(TlsContext::new(&config, Provider::trusting(&authority)))
        .expect("TLS");

    let request = Request::new("localhost", "/").expect("right");
    let (mut receive, mut transmit) = ([0; 64], vec![0; 50_000]);
    let buffers = Buffers {
        receive: &mut receive,
        transmit: &mut transmit,
    };
    let mut ws = blocking::WebSocket::client(tls, buffers, request, Os).expect("room");
    ws.connect().expect("a response");
    let mut messages = MessageBuffer::new(vec![0; 50_000]);
    for payload in payloads() {
        ws.send(Message::Binary(&payload)).expect("it goes out");
        let echo = ws.recv(&mut messages).expect("it comes back");
        assert_eq!(echo, Some(Message::Binary(&payload)));
    }
    ws.close(CloseCode::NORMAL, "").expect("open");
    ws.flush().expect("it goes out");
    // The server answers, and ends TLS and TCP.
    while let Ok(Some(_)) = ws.next_event() {}
    assert!(ws.connection().expect("it was open").is_clean());
    assert_eq!(server.join().expect("no panic"), payloads().len());
}

#[test]
fn wss_server_of_another_authority_is_not_trusted() {
    let (_, config) = configs();
    let (other_authority, _) = configs();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut connection = ServerConnection::new(config).expect("it is right");
        connection.complete_io(&mut stream).is_err()
    });
    let stream = TcpStream::connect(address).expect("it listens");
    let (mut read, mut write) = (vec![0; 16_640], vec![0; 4096]);
    let mut tls = embedded_tls::blocking::TlsConnection::new(
        FromStd::new(stream),
        &mut read[..],
        &mut write[..],
    );
    let config = TlsConfig::new().with_server_name("localhost");
    let opened = tls.open(TlsContext::new(
        &config,
        Provider::trusting(&other_authority),
    ));
    assert!(opened.is_err());
    drop(tls);
    assert!(server.join().expect("no panic"));
}
