//! The same suite against the client of the embedded-io adapter over its TLS, with HAProxy in between.

use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use motews_tests::{Process, example_with, free_port, wait_for_listener};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::{Cases, test_client_behind};

/// An authority, as DER, and a server's certificate and key for `localhost` on P-256, as PEM.
fn certificates() -> (Vec<u8>, String) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let name = &mut params.distinguished_name;
    name.push(DnType::CommonName, "an authority");
    let authority = params.self_signed(&key).expect("a certificate");
    let issuer = Issuer::from_params(&params, &key);
    let key = KeyPair::generate().expect("a key");
    let server = CertificateParams::new(["localhost".to_owned()]).expect("a name");
    let server = server.signed_by(&key, &issuer).expect("a certificate");
    let pem = server.pem() + &key.serialize_pem();
    (authority.der().to_vec(), pem)
}

/// Runs the client behind HAProxy, which has TLS 1.3 only.
fn test(name: &str, options: &[&str], cases: &Cases) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("autobahn-tls");
    fs::create_dir_all(&folder).expect("the build folder is writable");
    let (authority, pem) = certificates();
    let file = folder.join(format!("{name}.der"));
    fs::write(&file, authority).expect("the build folder is writable");
    let program = example_with(
        "motews-examples",
        "embedded-io-tls",
        "embedded_io_tls_autobahn_client",
    );
    let haproxy = |folder: &Path, suite: u16| {
        let port = free_port();
        let certificate = folder.join("server.pem");
        fs::write(&certificate, pem).expect("the folder is writable");
        // The suite wants its own port in the request.
        let text = format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n \
            timeout tunnel 60s\n\
            frontend front\n bind 127.0.0.1:{port} ssl crt {} ssl-min-ver TLSv1.3\n \
            default_backend back\n\
            backend back\n http-request set-header Host 127.0.0.1:{suite}\n \
            server suite 127.0.0.1:{suite}\n",
            certificate.display()
        );
        let configuration: PathBuf = folder.join("haproxy.conf");
        fs::write(&configuration, text).expect("the folder is writable");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(configuration);
        let process = Process::start("haproxy", &mut command, folder);
        wait_for_listener(([127, 0, 0, 1], port).into());
        (Some(process), format!("wss://127.0.0.1:{port}"))
    };
    let mut client = Command::new(program);
    client.arg("--authority").arg(file).args(options);
    test_client_behind(haproxy, name, &mut client, cases);
}

#[test]
#[ignore = "needs HAProxy and the Autobahn test suite: bash .ci/install"]
fn autobahn_client_over_tls_passes() {
    test("tls", &[], &Cases::UNCOMPRESSED);
}

#[test]
#[ignore = "needs HAProxy and the Autobahn test suite: bash .ci/install"]
fn autobahn_client_over_tls_with_compression_passes() {
    let cases = Cases {
        limit: Duration::from_secs(3600),
        ..Cases::compressed()
    };
    test("tls-compressed", &["--deflate"], &cases);
}
