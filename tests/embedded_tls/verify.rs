//! Each way in which a server is not who it should be has its own error.

use std::sync::Arc;

use embedded_io_async::{Read, Write};
use motews_embedded_io::tls::{Identity, TlsConfig, TlsError, TlsStream, TlsTime, Trust};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, date_time_ymd};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::support::{
    Issued, authority, authority_with, client, localhost, named, now, signed, trusting,
};

/// 2026-11-29
const BUILT: u64 = 1_795_910_400;

/// How it ends if this client meets that server. `Ok`: they exchanged a byte each way.
pub(crate) async fn meet(
    config: &TlsConfig<'_>,
    server: Arc<ServerConfig>,
) -> Result<(), TlsError> {
    let (near, far) = tokio::io::duplex(20_000);
    let server = async {
        let mut stream = TlsAcceptor::from(server).accept(far).await?;
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
        stream.shutdown().await
    };
    let talk = async |mut stream: TlsStream<'_>| {
        let written = stream.write(b"x").await;
        let mut bytes = [0];
        let read = stream.read(&mut bytes).await;
        (written.and(read), bytes)
    };
    let ((seen, end), served) = tokio::join!(client(near, config, talk), server);
    match seen {
        (Ok(1), [b'x']) => {
            served.expect("the server saw no error, either");
            assert_eq!(end, Ok(()));
        }
        (Err(seen), _) => assert_eq!(Err(seen), end),
        other => panic!("{other:?}"),
    }
    end
}

/// The same, where the client trusts that authority.
pub(crate) async fn meet_of(authority: &Issued, server: Arc<ServerConfig>) -> Result<(), TlsError> {
    let authorities = [&authority.certificate[..]];
    meet(&trusting(&authorities), server).await
}

#[tokio::test]
async fn right_certificate_of_either_curve_is_taken() {
    for curve in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
    ] {
        let authority = authority_with("an authority", curve);
        for curve in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
        ] {
            let server = signed(localhost(), curve, Some(&authority)).server(&[]);
            assert_eq!(meet_of(&authority, server).await, Ok(()));
        }
    }
}

#[tokio::test]
async fn right_certificate_behind_an_intermediate_and_among_several_authorities_is_taken() {
    let root = authority("a root");
    let mut params = named("between");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    let between = root.issue(params);
    let server = between.issue(localhost()).server(&[&between]);
    let others = [authority("another"), authority("a third")];
    let authorities = [
        &others[0].certificate[..],
        &root.certificate[..],
        &others[1].certificate[..],
    ];
    assert_eq!(meet(&trusting(&authorities), server).await, Ok(()));
}

#[tokio::test]
async fn certificate_for_another_name_is_the_wrong_name() {
    let authority = authority("an authority");
    let mut params = CertificateParams::new(["elsewhere.example".to_owned()]).expect("a name");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server = authority.issue(params).server(&[]);
    assert_eq!(meet_of(&authority, server).await, Err(TlsError::WrongName));
}

#[tokio::test]
async fn common_name_without_an_alternative_name_does_not_count() {
    let authority = authority("an authority");
    let server = authority.issue(named("localhost")).server(&[]);
    assert_eq!(meet_of(&authority, server).await, Err(TlsError::NoName));
}

#[tokio::test]
async fn address_in_the_certificate_is_taken_and_another_is_not() {
    let authority = authority("an authority");
    let params = CertificateParams::new(["192.0.2.7".to_owned()]).expect("an address");
    let server = authority.issue(params);
    let authorities = [&authority.certificate[..]];
    for (address, end) in [
        ("192.0.2.7", Ok(())),
        ("192.0.2.8", Err(TlsError::WrongName)),
        ("localhost", Err(TlsError::NoName)),
    ] {
        let config = TlsConfig::new(address, Trust::Authorities(&authorities), now());
        assert_eq!(meet(&config, server.server(&[])).await, end, "{address}");
    }
}

