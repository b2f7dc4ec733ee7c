//! The blocking WebSocket.

use embedded_io::{ErrorKind, ErrorType};
use motews::pace::Timeouts;
use motews::{Client, CloseCode, Ended, Role, Server};
use motews_embedded_io::{Error, blocking};
use motews_testkit::conformance::Adapter;

use super::{Act, Linked, Setting, Shared, Turn, ends_first, narrow, wide};
use crate::support::{Hand, Keys, NotNow, Script, buffers};

/// A transport that would block, and gives up: at first for its own time-out, so that the WebSocket
/// looks at the time, and then for another reason, so that the caller has its turn.
struct Impatient {
    script: Script,
    has_timed_out: bool,
}

/// Why it gave up.
#[derive(Debug)]
struct Later(ErrorKind);

impl core::fmt::Display for Later {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("later")
    }
}

impl core::error::Error for Later {}

impl embedded_io::Error for Later {
    fn kind(&self) -> ErrorKind {
        self.0
    }
}

impl ErrorType for Impatient {
    type Error = Later;
}

impl Impatient {
    const fn new(script: Script) -> Self {
        Self {
            script,
            has_timed_out: false,
        }
    }

    fn judge(&mut self, result: Result<usize, NotNow>) -> Result<usize, Later> {
        self.has_timed_out = result.is_err() && !self.has_timed_out;
        result.map_err(|NotNow| {
            Later(if self.has_timed_out {
                ErrorKind::TimedOut
            } else {
                ErrorKind::Other
            })
        })
    }
}

impl embedded_io::Read for Impatient {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Later> {
        let result = embedded_io::Read::read(&mut self.script, buffer);
        self.judge(result)
    }
}

impl embedded_io::Write for Impatient {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Later> {
        let result = embedded_io::Write::write(&mut self.script, bytes);
        self.judge(result)
    }

    fn flush(&mut self) -> Result<(), Later> {
        Ok(())
    }
}

/// The blocking WebSocket, each of whose calls is repeated as long as it would block.
struct Blocking<R: Role> {
    ws: blocking::WebSocket<'static, Impatient, R, Hand>,
    is_client: bool,
    /// How much of a message is sent.
    begun: usize,
    /// It is seen through, and how it ended.
    drains: Option<Ended>,
}

impl<R: Role> Blocking<R> {
    /// Sends what there is room for.
    fn send(&mut self, application: &Shared) {
        while let Some(act) = { application.borrow_mut().acts.pop_front() } {
            let result = match (&act, act.message()) {
                (_, Some((kind, bytes))) => {
                    let sent = self.ws.send_fragment(kind, &bytes[self.begun..], true);
                    sent.map(|len| {
                        self.begun += len;
                        self.begun < bytes.len()
                    })
                }
                (Act::Close(code, reason), _) => {
                    self.ws.close(CloseCode::new(*code), reason).map(|()| false)
                }
                _ => Ok(false),
            };
            match result {
                Ok(true) => application.borrow_mut().acts.push_front(act),
                Err(Error::Io(Later(_))) => {
                    application.borrow_mut().acts.push_front(act);
                    return;
                }
                // It ends: nothing can be sent any more.
                Ok(false) | Err(_) => self.begun = 0,
            }
        }
    }
}

impl<R: Role> Turn for Blocking<R> {
    fn turn(&mut self, application: &Shared) {
        while self.drains.is_none() {
            self.send(application);
            if application.borrow().pauses {
                return;
            }
            match self.ws.next_event() {
                Ok(Some(event)) => application.borrow_mut().receive(event),
                Err(Error::Io(Later(_))) => return,
                Ok(None) | Err(_) => {
                    self.drains = self.ws.ended();
                    assert!(self.drains.is_some(), "an end has a cause");
                    if ends_first(self.is_client, self.drains) {
                        self.ws.transport_mut().script.shutdown();
                    }
                }
            }
        }
        if application.borrow().ended.is_some() {
            return;
        }
        if let Err(Error::Io(Later(_))) = self.ws.drain() {
            return;
        }
        self.ws.transport_mut().script.shutdown();
        application.borrow_mut().ended = self.drains;
    }
}

struct BlockingServer(Setting);

impl Adapter for BlockingServer {
    type Subject = Linked<Blocking<Server>>;

    fn is_client(&self) -> bool {
        false
    }

    fn max_message_len(&self) -> usize {
        self.0.max_message_len()
    }

    fn more_than_fits(&self) -> usize {
        self.0.more_than_fits()
    }

    fn open(&self, timeouts: Timeouts) -> Self::Subject {
        let (stream, peer) = self.0.streams();
        let (clock, buffers) = (Hand::default(), buffers(self.0.buffer, self.0.buffer));
        let mut ws = blocking::WebSocket::server(Impatient::new(stream.clone()), buffers)
            .unwrap()
            .with_config(Setting::config(timeouts))
            .with_clock(clock.clone());
        ws.accept().unwrap();
        let connection = Blocking {
            ws,
            is_client: false,
            begun: 0,
            drains: None,
        };
        self.0.linked(connection, clock, stream, peer)
    }
}

struct BlockingClient(Setting);

impl Adapter for BlockingClient {
    type Subject = Linked<Blocking<Client<Keys>>>;

    fn is_client(&self) -> bool {
        true
    }

    fn max_message_len(&self) -> usize {
        self.0.max_message_len()
    }

    fn more_than_fits(&self) -> usize {
        self.0.more_than_fits()
    }

    fn open(&self, timeouts: Timeouts) -> Self::Subject {
        let (stream, peer) = self.0.streams();
        let (clock, buffers) = (Hand::default(), buffers(self.0.buffer, self.0.buffer));
        let transport = Impatient::new(stream.clone());
        let request = self.0.request();
        let mut ws = blocking::WebSocket::client(transport, buffers, request, Keys::new())
            .unwrap()
            .with_config(Setting::config(timeouts))
            .with_clock(clock.clone());
        ws.connect().unwrap();
        let connection = Blocking {
            ws,
            is_client: true,
            begun: 0,
            drains: None,
        };
        self.0.linked(connection, clock, stream, peer)
    }
}

motews_testkit::conformance!(blocking_server_wide, BlockingServer(wide(false)));
motews_testkit::conformance!(blocking_server_narrow, BlockingServer(narrow(false)));
motews_testkit::conformance!(blocking_client_wide, BlockingClient(wide(true)));
motews_testkit::conformance!(blocking_client_narrow, BlockingClient(narrow(true)));
