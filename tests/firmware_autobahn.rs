//! The same suite against a microcontroller: the two images of the firmware, in QEMU.

use motews_tests::firmware;

use super::{folder, test_server, test_server_with};

/// Compression: of each way to agree on it, and of each kind of message, the case with a thousand
/// messages of 1 KiB. The others differ in their size, and an emulated microcontroller takes hours
/// for all 216.
const COMPRESSED: [&str; 12] = [
    "12.1.4", "12.2.4", "12.3.4", "12.4.4", "12.5.4", "13.1.4", "13.2.4", "13.3.4", "13.4.4",
    "13.5.4", "13.6.4", "13.7.4",
];

#[test]
#[ignore = "needs QEMU, defmt-print and the Autobahn test suite: bash .ci/install"]
fn autobahn_firmware_passes() {
    let folder = folder("firmware");
    let firmware = firmware::boot(firmware::DASHBOARD, &folder, 9);
    let url = format!("{}echo", firmware.url());
    test_server("autobahn firmware", &url, &folder);
}

#[test]
#[ignore = "needs QEMU, defmt-print and the Autobahn test suite: bash .ci/install"]
fn autobahn_embassy_passes() {
    let folder = folder("embassy");
    let firmware = firmware::boot(firmware::EMBASSY, &folder, 9);
    let url = format!("{}echo", firmware.url());
    test_server("autobahn embassy", &url, &folder);
}

#[test]
#[ignore = "needs QEMU, defmt-print and the Autobahn test suite: bash .ci/install"]
fn autobahn_firmware_with_compression_passes() {
    let folder = folder("firmware-compression");
    let firmware = firmware::boot(firmware::DASHBOARD, &folder, 9);
    let url = format!("{}echo", firmware.url());
    let count = COMPRESSED.len();
    test_server_with(
        "autobahn firmware, compressed",
        &url,
        &folder,
        &COMPRESSED,
        count,
    );
}
