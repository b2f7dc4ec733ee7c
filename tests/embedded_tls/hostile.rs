//! Somebody on the way, and servers that break the rules: none of it is taken, and nothing panics.

use embedded_io_async::{Read, Write};
use motews_embedded_io::tls::{TlsError, TlsStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_rustls::TlsAcceptor;

use super::forger::{Forger, HANDSHAKE, message};
use super::support::{Issued, authority, client, localhost, trusting};

/// What the client makes of what `forges` does with its connection. It sends a secret as soon as it may.
async fn against<V>(
    trusted: &Issued,
    forges: impl AsyncFnOnce(DuplexStream) -> V,
) -> (Result<(), TlsError>, V) {
    let (near, far) = tokio::io::duplex(20_000);
    let authorities = [&trusted.certificate[..]];
    let config = trusting(&authorities);
    let talk = async |mut stream: TlsStream<'_>| {
        stream
            .write_all(b"secret")
            .await
            .expect("the ring takes it");
        stream.read(&mut [0; 8]).await.map(|_| ())
    };
    let ((seen, end), value) = tokio::join!(client(near, &config, talk), forges(far));
    assert_eq!(seen, end);
    (end, value)
}

/// The messages of a handshake with this certificate.
fn certificate(issued: &Issued) -> Vec<u8> {
    let der = &issued.certificate;
    let len = (der.len() as u32).to_be_bytes();
    let all = (der.len() as u32 + 5).to_be_bytes();
    let mut body = vec![0, all[1], all[2], all[3], len[1], len[2], len[3]];
    body.extend_from_slice(der);
    body.extend_from_slice(&[0, 0]);
    message(11, &body)
}

/// EncryptedExtensions without any.
fn extensions() -> Vec<u8> {
    message(8, &[0, 0])
}

#[tokio::test]
async fn server_that_shows_no_certificate_is_not_believed_and_gets_nothing() {
    let trusted = authority("an authority");
    let (end, sent) = against(&trusted, async |stream| {
        let mut forger = Forger::accept(stream).await;
        forger.say(&extensions()).await;
        forger.finish().await;
        forger.read_all().await
    })
    .await;
    assert_eq!(end, Err(TlsError::Unproven));
    // The end of the handshake, and no record after that.
    assert_eq!(sent.len(), 5 + 36 + 1 + 16);
}

#[tokio::test]
async fn server_whose_list_of_certificates_is_empty_is_not_believed() {
    let trusted = authority("an authority");
    for (body, error) in [
        (&[0, 0, 0, 0][..], TlsError::Protocol),
        (&[0, 0, 0, 5, 0, 0, 0, 0, 0], TlsError::BadCertificate),
    ] {
        let (end, _) = against(&trusted, async |stream| {
            let mut forger = Forger::accept(stream).await;
            forger.say(&extensions()).await;
            forger.say(&message(11, body)).await;
            forger.finish().await;
            forger.read_all().await
        })
        .await;
        assert_eq!(end, Err(error), "{body:?}");
    }
}

#[tokio::test]
async fn server_that_shows_a_certificate_and_does_not_sign_is_not_believed() {
    let trusted = authority("an authority");
    let stolen = trusted.issue(localhost());
    let (end, _) = against(&trusted, async |stream| {
        let mut forger = Forger::accept(stream).await;
        forger.say(&extensions()).await;
        forger.say(&certificate(&stolen)).await;
        forger.finish().await;
        forger.read_all().await
    })
    .await;
    assert_eq!(end, Err(TlsError::Unproven));
}

#[tokio::test]
async fn server_that_shows_two_certificates_or_signs_before_it_is_not_believed() {
    let trusted = authority("an authority");
    let stolen = trusted.issue(localhost());
    let signature = message(15, &[4, 3, 0, 1, 7]);
    for messages in [
        [extensions(), certificate(&stolen), certificate(&stolen)],
        [extensions(), signature.clone(), certificate(&stolen)],
    ] {
        let (end, _) = against(&trusted, async |stream| {
            let mut forger = Forger::accept(stream).await;
            forger.say(&messages.concat()).await;
            forger.finish().await;
            forger.read_all().await
        })
        .await;
        assert_eq!(end, Err(TlsError::Protocol));
    }
    let (end, _) = against(&trusted, async |stream| {
        let mut forger = Forger::accept(stream).await;
        let messages = [extensions(), certificate(&stolen), signature];
        forger.say(&messages.concat()).await;
        forger.finish().await;
        forger.read_all().await
    })
    .await;
    assert_eq!(end, Err(TlsError::BadSignature));
}

