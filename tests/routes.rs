//! The way to a server through real programs: HTTP proxies (squid, tinyproxy), SOCKS5 proxies (dante,
//! microsocks), redirects and refusals (nginx, Apache); and past an address that never answers, in a
//! network namespace. Everything stays on the loopback interface and in that namespace.

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use motews_std::rustls::{ClientConfig, RootCertStore};
use motews_std::{
    CloseCode, ConnectError, Connector, Message, Proxy, RedirectError, RedirectPolicy, Refused,
    SocksReply, TunnelError, WebSocket,
};
use motews_tests::{
    Process, ServerProcess, example, find_program, free_port, wait_for_listener, wait_until,
};

/// A folder for a test's files and logs.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("routes-{name}"));
    _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the build folder is writable");
    folder
}

/// A program from Debian, which may be where only root looks for it.
fn program(name: &str) -> Command {
    let path = find_program(name).or_else(|| {
        let path = Path::new("/usr/sbin").join(name);
        path.is_file().then_some(path)
    });
    Command::new(path.unwrap_or_else(|| panic!("{name} is missing: run `bash .ci/install`")))
}

/// A program that serves a port of the loopback interface.
struct Daemon {
    address: SocketAddr,
    process: Process,
}

impl Daemon {
    /// `configure` gets the folder and the port, and returns the command.
    fn start(name: &str, configure: impl FnOnce(&Path, u16) -> Command) -> Self {
        let folder = folder(name);
        let port = free_port();
        let mut command = configure(&folder, port);
        let process = Process::start(name, command.stdout(Stdio::null()), &folder);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        wait_for_listener(address);
        Self { address, process }
    }

    /// Through it, with a user and a password or without.
    fn proxy(&self, scheme: &str, user: &str) -> Connector {
        let url = format!("{scheme}://{user}{}", self.address);
        Connector::new().proxy(Proxy::parse(&url).expect("a proxy"))
    }
}

impl Drop for Daemon {
    /// Politely first: some have children.
    fn drop(&mut self) {
        if let Some(id) = rustix::process::Pid::from_raw(self.process.id() as i32) {
            _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        let process = &mut self.process;
        _ = wait_until(Duration::from_secs(10), || !process.is_running());
    }
}

fn configured(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).expect("the build folder is writable");
    path.display().to_string()
}

/// An echo of any number of connections.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                // Whoever waits for the port connects and leaves.
                let Ok(mut ws) = motews_std::accept(stream.expect("a connection")) else {
                    return;
                };
                while let Ok(Some(message)) = ws.recv() {
                    ws.send(message).expect("sent");
                }
            });
        }
    });
    address
}

fn assert_echoes(connected: Result<WebSocket, ConnectError>) {
    let mut ws = connected.expect("a WebSocket");
    for len in [5, 70_000] {
        let message = Message::Binary(vec![7; len]);
        ws.send(message.clone()).expect("sent");
        assert_eq!(ws.recv().expect("received"), Some(message));
    }
    let closed = ws.close(CloseCode::NORMAL, "");
    assert!(closed.is_ok(), "{closed:?}");
    ws.closed().expect("a blocking stream");
}

fn tunnel_error(connected: Result<WebSocket, ConnectError>) -> TunnelError {
    match connected {
        Err(ConnectError::Tunnel(error)) => error,
        other => panic!("{other:?}"),
    }
}

fn nothing_listens() -> String {
    format!("ws://127.0.0.1:{}/", free_port())
}

// ---- proxies ----

#[test]
#[ignore = "needs tinyproxy"]
fn tinyproxy_with_a_password_is_passed() {
    let tinyproxy = Daemon::start("tinyproxy", |folder, port| {
        let text = format!("Port {port}\nListen 127.0.0.1\nBasicAuth user secret\nTimeout 60\n");
        let mut command = program("tinyproxy");
        command.args(["-d", "-c", &configured(folder, "conf", &text)]);
        command
    });
    let url = format!("ws://{}/", echo());
    assert_echoes(tinyproxy.proxy("http", "user:secret@").connect(&url));
    for user in ["", "user:wrong@"] {
        let error = tunnel_error(tinyproxy.proxy("http", user).connect(&url));
        let wants = matches!(error, TunnelError::AuthenticationRequired(_));
        // tinyproxy says 401 to a wrong password.
        let refused = matches!(&error, TunnelError::Refused(head) if head.status() == 401);
        assert!(wants || refused && !user.is_empty(), "{error:?}");
    }
    let dead = tinyproxy
        .proxy("http", "user:secret@")
        .connect(&nothing_listens());
    let error = tunnel_error(dead);
    assert!(matches!(error, TunnelError::Refused(_)), "{error:?}");
}

