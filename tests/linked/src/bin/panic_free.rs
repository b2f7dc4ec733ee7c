//! Calls every public entry point of the core with values of which the optimizer knows nothing.
//! It links only if no panic path survives in any of them: see `README.md`.
#![no_std]
#![no_main]

use core::fmt::Write;

use motews::deflate::{
    Compressor, Decompressor, DeflateContext, Deflater, Inflater, Level, Malformed, WindowBits,
    wire_limit,
};
use motews::handshake::{
    Agreed, Answer, ClientHandshake, ConfigError, Extension, Extensions, HandshakeError, HeadText,
    Header, Key, Offers, Param, Request, RequestEvent, Response, ResponseEvent, ServerHandshake,
    Upgrade, path_and_query, subprotocols,
};
use motews::interruption::{Interrupted, Interruption};
use motews::reconnect::{Backoff, Cause, Reconnect, retry_after};
use motews::{
    Backlog, Chunk, Client, CloseCode, CloseFrame, Connection, ConnectionConfig, ControlPayload,
    ControlSlots, ControlStorage, DataFrame, Deadline, Ended, Entropy, EntropyError, FrameHeader,
    Limits, Mask, Message, MessageBuffer, MessageError, Millis, NoRoom, OpCode, Pace,
    ProtocolViolation, ReconnectWithBacklog, Role, SendError, Server, Session, State, Timeouts,
    Utf8Validator, Window,
};
use motews_linked::machine::{Generator, any, bytes, place, used};

fn main() {
    frame();
    parts();
    connection::<Server, ControlSlots>(Server);
    connection::<Server, Elsewhere>(Server);
    connection::<Client<Generator>, ControlSlots>(Client::new(Generator));
    connection::<Client<&mut Generator>, Elsewhere>(Client::new(place()));
    message::<[u8; 64]>();
    message::<&mut [u8]>();
    window::<[u8; 64]>();
    window::<&mut [u8]>();
    pace();
    reconnect();
    session::<Server, ControlSlots>(Server);
    session::<Server, Elsewhere>(Server);
    session::<Client<Generator>, ControlSlots>(Client::new(Generator));
    session::<Client<&mut Generator>, Elsewhere>(Client::new(place()));
    tokens();
    server_handshake::<[u8; 128]>();
    server_handshake::<&mut [u8]>();
    offers();
    client_handshake::<[u8; 128]>();
    client_handshake::<&mut [u8]>();
    inflate::<[u8; 1 << 10]>();
    inflate::<&mut [u8]>();
    deflate::<[u8; 4096]>();
    deflate::<&mut [u8]>();
    compressed::<Server, &mut [u8]>();
    compressed::<Client<Generator>, [u8; 1 << 10]>();
    windows();
    texts();
    if cfg!(feature = "one_panic_path") {
        used(bytes()[any::<usize>()]);
    }
}

/// `frame`, `mask`.
fn frame() {
    used(OpCode::new(any()));
    used(any::<OpCode>().is_control());
    used(FrameHeader::parse(bytes()));
    let header = place::<FrameHeader>();
    used(header.wire_len());
    used(header.emit(bytes()));
    used(ControlPayload::new(bytes()));
    used(place::<ControlPayload>().as_bytes());
    used(place::<ControlPayload>().as_ref());
    *place() = Mask::new(any());
    used(place::<Mask>().apply(bytes()));
}

/// `utf8`, `close`, `error`, `role`.
fn parts() {
    *place() = Utf8Validator::new();
    used(place::<Utf8Validator>().validate(bytes()));
    used(place::<Utf8Validator>().is_complete());

    let code = CloseCode::new(any());
    used(code.as_u16());
    used(code.name());
    used(code.is_allowed_on_wire());
    used(CloseFrame::new(any(), any()));
    used(CloseFrame::parse(any()));
    used(place::<CloseFrame>().code());
    used(place::<CloseFrame>().reason());
    used(any::<ProtocolViolation>().close_code());
    used(place::<&mut Generator>().fill(bytes()));
}

