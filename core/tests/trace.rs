//! What the trace says, through the `log` facade.
#![cfg(feature = "log")]

use std::sync::Mutex;

use log::{LevelFilter, Log, Metadata, Record};
use motews::Limits;
use motews::handshake::{ClientHandshake, Key, Offers, ServerHandshake, Upgrade};
use motews::{Entropy, EntropyError};

struct Lines(Mutex<Vec<String>>);

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = record.args().to_string();
        self.0.lock().expect("no one has failed").push(line);
    }

    fn flush(&self) {}
}

static LINES: Lines = Lines(Mutex::new(Vec::new()));

struct Zeros;

impl Entropy for Zeros {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.fill(0);
        Ok(())
    }
}

/// HT11: each failure once, however often it is asked for.
#[test]
fn failed_handshake_is_in_the_trace() {
    log::set_logger(&LINES).expect("there is no other");
    log::set_max_level(LevelFilter::Trace);
    let told = || core::mem::take(&mut *LINES.0.lock().expect("no one has failed"));
    let offers = Offers::new();

    let mut server = ServerHandshake::new([0; 64]);
    let mut input: &[u8] = b"GET / HTTP/1.1\r\nHost : a\r\n";
    while let Ok(Some(_)) = server.next_event(&mut input, &offers) {}
    assert!(server.next_event(&mut input, &offers).is_err());
    let words =
        "the opening handshake failed: a header line does not begin with a name and a colon";
    assert_eq!(told(), [words]);

    let key = Key::new(&mut Zeros).expect("it has some");
    let mut client = ClientHandshake::new(&key, [0; 64]);
    let mut input: &[u8] = b"HTTP/1.1 404 Not Found\r\n\r\n";
    while let Ok(Some(_)) = client.next_event(&mut input, &offers) {}
    let words = "the opening handshake failed: the server answered with the status 404";
    assert_eq!(told(), [words]);

    let parsed = Upgrade::from_headers("GET", (1, 1), [], &offers, Limits::DEFAULT);
    assert!(parsed.is_err());
    let words = "the opening handshake failed: the request does not ask for a WebSocket";
    assert_eq!(told(), [words]);
}
