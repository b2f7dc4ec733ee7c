//! Against OpenSSL's own server, which can be told to do what others do once in a blue moon.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use embedded_io_async::{Read, Write};
use motews_embedded_io::tls::{Identity, TlsConfig, TlsError, TlsStream};
use motews_tests::free_port;
use rcgen::ExtendedKeyUsagePurpose;
use tokio::net::TcpStream;

use super::support::{
    Issued, PATIENCE, authority, client, client_with, localhost, named, trusting,
};

/// `openssl s_server`. It sends what its input has, and obeys lines of one letter.
struct Server {
    process: Child,
    commands: ChildStdin,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

impl Server {
    fn start(test: &str, issued: &Issued, options: &[&str]) -> Self {
        let folder = folder(test);
        let (certificate, key) = (folder.join("cert.der"), folder.join("key.der"));
        fs::write(&certificate, &issued.certificate).expect("the build folder is writable");
        fs::write(&key, &issued.key).expect("the build folder is writable");
        Self::with(&certificate, &key, options)
    }

    fn with(certificate: &Path, key: &Path, options: &[&str]) -> Self {
        let port = free_port();
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", &format!("127.0.0.1:{port}")]);
        command
            .arg("-cert")
            .arg(certificate)
            .arg("-key")
            .arg(key)
            .args(options);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut process = command.spawn().expect("OpenSSL is installed");
        let commands = process.stdin.take().expect("it is piped");
        Self {
            process,
            commands,
            port,
        }
    }

    fn say(&mut self, line: &str) {
        // In one write, or it may see half of a command.
        let line = format!("{line}\n");
        self.commands
            .write_all(line.as_bytes())
            .expect("it listens");
    }

    /// A connection to it, as soon as it listens.
    async fn connect(&self) -> TcpStream {
        let connected = async {
            loop {
                match TcpStream::connect(("127.0.0.1", self.port)).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, connected)
            .await
            .expect("it starts")
    }
}

fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("openssl")
        .join(test);
    fs::create_dir_all(&folder).expect("the build folder is writable");
    folder
}

/// What comes of reading until it fails or ends.
async fn read_all(stream: &mut TlsStream<'_>) -> (Vec<u8>, Result<(), TlsError>) {
    let mut all = Vec::new();
    let mut bytes = [0; 100];
    loop {
        match stream.read(&mut bytes).await {
            Ok(0) => return (all, Ok(())),
            Ok(len) => all.extend_from_slice(&bytes[..len]),
            Err(error) => return (all, Err(error)),
        }
    }
}

/// Opens a session, and tells how it ends by itself.
async fn ends(server: &Server, config: &TlsConfig<'_>) -> Result<(), TlsError> {
    let talk = async |mut stream: TlsStream<'_>| read_all(&mut stream).await.1;
    let both = client(server.connect().await, config, talk);
    let (seen, end) = tokio::time::timeout(PATIENCE, both).await.expect("it ends");
    assert_eq!(seen, end);
    end
}

#[tokio::test]
async fn key_update_ends_the_session_with_an_error_of_its_own_after_what_came_before() {
    for command in ["k", "K"] {
        let authority = authority("an authority");
        let mut server = Server::start("key-update", &authority.issue(localhost()), &[]);
        let authorities = [&authority.certificate[..]];
        let config = trusting(&authorities);
        let stream = server.connect().await;
        let talk = async |mut stream: TlsStream<'_>| {
            stream.write_all(b"hello\n").await.expect("it is open");
            stream.flush().await.expect("it is open");
            server.say("before");
            let mut bytes = [0; 7];
            stream.read_exact(&mut bytes).await.expect("it is open");
            assert_eq!(&bytes, b"before\n");
            server.say(command);
            server.say("after");
            read_all(&mut stream).await
        };
        let both = client(stream, &config, talk);
        let ((read, seen), end) = tokio::time::timeout(PATIENCE, both).await.expect("it ends");
        let update = Err(TlsError::KeyUpdate);
        assert_eq!((read, seen, end), (vec![], update, update), "{command}");
    }
}