#[tokio::test]
async fn certificate_before_and_after_its_time_is_refused() {
    let authority = authority("an authority");
    let mut params = localhost();
    params.not_after = date_time_ymd(2020, 1, 1);
    let server = authority.issue(params).server(&[]);
    assert_eq!(meet_of(&authority, server).await, Err(TlsError::Expired));

    let mut params = localhost();
    params.not_before = date_time_ymd(2090, 1, 1);
    let server = authority.issue(params).server(&[]);
    assert_eq!(
        meet_of(&authority, server).await,
        Err(TlsError::NotYetValid)
    );
}

#[tokio::test]
async fn without_the_time_what_had_expired_when_it_was_built_is_refused_and_what_began_later_is_not()
 {
    let authority = authority("an authority");
    let authorities = [&authority.certificate[..]];
    let config = TlsConfig {
        time: TlsTime::Built(BUILT),
        ..trusting(&authorities)
    };
    for (from, to, end) in [
        ((2019, 1), (2020, 1), Err(TlsError::Expired)),
        ((2020, 1), (2090, 1), Ok(())),
        ((2080, 1), (2090, 1), Ok(())),
    ] {
        let mut params = localhost();
        params.not_before = date_time_ymd(from.0, from.1, 1);
        params.not_after = date_time_ymd(to.0, to.1, 1);
        let server = authority.issue(params).server(&[]);
        assert_eq!(meet(&config, server).await, end, "{from:?}");
    }
    // An intermediate that had ended when the certificate began: never valid as a whole.
    let mut params = named("between");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_after = date_time_ymd(2030, 1, 1);
    let between = authority.issue(params);
    let mut params = localhost();
    params.not_before = date_time_ymd(2031, 1, 1);
    let server = between.issue(params).server(&[&between]);
    assert_eq!(meet(&config, server).await, Err(TlsError::Expired));
}

#[tokio::test]
async fn certificate_signed_with_its_own_key_is_refused() {
    let authority = authority("an authority");
    let server = signed(localhost(), &rcgen::PKCS_ECDSA_P256_SHA256, None);
    let end = meet_of(&authority, server.server(&[])).await;
    assert_eq!(end, Err(TlsError::SelfSigned));
    // As OpenSSL makes them: an authority at the same time.
    let mut params = localhost();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let server = signed(params, &rcgen::PKCS_ECDSA_P256_SHA256, None);
    let end = meet_of(&authority, server.server(&[])).await;
    assert_eq!(end, Err(TlsError::SelfSigned));
    let end = meet_of(&server, server.server(&[])).await;
    assert_eq!(end, Err(TlsError::AuthorityUsedAsLeaf));
}

#[tokio::test]
async fn certificate_of_another_authority_is_refused_even_if_it_has_the_same_name() {
    let trusted = authority("an authority");
    let server = authority("another").issue(localhost()).server(&[]);
    assert_eq!(
        meet_of(&trusted, server).await,
        Err(TlsError::UnknownIssuer)
    );
    let server = authority("an authority").issue(localhost()).server(&[]);
    assert_eq!(meet_of(&trusted, server).await, Err(TlsError::BadSignature));
}

#[tokio::test]
async fn leaf_that_issued_a_certificate_is_no_authority() {
    let authority = authority("an authority");
    let mut params = CertificateParams::new(["evil.example".to_owned()]).expect("a name");
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "a leaf");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = authority.issue(params);
    let server = leaf.issue(localhost()).server(&[&leaf]);
    let end = meet_of(&authority, server).await;
    assert_eq!(end, Err(TlsError::LeafUsedAsAuthority));
}

#[tokio::test]
async fn certificate_of_a_client_is_for_the_wrong_purpose() {
    let authority = authority("an authority");
    let mut params = localhost();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let server = authority.issue(params).server(&[]);
    assert_eq!(
        meet_of(&authority, server).await,
        Err(TlsError::WrongPurpose)
    );
}

#[tokio::test]
async fn key_on_ed25519_is_of_a_kind_that_is_not_taken() {
    let authority = authority("an authority");
    let server = signed(localhost(), &rcgen::PKCS_ED25519, Some(&authority)).server(&[]);
    let end = meet_of(&authority, server).await;
    assert_eq!(end, Err(TlsError::UnsupportedKey));
    // A chain that is signed with one is no better.
    let authority = authority_with("an authority", &rcgen::PKCS_ED25519);
    let server = authority.issue(localhost()).server(&[]);
    let end = meet_of(&authority, server).await;
    assert_eq!(end, Err(TlsError::UnsupportedKey));
}

