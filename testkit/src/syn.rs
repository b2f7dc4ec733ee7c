//! A TCP segment of its own: the SYN of somebody who never answers.

use core::net::{Ipv4Addr, SocketAddrV4};

/// Returns an IPv4 packet with a SYN (RFC 9293 §3.1) between these addresses.
#[must_use]
pub fn syn(from: SocketAddrV4, to: SocketAddrV4, sequence: u32) -> Vec<u8> {
    let addresses = [from.ip().octets(), to.ip().octets()].concat();
    let mut segment = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
    segment.extend(sequence.to_be_bytes());
    segment.extend([0; 4]); // It acknowledges nothing.
    segment.extend([6 << 4, 0b10, 4, 0, 0, 0, 0, 0]); // 24 bytes, SYN, a window of 1024
    segment.extend([2, 4, 5, 0xb4]); // the longest segment: 1460
    let pseudo = [&addresses[..], &[0, 6, 0, segment.len() as u8], &segment].concat();
    segment[16..18].copy_from_slice(&checksum(&pseudo));

    let len = 20 + segment.len() as u8;
    let mut packet = vec![0x45, 0, 0, len, 0, 0, 0x40, 0, 64, 6, 0, 0];
    packet.extend(addresses);
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum);
    packet.extend(segment);
    packet
}

/// Returns an address of this network, whose host is up to 100 numbers after this one.
#[must_use]
pub fn stranger(first: Ipv4Addr, number: u32) -> SocketAddrV4 {
    let [a, b, c, d] = first.octets();
    let host = d.wrapping_add((number % 100) as u8);
    SocketAddrV4::new(
        Ipv4Addr::new(a, b, c, host),
        20_000 + (number % 40_000) as u16,
    )
}

/// The checksum of RFC 1071.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let pairs = bytes.chunks(2);
    let mut sum: u32 = pairs
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}