#[tokio::test]
async fn server_of_an_older_version_is_told_from_others() {
    let authority = authority("an authority");
    let server = Server::start("tls1_2", &authority.issue(localhost()), &["-tls1_2"]);
    let end = ends(&server, &trusting(&[&authority.certificate[..]])).await;
    assert_eq!(end, Err(TlsError::Version));
}

#[tokio::test]
async fn server_with_an_rsa_key_only_sends_the_alert_that_nothing_offered_will_do() {
    let folder = folder("rsa");
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let mut command = Command::new("openssl");
    command.args("req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost".split(' '));
    command
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key);
    let output = command.output().expect("OpenSSL is installed");
    assert!(output.status.success());
    let server = Server::with(&certificate, &key, &[]);
    let end = ends(&server, &trusting(&[])).await;
    assert_eq!(end, Err(TlsError::Alert(Some(40))));
}

#[tokio::test]
async fn short_buffer_for_records_the_server_sends_shorter_ones() {
    let authority = authority("an authority");
    let mut server = Server::start("short", &authority.issue(localhost()), &[]);
    let authorities = [&authority.certificate[..]];
    let config = trusting(&authorities);
    for (read, longest) in [(1280, 1024), (2304, 2048), (4352, 4096), (16_640, 16_384)] {
        let stream = server.connect().await;
        let line = "x".repeat(longest.min(4000) + 500);
        let talk = async |mut stream: TlsStream<'_>| {
            stream.write_all(b"hello\n").await.expect("it is open");
            stream.flush().await.expect("it is open");
            server.say(&line);
            let mut bytes = vec![0; line.len() + 1];
            stream.read_exact(&mut bytes).await.map(|()| bytes)
        };
        let both = client_with(stream, &config, (read, 640), talk);
        let (read, end) = tokio::time::timeout(PATIENCE, both).await.expect("it ends");
        assert_eq!(read.expect("all of it").trim_ascii_end(), line.as_bytes());
        assert_eq!(end, Ok(()));
    }
}

#[tokio::test]
async fn client_is_asked_for_a_certificate_and_let_in_with_the_right_one_only() {
    let authority = authority("an authority");
    let path = folder("client").join("authority.pem");
    let mut command = Command::new("openssl");
    command
        .args(["x509", "-inform", "der", "-out"])
        .arg(&path)
        .stdin(Stdio::piped());
    let mut convert = command.spawn().expect("OpenSSL is installed");
    let mut input = convert.stdin.take().expect("it is piped");
    input.write_all(&authority.certificate).expect("it reads");
    drop(input);
    assert!(convert.wait().expect("it ends").success());

    let path = path.to_str().expect("the build folder has a plain name");
    let options = ["-Verify", "1", "-verify_return_error", "-CAfile", path];
    let mut server = Server::start("client", &authority.issue(localhost()), &options);
    let mut params = named("a device");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let device = authority.issue(params);
    let key = device.scalar();
    let authorities = [&authority.certificate[..]];
    let config = TlsConfig {
        identity: Some(Identity {
            certificate: &device.certificate,
            key: &key,
        }),
        ..trusting(&authorities)
    };
    let end = ends(&server, &trusting(&authorities)).await;
    assert_eq!(end, Err(TlsError::Alert(None)));
    let stream = server.connect().await;
    let talk = async |mut stream: TlsStream<'_>| {
        stream.write_all(b"hello\n").await.expect("it is open");
        stream.flush().await.expect("it is open");
        server.say("welcome");
        let mut bytes = [0; 8];
        stream.read_exact(&mut bytes).await.map(|()| bytes)
    };
    let both = client(stream, &config, talk);
    let (read, end) = tokio::time::timeout(PATIENCE, both).await.expect("it ends");
    assert_eq!(read.as_ref().map(|bytes| &bytes[..]), Ok(&b"welcome\n"[..]));
    assert_eq!(end, Ok(()));
}
