//! What else is checked on the way from a certificate to its authority, and which names are good.

use std::sync::Arc;

use motews_embedded_io::tls::{TlsConfig, TlsError, TlsStream, Trust};
use rcgen::{
    BasicConstraints, CertificateParams, GeneralSubtree, IsCa, KeyUsagePurpose, NameConstraints,
};
use rustls::pki_types::CertificateDer;
use tokio_rustls::TlsAcceptor;

use super::support::{Issued, authority, client, localhost, named, now, trusting};
use super::verify::{meet, meet_of};

/// An authority between, whose certificate `changes`.
fn between(issuer: &Issued, name: &str, changes: impl FnOnce(&mut CertificateParams)) -> Issued {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    changes(&mut params);
    issuer.issue(params)
}

#[tokio::test]
async fn wildcard_is_good_for_one_label_and_no_other() {
    let authority = authority("an authority");
    let params = CertificateParams::new(["*.example.com".to_owned()]).expect("a name");
    let issued = authority.issue(params);
    let authorities = [&authority.certificate[..]];
    for (name, end) in [
        ("device.example.com", Ok(())),
        ("DEVICE.Example.com", Ok(())),
        ("example.com", Err(TlsError::WrongName)),
        ("a.device.example.com", Err(TlsError::WrongName)),
        ("device.example.org", Err(TlsError::WrongName)),
    ] {
        let config = TlsConfig::new(name, Trust::Authorities(&authorities), now());
        assert_eq!(meet(&config, issued.server(&[])).await, end, "{name}");
    }
}

#[tokio::test]
async fn name_that_its_issuer_may_not_certify_is_refused() {
    let root = authority("a root");
    for (constraints, end) in [
        ((Some("localhost"), None), Ok(())),
        ((Some("example.com"), None), Err(TlsError::BadCertificate)),
        ((None, Some("localhost")), Err(TlsError::BadCertificate)),
        ((None, Some("example.com")), Ok(())),
    ] {
        let subtrees = |name: Option<&str>| {
            let name = name.map(|name| GeneralSubtree::DnsName(name.to_owned()));
            name.into_iter().collect()
        };
        let between = between(&root, "between", |params| {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: subtrees(constraints.0),
                excluded_subtrees: subtrees(constraints.1),
            });
        });
        let server = between.issue(localhost()).server(&[&between]);
        assert_eq!(meet_of(&root, server).await, end, "{constraints:?}");
    }
}

#[tokio::test]
async fn three_authorities_between_are_followed_and_a_fourth_is_not() {
    let root = authority("a root");
    let mut chain = vec![between(&root, "between 0", |_| ())];
    for number in 1..4 {
        let next = between(&chain[number - 1], &format!("between {number}"), |_| ());
        chain.push(next);
    }
    for (count, end) in [(3, Ok(())), (4, Err(TlsError::UnknownIssuer))] {
        // Nearest first, and the other way round, which TLS 1.3 allows.
        let mut shown: Vec<&Issued> = chain[..count].iter().rev().collect();
        let server = shown[0].issue(localhost());
        assert_eq!(meet_of(&root, server.server(&shown)).await, end, "{count}");
        shown.reverse();
        assert_eq!(meet_of(&root, server.server(&shown)).await, end, "{count}");
    }
    // More of them than one allows.
    let first = between(&root, "first", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    });
    let second = between(&first, "second", |_| ());
    let server = second.issue(localhost()).server(&[&second, &first]);
    assert_eq!(meet_of(&root, server).await, Err(TlsError::BadCertificate));
}

/// Servers show roots, certificates of others, and what is none.
#[tokio::test]
async fn right_chain_with_others_behind_it_is_taken() {
    let root = authority("a root");
    let middle = between(&root, "between", |_| ());
    let other = between(&authority("another"), "another between", |_| ());
    let junk = || {
        let mut junk = authority("junk");
        junk.certificate = CertificateDer::from(vec![0x30, 0x82, 0xFF, 0xFF, 7]);
        junk
    };
    let server = middle.issue(localhost());
    let shown = [&root, &junk(), &other, &middle, &junk()];
    assert_eq!(meet_of(&root, server.server(&shown)).await, Ok(()));
    let end = meet_of(&root, junk().server(&[&middle])).await;
    assert_eq!(end, Err(TlsError::BadCertificate));
}

/// As webpki does it, and so rustls and browsers' own: constraints count, `keyUsage` does not.
#[tokio::test]
async fn key_usage_is_not_looked_at() {
    let root = authority("a root");
    let between = between(&root, "between", |params| {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    });
    let mut params = localhost();
    params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    let server = between.issue(params).server(&[&between]);
    assert_eq!(meet_of(&root, server).await, Ok(()));
}

#[tokio::test]
async fn protocols_are_offered_and_the_server_takes_one() {
    let authority = authority("an authority");
    let authorities = [&authority.certificate[..]];
    let server = authority.issue(localhost()).server(&[]);
    let mut server = rustls::ServerConfig::clone(&server);
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    let server = Arc::new(server);
    for taken in [None, Some(&b"http/1.1"[..])] {
        let alpn: &[&[u8]] = match taken {
            Some(taken) => &[b"mqtt", taken],
            None => &[],
        };
        let config = TlsConfig {
            alpn,
            ..trusting(&authorities)
        };
        let (near, far) = tokio::io::duplex(20_000);
        let serve = async {
            let stream = TlsAcceptor::from(Arc::clone(&server)).accept(far).await;
            let stream = stream.expect("a client");
            stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec)
        };
        let talk = async |mut stream: TlsStream<'_>| {
            embedded_io_async::Read::read(&mut stream, &mut [0]).await
        };
        let (_, chosen) = tokio::join!(client(near, &config, talk), serve);
        assert_eq!(chosen.as_deref(), taken);
    }
}
