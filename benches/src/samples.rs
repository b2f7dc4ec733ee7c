//! What messages are made of, where they are compressed.

/// `len` bytes of readings of sensors, as JSON.
#[must_use]
pub fn telemetry(len: usize) -> Vec<u8> {
    let mut text = String::new();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut temperature = 21.5_f64;
    let mut time = 1_700_000_000_000_u64;
    while text.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        temperature += ((state >> 20) % 21) as f64 / 50.0 - 0.2;
        time += 900 + (state >> 40) % 200;
        text += &format!(
            "{{\"time\":{time},\"device\":\"mote-{}\",\"temperature\":{temperature:.2},\
             \"humidity\":{:.1},\"battery\":{},\"status\":\"{}\"}}\n",
            state % 16,
            40.0 + (state >> 30) as f64 % 200.0 / 10.0,
            3000 + (state >> 50) % 700,
            if state.is_multiple_of(11) {
                "warning"
            } else {
                "ok"
            },
        );
    }
    text.truncate(len);
    text.into_bytes()
}

/// `len` bytes of prose at most: what this project says of itself.
#[must_use]
pub fn prose(len: usize) -> Vec<u8> {
    let texts = [
        include_str!("../../ARCHITECTURE.md"),
        include_str!("../../README.md"),
        include_str!("../../examples/firmware/README.md"),
        include_str!("../../fuzz/README.md"),
        include_str!("../../tests/traceability.md"),
    ];
    let mut text = texts.concat().into_bytes();
    text.truncate(len);
    text
}

/// Source code.
#[must_use]
pub fn source() -> Vec<u8> {
    let texts = [
        include_str!("../../core/src/connection.rs"),
        include_str!("../../core/src/handshake/server.rs"),
        include_str!("../../core/src/handshake/client.rs"),
        include_str!("../../core/src/frame.rs"),
    ];
    texts.concat().into_bytes()
}
