//! The conformance kit, over real sockets: the blocking WebSocket in both roles, with and without a
//! second thread that sends, and the event-driven server.

use core::time::Duration;
use std::collections::VecDeque;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender as Commands, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use motews_std::role::{Client, Role, Server as ServerRole};
use motews_std::{
    Acceptor, Agreed, CloseCode, Ended, Handler, Message, MessageRef, OsEntropy, Peer, PeerSender,
    Received, Request, SendError, Server, ServerHandle, ServerLimits, Share, Timeouts, Transport,
    TrySendError, WebSocket,
};
use motews_testkit::conformance::{Adapter, Socket, Subject, Told};
use motews_testkit::head;
use socket2::SockRef;

/// Long enough for a busy machine to do anything.
const TICK: u32 = 100;

/// How long a thread of an application waits for one thing before it looks at the other.
const TURN: Duration = Duration::from_millis(2);

/// What the kernels hide of a connection with small buffers is less than this.
const MORE_THAN_FITS: usize = 1 << 20;

fn message(told: Told) -> Message {
    match told {
        Told::Text(text) => Message::Text(text),
        Told::Binary(bytes) => Message::Binary(bytes),
    }
}

fn told(message: Message) -> Told {
    match message {
        Message::Text(text) => Told::Text(text),
        Message::Binary(bytes) => Told::Binary(bytes),
    }
}

/// Both ends of a TCP connection over loopback, with small buffers.
fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let other = listener.accept().unwrap().0;
    for stream in [&one, &other] {
        let socket = SockRef::from(stream);
        socket.set_send_buffer_size(32 << 10).unwrap();
        socket.set_recv_buffer_size(32 << 10).unwrap();
    }
    (one, other)
}

/// What an application is to do.
enum Command {
    Send(Told),
    Close(u16, String),
    /// Whether it reads from now on; and who waits until it knows.
    Read(bool, Commands<()>),
}

/// What an application was told.
#[derive(Default)]
struct Log {
    told: Vec<Told>,
    ended: Option<Ended>,
}

/// A connection whose application is a thread.
struct Threaded {
    peer: Option<Socket>,
    /// Whether the application may stop reading.
    pauses: bool,
    commands: Option<Commands<Command>>,
    log: Arc<Mutex<Log>>,
    thread: Option<JoinHandle<()>>,
}

impl Threaded {
    fn open<T: Send + 'static>(
        peer: TcpStream,
        ws: T,
        pauses: bool,
        application: impl FnOnce(T, &Receiver<Command>, &Mutex<Log>) + Send + 'static,
    ) -> Self {
        let (commands, receiver) = channel();
        let log = Arc::<Mutex<Log>>::default();
        let its_log = log.clone();
        Self {
            peer: Some(Socket::new(peer)),
            pauses,
            commands: Some(commands),
            log,
            thread: Some(thread::spawn(move || application(ws, &receiver, &its_log))),
        }
    }

    const fn peer(&mut self) -> &mut Socket {
        self.peer.as_mut().expect("it is there")
    }

    fn command(&mut self, command: Command) {
        // An application that has seen the end does nothing more.
        let _ = self.commands.as_ref().expect("it is there").send(command);
    }
}

impl Subject for Threaded {
    fn give(&mut self, bytes: &[u8]) {
        self.peer().give(bytes);
    }

    fn end(&mut self) {
        self.peer().end();
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        self.peer().take(most)
    }

    fn has_ended(&mut self) -> bool {
        self.peer().has_ended()
    }

    fn send(&mut self, message: Told) {
        self.command(Command::Send(message));
    }

    fn close(&mut self, code: u16, reason: &str) {
        self.command(Command::Close(code, reason.to_owned()));
    }

    fn read(&mut self, on: bool) -> bool {
        let (done, knows) = channel();
        self.command(Command::Read(on, done));
        // An application that is gone does not answer.
        let _ = knows.recv();
        self.pauses
    }

    fn told(&mut self) -> Vec<Told> {
        core::mem::take(&mut self.log.lock().unwrap().told)
    }

    fn ended(&mut self) -> Option<Ended> {
        self.log.lock().unwrap().ended
    }

    fn wait(&mut self, millis: u32) {
        self.peer().wait(millis);
    }
}

impl Drop for Threaded {
    fn drop(&mut self) {
        // The application sees an end of both.
        self.commands = None;
        self.peer = None;
        let thread = self.thread.take().expect("it is there");
        if thread.join().is_err() && !thread::panicking() {
            panic!("the application has panicked");
        }
    }
}