#[tokio::test]
async fn pinned_key_is_taken_whoever_issued_it_and_another_is_not() {
    let mut params = named("whatever");
    params.not_after = date_time_ymd(2020, 1, 1);
    let server = signed(params, &rcgen::PKCS_ECDSA_P384_SHA384, None);
    let key = rcgen::KeyPair::try_from(&server.key[..]).expect("a key");
    let pin: [u8; 32] = Sha256::digest(rcgen::PublicKeyData::subject_public_key_info(&key)).into();
    for (pins, end) in [
        (&[pin][..], Ok(())),
        (&[[7; 32], pin], Ok(())),
        (&[[7; 32]], Err(TlsError::KeyNotPinned)),
        (&[], Err(TlsError::KeyNotPinned)),
    ] {
        let config = TlsConfig::new("localhost", Trust::Keys(pins), now());
        assert_eq!(meet(&config, server.server(&[])).await, end);
    }
}

#[tokio::test]
async fn pinned_certificate_without_its_key_has_a_bad_signature() {
    let server = signed(named("whatever"), &rcgen::PKCS_ECDSA_P256_SHA256, None);
    let key = rcgen::KeyPair::try_from(&server.key[..]).expect("a key");
    let pin = Sha256::digest(rcgen::PublicKeyData::subject_public_key_info(&key)).into();
    let mut thief = signed(named("whatever"), &rcgen::PKCS_ECDSA_P256_SHA256, None);
    thief.certificate = server.certificate;
    let pins = [pin];
    let config = TlsConfig::new("localhost", Trust::Keys(&pins), now());
    let end = meet(&config, thief.server(&[])).await;
    assert_eq!(end, Err(TlsError::BadSignature));
}

#[tokio::test]
async fn client_with_a_certificate_is_let_in_and_one_without_is_told_an_alert() {
    let authority = authority("an authority");
    let mut params = named("a device");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let device = authority.issue(params);
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(authority.certificate.clone())
        .expect("it is right");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.expect("it is right");
    let server = authority
        .issue(localhost())
        .server_that(&[], |builder| builder.with_client_cert_verifier(verifier));
    let authorities = [&authority.certificate[..]];
    let key = device.scalar();
    let config = TlsConfig {
        identity: Some(Identity {
            certificate: &device.certificate,
            key: &key,
        }),
        ..trusting(&authorities)
    };
    assert_eq!(meet(&config, Arc::clone(&server)).await, Ok(()));
    let end = meet(&trusting(&authorities), server).await;
    assert_eq!(end, Err(TlsError::Alert(None)));
}

#[tokio::test]
async fn settings_that_are_wrong_are_told_before_anything_is_sent() {
    let authority = authority("an authority");
    let authorities = [&authority.certificate[..]];
    for name in ["", "a b", "-.example"] {
        let config = TlsConfig::new(name, Trust::Authorities(&authorities), now());
        let server = authority.issue(localhost()).server(&[]);
        assert_eq!(meet(&config, server).await, Err(TlsError::Config), "{name}");
    }
}

/// Somebody on the way shows certificates of names that go round, none of which the authority has
/// signed. [`TlsError::BadCertificate`] would mean that all the signatures were verified that webpki
/// grants, which keeps a small processor busy for half a minute.
#[tokio::test]
async fn forged_certificates_in_all_orders_are_refused_after_few_signatures() {
    let root = authority("a root");
    let forged_by = |issuer: &str, name: &str| {
        let mut params = named(name);
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        authority(issuer).issue(params)
    };
    for names in [["a root", "a root"], ["a root", "between"]] {
        let [one, other] = names;
        let mut forged = Vec::new();
        for _ in 0..3 {
            forged.push(forged_by(one, other));
            forged.push(forged_by(other, one));
        }
        let others: Vec<&Issued> = forged.iter().collect();
        let server = forged[0].issue(localhost()).server(&others);
        let began = std::time::Instant::now();
        let end = meet_of(&root, server).await;
        println!("{end:?} after {:?}", began.elapsed());
        assert_eq!(end, Err(TlsError::BadSignature), "{names:?}");
    }
}