#[test]
#[ignore = "needs squid"]
fn squid_is_passed_and_its_refusal_reported() {
    let server = echo();
    let squid = Daemon::start("squid", |folder, port| {
        let here = folder.display();
        let allowed = server.port();
        let text = format!(
            "http_port 127.0.0.1:{port}\nacl good port {allowed}\nhttp_access allow good\n\
            http_access deny all\naccess_log none\ncache deny all\ncache_log {here}/cache.log\n\
            pid_filename {here}/pid\ncoredump_dir {here}\nshutdown_lifetime 1 seconds\n\
            pinger_enable off\nmax_filedescriptors 1024\nnetdb_filename none\n"
        );
        // It gives its rights up, and has to write there all the same.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(folder, mode).expect("it is ours");
        let mut command = program("squid");
        command.args(["-N", "-f", &configured(folder, "conf", &text)]);
        command
    });
    assert_echoes(squid.proxy("http", "").connect(&format!("ws://{server}/")));
    match tunnel_error(squid.proxy("http", "").connect("ws://127.0.0.1:1/")) {
        TunnelError::Refused(response) => {
            assert_eq!(response.status(), 403);
            let page = String::from_utf8_lossy(response.body());
            assert!(page.contains("ccess"), "it says why: {page}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
#[ignore = "needs microsocks"]
fn microsocks_with_a_password_is_passed() {
    let microsocks = Daemon::start("microsocks", |_, port| {
        let mut command = program("microsocks");
        command.args(["-i", "127.0.0.1", "-p", &port.to_string()]);
        command.args(["-u", "user", "-P", "secret"]);
        command
    });
    let server = echo();
    for (scheme, host) in [
        ("socks5", "127.0.0.1"),
        ("socks5", "localhost"),
        ("socks5h", "127.0.0.1"),
        ("socks5h", "localhost"),
    ] {
        let builder = microsocks.proxy(scheme, "user:secret@");
        assert_echoes(builder.connect(&format!("ws://{host}:{}/", server.port())));
    }
    let connect = |user, url: &str| tunnel_error(microsocks.proxy("socks5h", user).connect(url));
    let url = format!("ws://{server}/");
    let error = connect("user:wrong@", &url);
    assert!(
        matches!(error, TunnelError::AuthenticationFailed),
        "{error:?}"
    );
    let error = connect("", &url);
    assert!(
        matches!(error, TunnelError::NoAcceptableMethod),
        "{error:?}"
    );
    let error = connect("user:secret@", &nothing_listens());
    let refused = TunnelError::Socks(SocksReply::ConnectionRefused);
    assert_eq!(error.to_string(), refused.to_string());
}

#[test]
#[ignore = "needs danted"]
fn dante_is_passed_and_its_refusal_reported() {
    let server = echo();
    let dante = Daemon::start("danted", |folder, port| {
        let allowed = server.port();
        let text = format!(
            "logoutput: stderr\ninternal: 127.0.0.1 port = {port}\nexternal: lo\n\
            clientmethod: none\nsocksmethod: none\nuser.privileged: root\nuser.unprivileged: nobody\n\
            client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}\n\
            socks pass {{ from: 127.0.0.0/8 to: 127.0.0.0/8 port = {allowed} command: connect }}\n\
            socks block {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\n"
        );
        let mut command = program("danted");
        command.args(["-N", "1", "-f", &configured(folder, "conf", &text)]);
        command.args(["-p", &folder.join("pid").display().to_string()]);
        command
    });
    assert_echoes(
        dante
            .proxy("socks5h", "")
            .connect(&format!("ws://{server}/")),
    );
    let error = tunnel_error(dante.proxy("socks5h", "").connect("ws://127.0.0.1:1/"));
    let blocked = TunnelError::Socks(SocksReply::NotAllowed);
    assert_eq!(error.to_string(), blocked.to_string());
}

// ---- redirects and refusals ----

fn refused(connected: Result<WebSocket, ConnectError>) -> Refused {
    match connected {
        Err(ConnectError::Refused(refused)) => *refused,
        other => panic!("{other:?}"),
    }
}

#[test]
#[ignore = "needs nginx"]
fn nginx_redirects_are_followed_and_its_refusals_read() {
    let server = echo();
    let nginx = Daemon::start("nginx", |folder, port| {
        let here = folder.display();
        configured(
            folder,
            "why.html",
            "<!--# echo var=\"uri\" -->: members only",
        );
        let text = format!(
            "daemon off; master_process off; pid {here}/pid; error_log stderr;\n\
            events {{}}\n\
            http {{ access_log off; client_body_temp_path {here}/body; proxy_temp_path {here}/proxy;\n\
            fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n\
            server {{ listen 127.0.0.1:{port}; absolute_redirect off; root {here};\n\
              location /301 {{ return 301 http://{server}/; }}\n\
              location /302 {{ return 302 ws://{server}/; }}\n\
              location /303 {{ return 303 //{server}/; }}\n\
              location /307 {{ return 307 /308; }}\n\
              location /308 {{ return 308 http://{server}/?x; }}\n\
              location /loop {{ return 301 /loop; }}\n\
              location /counted {{ default_type text/plain; return 403 'members only'; }}\n\
              location /chunked {{ error_page 403 /why.html; return 403; }}\n\
              location /none {{ return 204; }}\n\
              location = /why.html {{ ssi on; ssi_types text/plain; internal; }}\n\
            }} }}\n"
        );
        let mut command = program("nginx");
        command.args([
            "-c",
            &configured(folder, "conf", &text),
            "-p",
            &here.to_string(),
        ]);
        command
    });
    let builder = Connector::new().redirects(RedirectPolicy::DEFAULT);
    let connect = |path: &str| {
        builder
            .clone()
            .connect(&format!("ws://{}{path}", nginx.address))
    };
    for path in ["/301", "/302", "/303", "/307", "/308"] {
        assert_echoes(connect(path));
    }
    let looped = refused(connect("/loop"));
    assert_eq!(looped.redirect, Some(RedirectError::TooMany));
    assert_eq!(looped.status, 301);

    let counted = refused(connect("/counted"));
    assert_eq!((counted.status.as_u16(), counted.is_whole), (403, true));
    assert_eq!(counted.body, b"members only");
    let chunked = refused(connect("/chunked"));
    assert_eq!(chunked.header("Transfer-Encoding"), Some("chunked"));
    assert_eq!((chunked.status.as_u16(), chunked.is_whole), (403, true));
    let text = String::from_utf8_lossy(&chunked.body).into_owned();
    assert_eq!(text, "/why.html: members only");
    let none = refused(connect("/none"));
    assert_eq!((none.status.as_u16(), none.is_whole), (204, true));
}

#[test]
#[ignore = "needs Apache"]
fn apache_refusal_is_readable() {
    let apache = Daemon::start("apache2", |folder, port| {
        let here = folder.display();
        let modules = "/usr/lib/apache2/modules";
        let text = format!(
            "ServerName localhost\nListen 127.0.0.1:{port}\nPidFile {here}/pid\nErrorLog {here}/log\n\
            DefaultRuntimeDir {here}\nDocumentRoot {here}\n\
            LoadModule mpm_event_module {modules}/mod_mpm_event.so\n\
            LoadModule authz_core_module {modules}/mod_authz_core.so\n\
            <Location />\nRequire all denied\n</Location>\n\
            ErrorDocument 403 \"members only\"\n"
        );
        let mut command = program("apache2");
        command.args([
            "-X",
            "-f",
            &configured(folder, "conf", &text),
            "-d",
            &here.to_string(),
        ]);
        command
    });
    let refused = refused(motews_std::connect(&format!("ws://{}/", apache.address)));
    assert_eq!((refused.status.as_u16(), refused.is_whole), (403, true));
    assert_eq!(refused.body, b"members only");
}

// ---- an address that never answers ----

/// A network namespace with a host of two addresses, one of which is silent. Removed when dropped.
struct Namespace(String);

const GOOD: &str = "127.0.0.1";
const SILENT: &str = "2001:db8::1";

impl Namespace {
    fn new() -> Self {
        let namespace = Self(format!("motews-{}-routes", process::id()));
        let name = namespace.0.as_str();
        ip(&["netns", "add", name]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        // What goes out at one end is for nobody at the other.
        let pair = ["veth0", "type", "veth", "peer", "name", "veth1"];
        ip(&[&["-n", name, "link", "add"][..], &pair].concat());
        let address = "2001:db8::2/64";
        ip(&[
            "-n", name, "address", "add", address, "dev", "veth0", "nodad",
        ]);
        ip(&["-n", name, "link", "set", "veth0", "up"]);
        ip(&["-n", name, "link", "set", "veth1", "up"]);
        let neighbour = ["lladdr", "02:00:00:00:00:01", "dev", "veth0"];
        ip(&[&["-n", name, "neighbour", "add", SILENT][..], &neighbour].concat());
        // `ip netns exec` puts this in the place of /etc/hosts.
        let folder = namespace.folder();
        fs::create_dir_all(&folder).expect("root may");
        let hosts = format!("{SILENT} twofold\n{GOOD} twofold\n");
        fs::write(folder.join("hosts"), hosts).expect("root may");
        namespace
    }

    fn folder(&self) -> PathBuf {
        Path::new("/etc/netns").join(&self.0)
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).arg(program);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        _ = Command::new("ip").args(["netns", "del", &self.0]).status();
        _ = fs::remove_dir_all(self.folder());
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status();
    let status = status.expect("iproute2 is installed");
    assert!(status.success(), "ip {arguments:?} ends with {status}");
}

#[test]
#[ignore = "makes a network namespace, as root"]
fn silent_ipv6_address_of_a_name_costs_less_than_300_ms() {
    let folder = folder("namespace");
    let namespace = Namespace::new();
    let mut server = namespace.command(example("echo"));
    let server = ServerProcess::start("echo", server.arg(format!("{GOOD}:0")), &folder);
    let client = example("client");
    // The least of some tries, since the machine may be busy.
    let took = |host: &str| {
        let tries = (0..5).map(|_| {
            let url = format!("ws://{host}:{}/", server.address.port());
            let mut client = namespace.command(&client);
            client.args([&url, "--wait", "0"]).stdin(Stdio::null());
            let start = Instant::now();
            let status = client.status().expect("ip runs");
            assert!(status.success(), "{host}: the client ends with {status}");
            start.elapsed()
        });
        tries.min().expect("five")
    };
    let (past, straight) = (took("twofold"), took(GOOD));
    let cost = past.saturating_sub(straight);
    println!("past a silent address: {past:?}, without: {straight:?}");
    assert!(cost < Duration::from_millis(300), "{cost:?}");
    // It was tried: else this would show nothing.
    assert!(past > Duration::from_millis(250), "{past:?}");
}

// ---- the end, behind servers that pass on what others say ----

/// A certificate for `localhost` with its key, as these programs read it, and who trusts it.
fn certificate(folder: &Path) -> (String, Arc<ClientConfig>) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let certified = certified.expect("a certificate");
    let text = certified.cert.pem() + &certified.signing_key.serialize_pem();
    let mut roots = RootCertStore::empty();
    roots
        .add(certified.cert.der().clone())
        .expect("it is a root");
    let config = motews_std::tls::config_with_roots(roots).expect("there is a root");
    (configured(folder, "localhost.pem", &text), config)
}

/// Connects, echoes and closes: after both Closes, the end of TCP or of TLS is waited for a second at
/// most, whatever is in between.
fn assert_closes_soon(name: &str, connected: Result<WebSocket, ConnectError>) {
    let mut ws = connected.unwrap_or_else(|error| panic!("{name}: {error}"));
    ws.send("Hello").expect("sent");
    assert_eq!(ws.recv().expect("received"), Some("Hello".into()));
    let start = Instant::now();
    ws.close(CloseCode::NORMAL, "done").expect("it may close");
    let ended = ws.closed().expect("a blocking stream");
    let took = start.elapsed();
    println!("{name}: closed in {took:?}");
    assert!(ended.is_clean(), "{name}: {ended:?}");
    assert!(
        took < Duration::from_millis(1_100),
        "{name}: closed in {took:?}"
    );
}

/// Starts a program that passes a WebSocket on, in plain at one port and by TLS at another, and
/// closes through both. `configure` gets the folder, both ports, the PEM file and the echo.
fn assert_closes_soon_behind(
    name: &str,
    plain: bool,
    configure: impl FnOnce(&Path, [u16; 2], &str, SocketAddr) -> Command,
) {
    let (server, secure) = (echo(), free_port());
    let mut client = None;
    let daemon = Daemon::start(name, |folder, port| {
        let (pem, config) = certificate(folder);
        client = Some(config);
        let ports = if plain { [port, secure] } else { [0, port] };
        configure(folder, ports, &pem, server)
    });
    let client = client.expect("it is configured");
    if plain {
        let url = format!("ws://{}/", daemon.address);
        assert_closes_soon(name, Connector::new().connect(&url));
    }
    let secure = if plain { secure } else { daemon.address.port() };
    let url = format!("wss://localhost:{secure}/");
    let connected = Connector::new().tls(client).connect(&url);
    assert_closes_soon(&format!("{name} with TLS"), connected);
}

#[test]
#[ignore = "needs nginx"]
fn nginx_in_between_a_close_takes_little_time() {
    assert_closes_soon_behind(
        "nginx-close",
        true,
        |folder, [plain, secure], pem, server| {
            let here = folder.display();
            let text = format!(
                "daemon off; master_process off; pid {here}/pid; error_log stderr;\n\
            events {{}}\n\
            http {{ access_log off; client_body_temp_path {here}/body; proxy_temp_path {here}/proxy;\n\
            fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n\
            server {{ listen 127.0.0.1:{plain}; listen 127.0.0.1:{secure} ssl;\n\
              ssl_certificate {pem}; ssl_certificate_key {pem};\n\
              location / {{ proxy_pass http://{server}; proxy_http_version 1.1;\n\
                proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection Upgrade;\n\
                proxy_set_header Host $host; }} }} }}\n"
            );
            let mut command = program("nginx");
            command.args(["-c", &configured(folder, "conf", &text)]);
            command.args(["-p", &here.to_string()]);
            command
        },
    );
}

#[test]
#[ignore = "needs haproxy"]
fn haproxy_in_between_a_close_takes_little_time() {
    assert_closes_soon_behind("haproxy", true, |folder, [plain, secure], pem, server| {
        let text = format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n \
            timeout tunnel 60s\n\
            frontend front\n bind 127.0.0.1:{plain}\n bind 127.0.0.1:{secure} ssl crt {pem}\n \
            default_backend back\n\
            backend back\n server echo {server}\n"
        );
        let mut command = program("haproxy");
        command.args(["-db", "-f", &configured(folder, "conf", &text)]);
        command
    });
}

#[test]
#[ignore = "needs lighttpd"]
fn lighttpd_in_between_a_close_takes_little_time() {
    assert_closes_soon_behind("lighttpd", true, |folder, [plain, secure], pem, server| {
        let text = format!(
            "server.document-root = \"{here}\"\nserver.bind = \"127.0.0.1\"\n\
            server.port = {plain}\nserver.modules = ( \"mod_proxy\", \"mod_openssl\" )\n\
            proxy.server = ( \"\" => (( \"host\" => \"127.0.0.1\", \"port\" => {port} )) )\n\
            proxy.header = ( \"upgrade\" => \"enable\" )\n\
            $SERVER[\"socket\"] == \"127.0.0.1:{secure}\" {{\n\
              ssl.engine = \"enable\"\n ssl.pemfile = \"{pem}\"\n}}\n",
            here = folder.display(),
            port = server.port(),
        );
        let mut command = program("lighttpd");
        command.args(["-D", "-f", &configured(folder, "conf", &text)]);
        command
    });
}

#[test]
#[ignore = "needs stunnel4"]
fn stunnel_in_between_a_close_takes_little_time() {
    assert_closes_soon_behind("stunnel", false, |folder, [_, secure], pem, server| {
        let text = format!(
            "foreground = yes\npid =\n[ws]\naccept = 127.0.0.1:{secure}\nconnect = {server}\n\
            cert = {pem}\n"
        );
        let mut command = program("stunnel4");
        command.arg(configured(folder, "conf", &text));
        command
    });
}