#[tokio::test]
async fn records_without_content_do_not_panic() {
    let trusted = authority("an authority");
    for (content, kind) in [
        (&[][..], None),
        (&[0], None),
        (&[0; 100], None),
        (&[], Some(0)),
        (&[], Some(HANDSHAKE)),
        (&[], Some(21)),
        (&[1], Some(21)),
        (&[2, 200], Some(21)),
        (&[11], Some(HANDSHAKE)),
        (&[11, 255, 255, 255], Some(HANDSHAKE)),
        (&[11, 0, 0, 4, 255, 255, 255, 255], Some(HANDSHAKE)),
        (&[15, 0, 0, 4, 4, 3, 255, 255], Some(HANDSHAKE)),
        (&[20, 0, 0, 1, 7], Some(HANDSHAKE)),
        (&[24, 0, 0, 1, 0], Some(HANDSHAKE)),
        (&[7; 50], Some(23)),
    ] {
        let (end, _) = against(&trusted, async |stream| {
            let mut forger = Forger::accept(stream).await;
            forger.encrypt(content, kind).await;
            // If that means nothing, the end comes too soon.
            drop(forger);
        })
        .await;
        let ended = matches!(
            end,
            Err(TlsError::Protocol | TlsError::Truncated | TlsError::BadSignature)
        );
        assert!(ended, "{content:?} {kind:?}: {end:?}");
    }
}

#[tokio::test]
async fn record_in_the_clear_after_the_handshake_is_not_believed() {
    // The end of TLS, a certificate, and a change of cipher.
    for forged in [
        &[21, 3, 3, 0, 2, 1, 0][..],
        &[22, 3, 3, 0, 4, 11, 0, 0, 0],
        &[20, 3, 3, 0, 1, 1],
    ] {
        let trusted = authority("an authority");
        let server = trusted.issue(localhost()).server(&[]);
        let (end, ()) = against(&trusted, async |stream| {
            let mut stream = TlsAcceptor::from(server)
                .accept(stream)
                .await
                .expect("a client");
            let mut secret = [0; 6];
            stream.read_exact(&mut secret).await.expect("it is open");
            let (below, _) = stream.get_mut();
            below.write_all(forged).await.expect("it goes out");
        })
        .await;
        assert_eq!(end, Err(TlsError::Protocol), "{forged:?}");
    }
}

#[tokio::test]
async fn answer_that_is_no_tls_or_an_older_one_has_an_error_of_its_own() {
    let trusted = authority("an authority");
    // A ServerHello of TLS 1.2, without extensions.
    let hello = |suite: [u8; 2]| {
        let mut body = vec![3, 3];
        body.extend_from_slice(&[7; 32]);
        body.extend_from_slice(&[0, suite[0], suite[1], 0, 0, 0]);
        let message = message(2, &body);
        [&[22, 3, 3, 0, message.len() as u8], &message[..]].concat()
    };
    for (answer, error) in [
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            TlsError::Protocol,
        ),
        (hello([0xC0, 0x2B]), TlsError::Version),
        (hello([0x13, 0x01]), TlsError::Version),
        (vec![21, 3, 3, 0, 2, 2, 70], TlsError::Version),
        (vec![21, 3, 3, 0, 2, 2, 80], TlsError::Alert(Some(80))),
        (vec![23, 3, 3, 0, 20], TlsError::Protocol),
        (vec![22, 3, 3, 0, 0], TlsError::Protocol),
        (vec![22, 3, 3, 255, 255], TlsError::NoRoom),
        (vec![22, 3], TlsError::Truncated),
        (vec![], TlsError::Truncated),
    ] {
        let (end, ()) = against(&trusted, async |mut stream| {
            stream.write_all(&answer).await.expect("it goes out");
        })
        .await;
        assert_eq!(end, Err(error), "{answer:?}");
    }
}