// ---- the blocking WebSocket ----

/// An application with one thread, which receives and sends by turns.
fn one_thread<S: Transport, R: Role>(
    mut ws: WebSocket<S, R>,
    commands: &Receiver<Command>,
    log: &Mutex<Log>,
) {
    let mut reads = true;
    let mut waits = None;
    loop {
        let command = match waits.take() {
            Some(command) => Ok(command),
            None if reads => commands.try_recv(),
            None => commands.recv_timeout(TURN).map_err(|error| match error {
                RecvTimeoutError::Timeout => TryRecvError::Empty,
                RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
            }),
        };
        match command {
            Ok(Command::Read(on, done)) => {
                reads = on;
                let _ = done.send(());
            }
            Ok(Command::Close(code, reason)) => {
                let _ = ws.close(CloseCode::new(code), &reason);
            }
            Ok(Command::Send(told)) => {
                if let Err(SendError::InboundFull) = ws.send(message(told.clone())) {
                    waits = Some(Command::Send(told)); // It was not taken. Receive first.
                }
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return,
        }
        if reads {
            match ws.recv_timeout(TURN) {
                Ok(Received::Nothing) => {}
                Ok(Received::Message(message)) => log.lock().unwrap().told.push(told(message)),
                Ok(Received::Closed) | Err(_) => break,
            }
        }
    }
    // Nothing more is received. That the end is certain may take a moment more.
    let _ = ws.close(CloseCode::NORMAL, "");
    log.lock().unwrap().ended = ws.closed().ok();
}

/// An application with a thread that receives, and another one that sends.
fn two_threads<S, R>(mut ws: WebSocket<S, R>, commands: &Receiver<Command>, log: &Mutex<Log>)
where
    S: Share + Send + Sync,
    R: Role + Send,
{
    let sender = ws.sender().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            while let Ok(Some(message)) = ws.recv() {
                log.lock().unwrap().told.push(told(message));
            }
            log.lock().unwrap().ended = ws.ended();
            drop(ws);
        });
        for command in commands {
            match command {
                Command::Send(told) => drop(sender.send(message(told))),
                Command::Close(code, reason) => {
                    drop(sender.close(CloseCode::new(code), &reason));
                }
                Command::Read(..) => {}
            }
        }
    });
}

#[derive(Clone, Copy)]
struct Blocking {
    is_client: bool,
    has_sender: bool,
}

impl Adapter for Blocking {
    type Subject = Threaded;

    fn is_client(&self) -> bool {
        self.is_client
    }

    fn open(&self, timeouts: Timeouts) -> Threaded {
        let (peer, stream) = tcp_pair();
        let builder = Acceptor::new().timeouts(timeouts);
        if self.is_client {
            let keys = Client::new(OsEntropy::new());
            self.run(
                peer,
                builder.from_upgraded(stream, keys, b"", Agreed::default()),
            )
        } else {
            self.run(
                peer,
                builder.from_upgraded(stream, ServerRole, b"", Agreed::default()),
            )
        }
    }

    fn tick(&self) -> u32 {
        TICK
    }

    fn more_than_fits(&self) -> usize {
        MORE_THAN_FITS
    }
}

impl Blocking {
    fn run<R: Role + Send + 'static>(
        self,
        peer: TcpStream,
        ws: WebSocket<TcpStream, R>,
    ) -> Threaded {
        if self.has_sender {
            Threaded::open(peer, ws, false, two_threads)
        } else {
            Threaded::open(peer, ws, true, one_thread)
        }
    }
}

const fn blocking(is_client: bool, has_sender: bool) -> Blocking {
    Blocking {
        is_client,
        has_sender,
    }
}

motews_testkit::conformance!(blocking_server, blocking(false, false));
motews_testkit::conformance!(blocking_client, blocking(true, false));
motews_testkit::conformance!(blocking_server_with_a_sender, blocking(false, true));
motews_testkit::conformance!(blocking_client_with_a_sender, blocking(true, true));

// ---- the event-driven server ----

/// An application that keeps what it is told, and gives away its sender.
#[derive(Clone)]
struct Keeper {
    log: Arc<Mutex<Log>>,
    senders: Commands<PeerSender>,
}

impl Handler for Keeper {
    type Data = ();

    fn on_open(&mut self, peer: &mut Peer<'_>, _: &Request) -> Result<(), SendError> {
        self.senders.send(peer.sender()).expect("the test waits");
        Ok(())
    }