/// Control slots that are elsewhere, and only at times.
#[derive(Default)]
struct Elsewhere(Option<&'static mut ControlSlots>);

impl ControlStorage for Elsewhere {
    fn slots(&mut self) -> &mut ControlSlots {
        self.0.get_or_insert_with(|| {
            let slots = place();
            *slots = ControlSlots::default();
            slots
        })
    }

    fn release(&mut self) {
        self.0 = None;
    }
}

/// `connection`, in any state, even those it can never be in.
fn connection<R: Role + 'static, C: ControlStorage + 'static>(role: R) {
    let connection = place::<Connection<R, C>>();
    *connection = match any() {
        true => Connection::new(role),
        false => Connection::with_config(role, any::<ConnectionConfig>()),
    };

    let connection = place::<Connection<R, C>>();
    let mut input = bytes();
    used(connection.next_event(&mut input));
    used(input);
    let input = bytes();
    match connection.step(input) {
        Ok(step) => {
            used(step.is_event());
            used(step.is_chunk());
            used(step.ends_message());
            used(step.is_message());
            used(step.consumed());
            used(step.start());
            used(step.chunk(input));
            used(connection.resolve(step, input));
        }
        Err(violation) => used(violation),
    }
    used(connection.begins_message(bytes()));
    used(connection.begins_close(bytes()));
    used(connection.payload_due());
    used(connection.receive_eof());
    connection.fail(any());

    used(connection.send(any::<Message<'_>>(), bytes()));
    used(connection.send_fragment(any(), bytes(), any(), bytes()));
    used(connection.start_frame(any::<DataFrame>()));
    used(connection.ping(bytes(), bytes()));
    used(connection.close(any(), any()));
    used(connection.poll_transmit(bytes()));

    used::<State>(connection.state());
    used(connection.wants_transmit());
    used(connection.is_sending_message());
    used(connection.should_shutdown());
    used(connection.begins_message(bytes()));
    used(connection.begins_close(bytes()));
    used(connection.payload_due());
    used(connection.close_code());
    used(connection.closed_by());
    used(connection.is_clean());
    used(connection.violation());
}

/// `message`.
fn message<B: AsRef<[u8]> + AsMut<[u8]> + 'static>() {
    let message = place::<Message<'_>>();
    used(message.kind());
    used(message.as_bytes());
    *place() = MessageBuffer::new(any::<B>());
    let buffer = place::<MessageBuffer<B>>();
    used(buffer.push(any::<Chunk<'_>>()));
    used(buffer.assembled());
    used(buffer.capacity());
}

/// `window`.
fn window<B: AsRef<[u8]> + AsMut<[u8]> + 'static>() {
    *place() = Window::new(any::<B>());
    let window = place::<Window<B>>();
    used(window.spare());
    window.fill(any());
    used(window.unread());
    used(window.take(any()));
    used(window.len());
    used(window.is_empty());
    used(window.capacity());
}

/// `pace`, `ended`.
fn pace() {
    let millis = any::<Millis>();
    used(millis.after(any()));
    used(millis.since(any()));
    used(millis.has_reached(any()));
    used(millis.max(any()));
    used(millis.min(any()));
    used(Timeouts::default());
    used(any::<Deadline>().name());
    *place() = Pace::new(any());
    let pace = place::<Pace>();
    pace.responding(any());
    pace.sent(any(), place(), any(), any());
    pace.draining(any(), place());
    used(pace.poll(any(), place()));
    used(pace.poll_at(place()));
    used(any::<Ended>().is_clean());
    used(any::<Ended>().code());
}

/// `reconnect`.
fn reconnect() {
    *place() = Reconnect::new(any::<Backoff>());
    *place() = Reconnect::new(Backoff::ocpp(any(), any(), any()));
    let reconnect = place::<Reconnect>();
    reconnect.opened(any());
    used(reconnect.failures());
    used(reconnect.ended(any::<Cause>(), any(), any(), place::<Generator>()));
    reconnect.reset();
    reconnect.reopen();
    reconnect.close();
    used(retry_after(&any::<ResponseEvent<'_>>()));
    let interrupted = any::<Interrupted<Cause, Cause>>();
    used(Interruption::new(interrupted, any(), any(), any()));

    let mut backlog = Backlog::new(bytes(), any());
    used(backlog.push(any()));
    used(backlog.first());
    used(backlog.taken(any()));
    used(backlog.interrupted());
    used(backlog.clear());
    used(backlog.len());
    used(backlog.is_empty());
    used(backlog.is_begun());
    used(backlog.dropped());

    *place() = ReconnectWithBacklog::<&'static mut [u8], _>::new(Generator);
    let kept = place::<ReconnectWithBacklog<&'static mut [u8], Generator>>();
    kept.backlog = backlog;
    kept.set_backoff(any());
    used(kept.reconnect().failures());
    kept.response(&any::<ResponseEvent<'_>>());
    kept.opened(any());
    kept.sent();
    used(kept.first());
    kept.taken(any());
    used(kept.ended(any(), any::<Option<Cause>>(), any()));
    used(kept.network_changed(any()));
    kept.reopen();
    kept.asked();
    kept.forget();
    kept.close();
}

/// `session`, in any state.
fn session<R: Role + 'static, C: ControlStorage + 'static>(role: R) {
    *place::<Session<R, C>>() = match any() {
        true => Session::new(role, any::<ConnectionConfig>(), any()),
        false => Session::with_pace(role, any::<ConnectionConfig>(), any(), any()),
    };
    let session = place::<Session<R, C>>();
    session.received(any());
    session.receive_eof();
    session.lost();
    session.sent(any(), place(), any(), any());
    session.sent_untimed(any());
    used(session.set_max_message_len(any()));
    used(session.wants_transmit());
    session.reading(any(), any());
    let mut input = bytes();
    used(session.next_event(&mut input));
    let input = bytes();
    match session.step(input) {
        Ok(step) => used(session.resolve(step, input)),
        Err(violation) => used(violation),
    }
    used(session.send(any::<Message<'_>>(), bytes()));
    used(session.send_fragment(any(), bytes(), any(), bytes()));
    used(session.start_frame(any::<DataFrame>()));
    used(session.ping(bytes(), bytes()));
    used(session.close(any(), any()));
    used(session.set_max_message_len(any()));
    session.close_by(any());
    session.fail(any());
    session.abort();
    used(session.poll_transmit(bytes()));
    used(session.poll(any(), place(), any()));
    used(session.poll_untimed());
    used(session.poll_at(place()));
    used(session.ended());
    used(session.deadline(place()));
    used(session.connection().state());
    used(session.connection_mut().state());
}

/// `handshake`: lists and headers.
fn tokens() {
    *place() = Extensions::parse(bytes());
    used(place::<Extensions<'_>>().next());
    let mut params = place::<Extension<'_>>().params();
    used(params.next());
    if let Some(value) = &place::<Param<'_>>().value {
        used(value.is(any()));
        for byte in value.bytes() {
            used(byte);
        }
    }
    used(place::<Header<'_>>().is(any()));
    let text = place::<HeadText<'_>>();
    used(text.as_bytes());
    used(text.as_str());
    used(text.len());
    used(*text == any::<&str>());
    used(path_and_query(any()));
    for name in subprotocols(bytes()) {
        used(name);
    }
}

/// `handshake`: the server's side.
fn server_handshake<B: AsMut<[u8]> + 'static>() {
    *place() = match any() {
        true => ServerHandshake::new(any::<B>()),
        false => ServerHandshake::with_limits(any::<B>(), any::<Limits>()),
    };
    let mut input: &[u8] = bytes();
    let offers = place::<Offers<'_>>();
    let handshake = place::<ServerHandshake<B>>();
    used::<Result<Option<RequestEvent<'_>>, _>>(handshake.next_event(&mut input, offers));
    used(handshake.step(&mut input, offers));
    used(handshake.event());
    used(handshake.is_done());
    used(handshake.is_head());
    let handshake = place::<ServerHandshake<[u8; 0]>>();
    used::<Result<Option<RequestEvent<'_>>, _>>(handshake.next_event_in(
        bytes(),
        &mut input,
        offers,
    ));
    used(input);
    let upgrade = Upgrade::from_headers(any(), any(), headers(), offers, any::<Limits>());
    used(upgrade);

    used(place::<Upgrade>().agreed());
    used(place::<Upgrade>().status());
    used(any::<Upgrade>().without_deflate());
    used(place::<Upgrade>().answer(offers));
    let answer = place::<Answer<'_>>();
    used(answer.subprotocol());
    used(
        any::<Answer<'_>>()
            .select_subprotocol(any(), headers().into_iter().map(|(_, value)| value)),
    );
    used(any::<Answer<'_>>().extensions(any()));
    used(any::<Answer<'_>>().headers(any()));
    place::<Upgrade>().each_header(answer, |name, value| used((name, value)));
    used(place::<Upgrade>().emit_from(any(), bytes(), answer));

    used(Response::new(any()));
    used(any::<Response<'_>>().status());
    used(any::<Response<'_>>().reason(any()));
    used(any::<Response<'_>>().headers(any()));
    used(any::<Response<'_>>().body(bytes()));
    used(any::<Response<'_>>().head(any()));
    used(place::<Response<'_>>().is_head());
    used(place::<Response<'_>>().emit_from(any(), bytes()));
    used(any::<HandshakeError>().status());
    used(any::<HandshakeError>().response());
    used(any::<ConfigError>().response());
}

/// `handshake`: what both sides have.
fn offers() {
    let offers = place::<Offers<'_>>();
    *offers = Offers::new()
        .subprotocols(any())
        .extensions(any())
        .deflate(any())
        .deflate_memory(any());
    used(offers.subprotocol(any()));
}

/// Headers that someone else has parsed.
fn headers() -> impl Iterator<Item = (&'static str, &'static [u8])> {
    core::iter::from_fn(any)
}

/// `handshake`: the client's side.
fn client_handshake<B: AsMut<[u8]> + 'static>() {
    match Key::new(&mut Generator) {
        Ok(key) => *place() = key,
        Err(error) => used(error),
    }
    let (key, offers) = (place::<Key>(), place::<Offers<'_>>());
    used(key.as_bytes());
    used(Request::new(any(), any()));
    used(any::<Request<'_>>().origin(any()));
    used(any::<Request<'_>>().offers(offers));
    used(any::<Request<'_>>().headers(any()));
    let request = place::<Request<'_>>();
    request.each_header(any(), any(), |name, value| used((name, value)));
    used(request.emit_from(any(), bytes(), key));

    *place() = match any() {
        true => ClientHandshake::new(key, any::<B>()),
        false => ClientHandshake::with_limits(key, any::<B>(), any::<Limits>()),
    };
    let mut input: &[u8] = bytes();
    let handshake = place::<ClientHandshake<B>>();
    used::<Result<Option<ResponseEvent<'_>>, _>>(handshake.next_event(&mut input, offers));
    used(handshake.step(&mut input, offers));
    used(handshake.event());
    let handshake = place::<ClientHandshake<[u8; 0]>>();
    used::<Result<Option<ResponseEvent<'_>>, _>>(handshake.next_event_in(
        bytes(),
        &mut input,
        offers,
    ));
    used(input);
    let limits = any::<Limits>();
    let agreed = Agreed::from_headers(any(), any(), any(), headers(), offers, limits);
    used(agreed);
}

/// `deflate`: decompression.
fn inflate<W: AsRef<[u8]> + AsMut<[u8]> + 'static>() {
    match Inflater::new(any::<W>(), any()) {
        Ok(inflater) => *place() = inflater,
        Err(error) => used(error),
    }
    let inflater = place::<Inflater<W>>();
    let mut input: &[u8] = bytes();
    used(inflater.inflate(&mut input, bytes(), place()));
    used(input);
    used(inflater.finish());
    inflater.reset();
    used(inflater.reset_with(any()));
}

/// `deflate`: compression.
fn deflate<M: AsMut<[u8]> + 'static>() {
    used(Deflater::<M>::min_memory(any()));
    used(Deflater::<M>::full_memory(any()));
    match Deflater::new(any::<M>(), any(), any::<Level>()) {
        Ok(deflater) => *place() = deflater,
        Err(error) => used(error),
    }
    let deflater = place::<Deflater<M>>();
    let mut input: &[u8] = bytes();
    used(deflater.deflate(&mut input, any(), bytes(), place()));
    used(input);
    deflater.reset();
    used(deflater.reset_with(any()));
}

/// `deflate`: messages.
fn compressed<R: Role + 'static, B: AsRef<[u8]> + AsMut<[u8]> + 'static>() {
    used(wire_limit(any()));
    match Decompressor::new(any::<B>(), any::<DeflateContext>(), any()) {
        Ok(decompressor) => *place() = decompressor,
        Err(error) => used(error),
    }
    let decompressor = place::<Decompressor<B>>();
    used(decompressor.next(place::<Chunk<'_>>(), bytes()));
    *place() = Chunk::compressed(any(), bytes(), any(), any());
    used(place::<MessageBuffer<B>>().push_inflated(any::<Chunk<'_>>(), decompressor));

    match Compressor::new(any::<B>(), any::<DeflateContext>(), any()) {
        Ok(compressor) => *place() = compressor,
        Err(error) => used(error),
    }
    let compressor = place::<Compressor<B>>();
    let mut input: &[u8] = bytes();
    used(compressor.compress(&mut input, any(), bytes(), place()));
    used(input);
    let connection = place::<Connection<R>>();
    used(compressor.send_fragment(connection, any(), bytes(), any(), bytes()));
    compressor.reset();
    used(compressor.reset_with(any::<DeflateContext>()));
    used(decompressor.reset_with(any::<DeflateContext>()));
    decompressor.set_max_message_len(any());
}

/// `deflate`: windows.
fn windows() {
    used(WindowBits::new(any()));
    used(any::<WindowBits>().bits());
    used(any::<WindowBits>().size());
}

/// What is written for people: `Display`.
fn texts() {
    struct Console;
    impl Write for Console {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            used(text);
            any()
        }
    }
    used(write!(
        Console,
        "{}{}{}{}{}{}{}{}{}{}{}{}",
        any::<HeadText<'_>>(),
        any::<Malformed>(),
        any::<CloseCode>(),
        any::<ProtocolViolation>(),
        any::<SendError>(),
        any::<NoRoom>(),
        any::<EntropyError>(),
        any::<MessageError>(),
        any::<HandshakeError>(),
        any::<ConfigError>(),
        any::<Ended>(),
        any::<Deadline>(),
    ));
}

motews_linked::entry!(main);
