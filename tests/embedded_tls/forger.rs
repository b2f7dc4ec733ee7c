//! As much of a TLS 1.3 server as somebody on the way needs who has no certificate: it agrees on keys, and
//! then says what it likes.

use aes_gcm::aead::AeadInPlace;
use aes_gcm::{Aes128Gcm, KeyInit};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use p256::PublicKey;
use p256::ecdh::EphemeralSecret;
use rand_core::OsRng;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub(crate) const HANDSHAKE: u8 = 22;

pub(crate) struct Forger {
    stream: DuplexStream,
    transcript: Sha256,
    secret: Hkdf<Sha256>,
    sent: u64,
}

/// HKDF-Expand-Label (RFC 8446 §7.1).
fn expand<const N: usize>(secret: &Hkdf<Sha256>, label: &str, context: &[u8]) -> [u8; N] {
    let mut info = (N as u16).to_be_bytes().to_vec();
    info.push(6 + label.len() as u8);
    info.extend_from_slice(b"tls13 ");
    info.extend_from_slice(label.as_bytes());
    info.push(context.len() as u8);
    info.extend_from_slice(context);
    let mut output = [0; N];
    secret.expand(&info, &mut output).expect("it is short");
    output
}

/// A message of the handshake.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = (body.len() as u32).to_be_bytes().to_vec();
    message[0] = kind;
    message.extend_from_slice(body);
    message
}

fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut record = vec![kind, 3, 3];
    record.extend_from_slice(&(body.len() as u16).to_be_bytes());
    record.extend_from_slice(body);
    record
}

impl Forger {
    /// Agrees on keys with a client.
    pub(crate) async fn accept(mut stream: DuplexStream) -> Self {
        let mut header = [0; 5];
        stream.read_exact(&mut header).await.expect("a client");
        let mut hello = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
        stream.read_exact(&mut hello).await.expect("a client");
        // secp256r1, 65 bytes, not compressed
        let before = [0x00, 0x17, 0x00, 0x41, 0x04];
        let at = hello.windows(5).position(|window| window == before);
        let at = at.expect("a share of a key") + 4;
        let theirs = PublicKey::from_sec1_bytes(&hello[at..at + 65]).expect("a key");
        let ours = EphemeralSecret::random(&mut OsRng);
        let share = p256::EncodedPoint::from(ours.public_key());

        let mut body = vec![3, 3];
        body.extend_from_slice(&[7; 32]);
        // No session, TLS_AES_128_GCM_SHA256, no compression; TLS 1.3, and the share.
        body.extend_from_slice(&[0, 0x13, 0x01, 0, 0, 79, 0, 43, 0, 2, 3, 4]);
        body.extend_from_slice(&[0, 51, 0, 69, 0, 0x17, 0, 65]);
        body.extend_from_slice(share.as_bytes());
        let answer = message(2, &body);
        let sent = stream.write_all(&record(HANDSHAKE, &answer)).await;
        sent.expect("it goes out");

        let transcript = Sha256::new().chain_update(&hello).chain_update(&answer);
        let (_, early) = Hkdf::<Sha256>::extract(None, &[0; 32]);
        let derived = expand::<32>(&early, "derived", &Sha256::digest([]));
        let shared = ours.diffie_hellman(&theirs);
        let (_, secret) = Hkdf::<Sha256>::extract(Some(&derived), shared.raw_secret_bytes());
        let hash = transcript.clone().finalize();
        let traffic = expand::<32>(&secret, "s hs traffic", &hash);
        let secret = Hkdf::from_prk(&traffic).expect("it is as long");
        Self {
            stream,
            transcript,
            secret,
            sent: 0,
        }
    }

    /// Sends messages of the handshake.
    pub(crate) async fn say(&mut self, messages: &[u8]) {
        self.transcript.update(messages);
        self.encrypt(messages, Some(HANDSHAKE)).await;
    }

    /// Ends the handshake.
    pub(crate) async fn finish(&mut self) {
        let key = expand::<32>(&self.secret, "finished", &[]);
        let mut sum = <Hmac<Sha256> as Mac>::new_from_slice(&key).expect("any length");
        sum.update(&self.transcript.clone().finalize());
        self.say(&message(20, &sum.finalize().into_bytes())).await;
    }

    /// Sends a record, with or without the kind of what is in it.
    pub(crate) async fn encrypt(&mut self, content: &[u8], kind: Option<u8>) {
        let mut bytes = content.to_vec();
        bytes.extend(kind);
        let key = expand::<16>(&self.secret, "key", &[]);
        let mut nonce = expand::<12>(&self.secret, "iv", &[]);
        for (byte, number) in nonce[4..].iter_mut().zip(self.sent.to_be_bytes()) {
            *byte ^= number;
        }
        self.sent += 1;
        let len = (bytes.len() as u16 + 16).to_be_bytes();
        let header = [23, 3, 3, len[0], len[1]];
        let cipher = Aes128Gcm::new(&key.into());
        let sealed = cipher.encrypt_in_place(&nonce.into(), &header, &mut bytes);
        sealed.expect("it is short");
        let sent = self.stream.write_all(&record(23, &bytes)).await;
        sent.expect("it goes out");
    }

    /// What the client sends, until it ends.
    pub(crate) async fn read_all(mut self) -> Vec<u8> {
        let mut all = Vec::new();
        _ = self.stream.read_to_end(&mut all).await;
        all
    }
}
