//! Certificates of all kinds, servers that show them, and a client over the pump.

use core::time::Duration;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use embedded_io_adapters::tokio_1::FromTokio;
use motews::{Entropy, EntropyError, Millis};
use motews_embedded_io::tls::{
    TlsBuffers, TlsConfig, TlsError, TlsStream, TlsTime, TlsTunnel, Trust,
};
use motews_embedded_io::{Clock, Duplex, Timer};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SignatureAlgorithm,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::time::Instant;

/// How long anything may take that is not to hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The operating system's random numbers.
pub(crate) struct Os;

impl Entropy for Os {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        getrandom::fill(bytes).map_err(|_| EntropyError)
    }
}

/// Tokio's clock, which a test may have paused.
#[derive(Clone, Copy)]
pub(crate) struct Tokio(Instant);

impl Tokio {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Tokio {
    fn now(&mut self) -> Millis {
        Millis(self.0.elapsed().as_millis() as u32)
    }
}

impl Timer for Tokio {
    async fn wait(&mut self, millis: u32) {
        tokio::time::sleep(Duration::from_millis(millis.into())).await;
    }
}

/// The two halves of a stream, as a transport.
pub(crate) fn apart<S: AsyncRead + AsyncWrite>(
    stream: S,
) -> Duplex<FromTokio<ReadHalf<S>>, FromTokio<WriteHalf<S>>> {
    let (reader, writer) = tokio::io::split(stream);
    Duplex {
        reader: FromTokio::new(reader),
        writer: FromTokio::new(writer),
    }
}

/// A certificate, and the key to issue others with it.
pub(crate) struct Issued {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) key: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// An authority of this name.
pub(crate) fn authority(name: &str) -> Issued {
    authority_with(name, &rcgen::PKCS_ECDSA_P256_SHA256)
}

pub(crate) fn authority_with(name: &str, algorithm: &'static SignatureAlgorithm) -> Issued {
    let mut params = named(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    signed(params, algorithm, None)
}

/// What a certificate of this common name has beside it.
pub(crate) fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// What the certificate of a server on `localhost` has.
pub(crate) fn localhost() -> CertificateParams {
    let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    params
        .distinguished_name
        .push(DnType::CommonName, "a server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// A certificate, signed by `issuer` or by itself.
pub(crate) fn signed(
    params: CertificateParams,
    algorithm: &'static SignatureAlgorithm,
    issuer: Option<&Issued>,
) -> Issued {
    let key = KeyPair::generate_for(algorithm).expect("a key");
    let certificate = match issuer {
        Some(issuer) => params.signed_by(&key, &issuer.issuer),
        None => params.self_signed(&key),
    };
    Issued {
        certificate: certificate.expect("a certificate").der().clone(),
        key: key.serialize_der(),
        issuer: Issuer::new(params, key),
    }
}

impl Issued {
    /// Issues the certificate of a server or an authority.
    pub(crate) fn issue(&self, params: CertificateParams) -> Self {
        signed(params, &rcgen::PKCS_ECDSA_P256_SHA256, Some(self))
    }

    /// The number of a key on P-256.
    pub(crate) fn scalar(&self) -> [u8; 32] {
        let before = [0x02, 0x01, 0x01, 0x04, 0x20];
        let at = self.key.windows(5).position(|window| window == before);
        let at = at.expect("a key on P-256") + before.len();
        self.key[at..at + 32].try_into().expect("it is as long")
    }

    /// A server that shows this certificate, and those behind it.
    pub(crate) fn server(&self, others: &[&Self]) -> Arc<ServerConfig> {
        self.server_that(others, |builder| builder.with_no_client_auth())
    }

    pub(crate) fn server_that(
        &self,
        others: &[&Self],
        asks: impl FnOnce(
            rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>,
        )
            -> rustls::ConfigBuilder<ServerConfig, rustls::server::WantsServerCert>,
    ) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("they fit");
        let mut chain = vec![self.certificate.clone()];
        chain.extend(others.iter().map(|other| other.certificate.clone()));
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.clone()));
        // Unchecked: some of these certificates are wrong.
        let resolver = Arc::new(Shows(Arc::new(rustls::sign::CertifiedKey::new(
            chain,
            rustls::crypto::ring::sign::any_supported_type(&key).expect("a key"),
        ))));
        Arc::new(asks(builder).with_cert_resolver(resolver))
    }
}

#[derive(Debug)]
struct Shows(Arc<rustls::sign::CertifiedKey>);

impl rustls::server::ResolvesServerCert for Shows {
    fn resolve(
        &self,
        _: rustls::server::ClientHello<'_>,
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// The time.
pub(crate) fn now() -> TlsTime {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    TlsTime::Now(now.expect("it is after 1970").as_secs())
}

/// Settings for `localhost`.
pub(crate) fn trusting<'a>(authorities: &'a [&'a [u8]]) -> TlsConfig<'a> {
    TlsConfig::new("localhost", Trust::Authorities(authorities), now())
}

/// A client over TLS on `transport`: what `talk` returned, and how TLS ended.
pub(crate) async fn client<T, V>(
    transport: T,
    config: &TlsConfig<'_>,
    talk: impl AsyncFnOnce(TlsStream<'_>) -> V,
) -> (V, Result<(), TlsError>)
where
    T: AsyncRead + AsyncWrite,
{
    client_with(transport, config, (16_640, 4096), talk).await
}

/// The same, with buffers for records of these lengths.
pub(crate) async fn client_with<T, V>(
    transport: T,
    config: &TlsConfig<'_>,
    (read, write): (usize, usize),
    talk: impl AsyncFnOnce(TlsStream<'_>) -> V,
) -> (V, Result<(), TlsError>)
where
    T: AsyncRead + AsyncWrite,
{
    let transport = apart(transport);
    let (mut incoming, mut outgoing) = ([0; 256], [0; 256]);
    let mut tunnel = TlsTunnel::new(&mut incoming, &mut outgoing);
    let (mut read, mut write) = (vec![0; read], vec![0; write]);
    let buffers = TlsBuffers {
        read: &mut read,
        write: &mut write,
    };
    let (stream, pump) = tunnel.ends();
    let pump = Box::pin(pump.run(transport, buffers, config, Os, Tokio::new()));
    tokio::join!(Box::pin(talk(stream)), pump)
}
