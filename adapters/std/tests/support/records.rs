//! TLS records that no TLS library sends.

use std::sync::{Arc, Mutex};

use motews_std::rustls::{CipherSuite, ClientConfig, ClientConnection, KeyLog};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf;

const APPLICATION_DATA: u8 = 23;
const HANDSHAKE: u8 = 22;
const KEY_UPDATE: &[u8] = &[24, 0, 0, 1, 0];

/// Keeps the secret that a client's keys are made of.
#[derive(Debug, Default)]
pub(crate) struct Secret(Mutex<Vec<u8>>);

impl Secret {
    /// The configuration of a client whose secret is kept here.
    pub(crate) fn kept_by(self: &Arc<Self>, config: &ClientConfig) -> Arc<ClientConfig> {
        let mut config = config.clone();
        config.key_log = self.clone();
        Arc::new(config)
    }
}

impl KeyLog for Secret {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if label == "CLIENT_TRAFFIC_SECRET_0" {
            *self.0.lock().unwrap() = secret.to_vec();
        }
    }
}

/// Makes records that rustls does not make (RFC 8446 §5.2, §7.1 to §7.3).
pub(crate) struct Records {
    secret: Vec<u8>,
    key: LessSafeKey,
    iv: [u8; 12],
    number: u64,
}

struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand(secret: &[u8], label: &[u8], len: usize) -> Vec<u8> {
    let info = [
        &(len as u16).to_be_bytes(),
        &[label.len() as u8 + 6][..],
        b"tls13 ",
        label,
        &[0],
    ];
    let mut out = vec![0; len];
    let key = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA384, secret);
    key.expand(&info, Len(len)).unwrap().fill(&mut out).unwrap();
    out
}

impl Records {
    fn new(secret: Vec<u8>) -> Self {
        let key = expand(&secret, b"key", 32);
        Self {
            key: LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap()),
            iv: expand(&secret, b"iv", 12).try_into().unwrap(),
            number: 0,
            secret,
        }
    }

    /// Records in the place of what `connection`, which begins new keys here, would send.
    pub(crate) fn after(secret: &Secret, connection: &mut ClientConnection) -> Self {
        let suite = connection.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(suite, CipherSuite::TLS13_AES_256_GCM_SHA384);
        connection.refresh_traffic_keys().unwrap();
        Self::new(secret.0.lock().unwrap().clone()).next()
    }

    /// So many records that bring new keys, and as many that are empty.
    pub(crate) fn push_without_content(&mut self, out: &mut Vec<u8>, count: usize) {
        for _ in 0..count {
            self.push(out, KEY_UPDATE, HANDSHAKE);
            *self = self.next();
            self.push(out, b"", APPLICATION_DATA);
        }
    }

    /// A record with content.
    pub(crate) fn push_data(&mut self, out: &mut Vec<u8>, data: &[u8]) {
        self.push(out, data, APPLICATION_DATA);
    }

    /// The same after a KeyUpdate.
    fn next(&self) -> Self {
        Self::new(expand(&self.secret, b"traffic upd", 48))
    }

    fn push(&mut self, out: &mut Vec<u8>, content: &[u8], kind: u8) {
        let mut nonce = self.iv;
        for (byte, number) in nonce[4..].iter_mut().zip(self.number.to_be_bytes()) {
            *byte ^= number;
        }
        self.number += 1;
        let mut inner = [content, &[kind]].concat();
        let header = [23, 3, 3, 0, inner.len() as u8 + 16];
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce, Aad::from(header), &mut inner)
            .unwrap();
        out.extend(header);
        out.extend(inner);
    }
}
