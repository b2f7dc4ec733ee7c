//! An echo server on threads: the blocking WebSocket of the embedded-io adapter over the sockets of
//! `std`.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use clap::Parser;
use embedded_io_adapters::std::FromStd;
use motews::Server;
use motews::deflate::{DeflateConfig, Level};
use motews_embedded_io::blocking::WebSocket;
use motews_embedded_io::{Config, Error, Extension, NoExtension, Untimed};
use motews_examples::embedded_io::{MAX_MESSAGE_LEN, Threaded, echo, memory};

/// A WebSocket server that sends back what it receives, with a thread for each connection.
#[derive(Parser)]
#[command(name = "threads_echo")]
struct Options {
    /// Where to listen.
    #[arg(default_value = "127.0.0.1:9001")]
    address: String,

    /// Bytes of each connection's receive buffer, and of its transmit buffer.
    #[arg(long, default_value_t = 16 * 1024)]
    buffer: usize,

    /// Compress messages for clients that can inflate them. Each connection takes 69 KiB more.
    #[arg(long)]
    deflate: bool,
}

fn main() -> io::Result<()> {
    let Options {
        address,
        buffer,
        deflate,
    } = Options::parse();
    let listener = TcpListener::bind(address)?;
    println!("ws://{}", listener.local_addr()?);
    for stream in listener.incoming() {
        let stream = stream?;
        stream.set_nodelay(true)?;
        thread::spawn(move || {
            if let Err(error) = serve(stream, buffer, deflate) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

static CONFIG: Config<'static> = Config {
    limits: motews::Limits {
        message: MAX_MESSAGE_LEN,
        ..motews::Limits::DEFAULT
    },
    ..Config::DEFAULT
};

fn serve(stream: TcpStream, buffer: usize, deflate: bool) -> Result<(), Error<io::Error>> {
    let transport = FromStd::new(stream);
    let ws: Threaded<'_, _, _, NoExtension> =
        WebSocket::server(transport, vec![0; buffer], vec![0; buffer])?;
    let ws = ws.with_config(&CONFIG);
    if !deflate {
        return talk(ws);
    }
    let config = DeflateConfig::default();
    talk(ws.with_deflate(config, Level::Default, memory(config))?)
}

fn talk(mut ws: Threaded<'_, Server, Untimed, impl Extension>) -> Result<(), Error<io::Error>> {
    ws.accept()?;
    let end = echo(&mut ws);
    // RFC 6455 §7.1.1: the server ends TCP, and reads on until the client has done so, too.
    _ = ws.transport().inner().shutdown(Shutdown::Write);
    _ = ws.drain();
    end
}
