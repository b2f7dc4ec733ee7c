//! What the tests of compression share.

/// Words, numbers, runs, noise: what compressors meet.
pub(crate) fn sample(len: usize, mut seed: u64) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "the ",
        "of ",
        "temperature",
        "\":",
        "{\"id\":",
        "true,",
        "and ",
        "socket ",
        "humidity",
        "]},\n",
        "null",
        "sensor-",
        "0.",
        "in ",
        "was ",
        "    ",
    ];
    let mut out = Vec::with_capacity(len + 512);
    while out.len() < len {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let pick = seed >> 33;
        match seed & 31 {
            0 => out.extend(core::iter::repeat_n(b'=', pick as usize % 400)),
            1 => out.extend((pick as u32).to_le_bytes()),
            2 => out.extend((pick % 1000).to_string().as_bytes()),
            3 if out.len() > 100 => {
                let from = pick as usize % (out.len() - 60);
                out.extend_from_within(from..from + 60);
            }
            _ => out.extend(WORDS[pick as usize % 16].as_bytes()),
        }
    }
    out.truncate(len);
    out
}