    fn on_message(&mut self, _: &mut Peer<'_>, message: MessageRef<'_>) -> Result<(), SendError> {
        self.log.lock().unwrap().told.push(match message {
            MessageRef::Text(text) => Told::Text(text.to_owned()),
            MessageRef::Binary(bytes) => Told::Binary(bytes.to_vec()),
        });
        Ok(())
    }

    fn on_close(&mut self, _: &mut Peer<'_>, outcome: Ended) {
        let ended = &mut self.log.lock().unwrap().ended;
        assert_eq!(ended.replace(outcome), None, "one end");
    }
}

/// A connection of an event-driven server.
struct Served {
    peer: Socket,
    sender: PeerSender,
    log: Arc<Mutex<Log>>,
    /// What finds no room in the backlog.
    waits: VecDeque<Command>,
    server: ServerHandle,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Served {
    fn command(&mut self, command: Command) {
        self.waits.push_back(command);
        self.pump();
    }

    /// Does what there is room for, in order.
    fn pump(&mut self) {
        while let Some(command) = self.waits.pop_front() {
            match command {
                Command::Send(told) => {
                    if let Err(TrySendError::Full(_)) = self.sender.try_send(message(told.clone()))
                    {
                        self.waits.push_front(Command::Send(told));
                        return;
                    }
                }
                // It may be closing already.
                Command::Close(code, reason) => {
                    drop(self.sender.close(CloseCode::new(code), &reason));
                }
                Command::Read(..) => {}
            }
        }
    }
}

impl Subject for Served {
    fn give(&mut self, bytes: &[u8]) {
        self.peer.give(bytes);
    }

    fn end(&mut self) {
        self.peer.end();
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        self.pump();
        self.peer.take(most)
    }

    fn has_ended(&mut self) -> bool {
        self.peer.has_ended()
    }

    fn send(&mut self, message: Told) {
        self.command(Command::Send(message));
    }

    fn close(&mut self, code: u16, reason: &str) {
        self.command(Command::Close(code, reason.to_owned()));
    }

    fn told(&mut self) -> Vec<Told> {
        core::mem::take(&mut self.log.lock().unwrap().told)
    }

    fn ended(&mut self) -> Option<Ended> {
        self.log.lock().unwrap().ended
    }

    fn wait(&mut self, millis: u32) {
        self.pump();
        self.peer.wait(millis);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.server.shutdown(Duration::ZERO);
        let thread = self.thread.take().expect("it is there");
        let result = thread.join();
        if !thread::panicking() {
            result.expect("no panic").expect("it ran");
        }
    }
}

/// The event-driven server, with these limits for what waits.
#[derive(Clone, Copy)]
struct EventLoop {
    max_backlog: usize,
}

impl Adapter for EventLoop {
    type Subject = Served;

    fn is_client(&self) -> bool {
        false
    }

    fn open(&self, timeouts: Timeouts) -> Served {
        let limits = ServerLimits {
            backlog: self.max_backlog,
            ..ServerLimits::DEFAULT
        };
        let server = Server::builder()
            .timeouts(timeouts)
            .limits(limits)
            .send_buffer(32 << 10)
            .bind("127.0.0.1:0")
            .unwrap();
        let (addr, handle) = (server.local_addr(), server.handle());
        let (senders, opened) = channel();
        let log = Arc::<Mutex<Log>>::default();
        let keeper = Keeper {
            log: log.clone(),
            senders,
        };
        let thread = thread::spawn(move || server.run(keeper));
        let mut peer = TcpStream::connect(addr).unwrap();
        let socket = SockRef::from(&peer);
        socket.set_recv_buffer_size(32 << 10).unwrap();
        peer.write_all(head::REQUEST.as_bytes()).unwrap();
        head::read(&mut peer);
        Served {
            peer: Socket::new(peer),
            sender: opened.recv().expect("it is open"),
            log,
            waits: VecDeque::new(),
            server: handle,
            thread: Some(thread),
        }
    }

    fn tick(&self) -> u32 {
        TICK
    }

    fn more_than_fits(&self) -> usize {
        MORE_THAN_FITS + self.max_backlog
    }
}

const fn event_loop(max_backlog: usize) -> EventLoop {
    EventLoop { max_backlog }
}

motews_testkit::conformance!(event_loop_with_a_small_backlog, event_loop(1000));
motews_testkit::conformance!(event_loop_with_a_large_backlog, event_loop(1 << 20));
